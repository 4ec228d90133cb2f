"""Where attention looks when patches are empty.

``python -m s2tx.studies.gaps --data-dir FOLDER --cells CELL ...`` (or ``s2tx study gaps``) opens
finished S2TX cells of the grid, hides the inputs from 144 to 48 steps before the forecast begins,
and writes to ``results/gaps.json`` what each local patch reads: of the local patches
(self-attention) and of the global ones (cross-attention), on average over test windows, variates,
blocks and heads; and the share of it that goes to patches in which nothing was observed.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from s2tx.errors import InputError
from s2tx.model.s2tx import S2TX
from s2tx.params import Params
from s2tx.studies.cell import Places
from s2tx.studies.finished import Finished, run_over_cells

GAP = (144, 48)  # steps before the forecast: the gap's beginning and end
_WINDOWS = 64


class Watched(TorchFunctionMode):
    """Within, ``shares`` gains what each attention in plain torch reads: (N, heads, Q, S)."""

    def __init__(self) -> None:
        super().__init__()
        self.shares: list[Tensor] = []

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        if function is not F.scaled_dot_product_attention:
            return function(*args, **given)
        query, key, value = args
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        if given["attn_mask"] is not None:
            scores = scores.masked_fill(~given["attn_mask"], -math.inf)
        self.shares.append(scores.softmax(dim=-1))
        return self.shares[-1] @ value


@torch.inference_mode()
def examine(
    name: str,
    params: Params,
    places: Places,
    folder: Path | None,
    gap: tuple[int, int] = GAP,
) -> dict[str, Any]:
    """The maps of one finished cell, with inputs hidden from ``gap[0]`` to ``gap[1]`` steps before
    the forecast.

    Raises:
        InputError: the cell is not finished, its weights are gone, or it is no S2TX.
    """
    plain = replace(params, runtime=replace(params.runtime, layers="reference"))
    done = Finished.open(name, plain, places, folder)
    bundle, network = done.bundle, done.bundle.network
    if not isinstance(network, S2TX):
        raise InputError(f"{name} is no S2TX", "Give a cell of an S2TX")
    window = bundle.window
    if window.look_back < gap[0]:
        raise InputError(
            f"{name} looks back {window.look_back} steps, and the gap begins {gap[0]} before the "
            "forecast",
            "Give a cell that looks back further",
        )
    origins = done.borders.origins("test", window.look_back, window.horizon)
    some = torch.tensor(origins[:: max(len(origins) // _WINDOWS, 1)][:_WINDOWS])
    x_BLD = bundle.windows(done.table).batch(some).x_BLD
    observed_BLD = torch.ones_like(x_BLD, dtype=torch.bool)
    observed_BLD[:, window.look_back - gap[0] : window.look_back - gap[1]] = False
    with Watched() as watched:
        network(x_BLD.masked_fill(~observed_BLD, 0.0), observed_BLD)
    kinds = ["local"] if network.local_path.blocks[0].cross is None else ["local", "cross"]
    empty = {"local": _empty(network.local_path, observed_BLD[:, -window.short_look_back :])}
    if network.global_path is not None:
        empty["cross"] = _empty(network.global_path, observed_BLD)
    found: dict[str, Any] = {
        "cell": dataclasses.asdict(done.cell),
        "weights_sha256": done.record["receipt"]["weights_sha256"],
    }
    for at, kind in enumerate(kinds):
        map_QS = torch.stack(watched.shares[at :: len(kinds)]).mean(dim=(0, 1, 2))
        found[kind] = {
            "map": [[round(share, 4) for share in row] for row in map_QS.tolist()],
            "empty": empty[kind].tolist(),
            "share_of_empty": map_QS[:, empty[kind]].sum(dim=1).mean().item(),
        }
    return found


def _empty(path: Any, observed_BLD: Tensor) -> Tensor:
    """(N,) bool, true at the patches of a path in which nothing was observed."""
    missing_BDL = (~observed_BLD[:1, :, :1]).transpose(1, 2).float()
    empty: Tensor = path.embed.patches.cut(missing_BDL).amin(dim=-1)[0, 0] > 0
    return empty


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    protocol = (
        f"{_WINDOWS} test windows, evenly spread; steps {GAP[0]} to {GAP[1]} before the forecast "
        "hidden in all variates"
    )
    return run_over_cells("gaps", __doc__, examine, protocol, arguments, indent=None)


if __name__ == "__main__":
    sys.exit(main())
