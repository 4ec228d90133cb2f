"""Does the global context do anything? What a trained S2TX makes of Z_g, measured on its weights.

``python -m s2tx.studies.context --data-dir FOLDER --cells CELL ...`` (or ``s2tx study context``)
takes finished cells of the grid and, over every test window, gives the cross-attention another
window's context, then the mean of its own, and the head another window's context; and measures how
much the cross-attention adds to the tokens that it reads, beside the other sublayers, and its share
of the loss's gradient. Nothing is trained, and nothing is chosen by it. What the same network does
when it is trained without the part is in the grid, under the recipes ``paper_*``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from s2tx.data.split import Borders
from s2tx.errors import InputError
from s2tx.evaluation.metrics import score
from s2tx.model.attention import Attention
from s2tx.model.s2tx import S2TX
from s2tx.params import Params
from s2tx.studies.cell import Places
from s2tx.studies.finished import Finished, run_over_cells
from s2tx.training.bundle import Bundle

_WINDOWS = 256  # from which norms and gradients are measured

Change = Callable[[Tensor], Tensor]  # of (B, D, G, E), or of (B, D, ...) as the head reads it


def shuffled(z: Tensor) -> Tensor:
    """Each window gets the context of the one half a batch away, of the same variate.

    Batches are spread over the test rows (see ``_mse``), so that is half of them away.
    """
    return z.roll(max(len(z) // 2, 1), dims=0)


def averaged(z_BDGE: Tensor) -> Tensor:
    """Each of a variate's G tokens becomes their mean: what is left without any choice."""
    return z_BDGE.mean(dim=2, keepdim=True).expand_as(z_BDGE)


@contextlib.contextmanager
def cross_reads(network: S2TX, n_variates: int, change: Change) -> Iterator[None]:
    """Within, every cross-attention reads a changed context; the head reads the true one."""

    def before(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        x_NQE, z_NGE, *rest = inputs
        z_BDGE = z_NGE.view(-1, n_variates, *z_NGE.shape[1:])
        return x_NQE, change(z_BDGE).flatten(0, 1), *rest

    hooks = [each.register_forward_pre_hook(before) for each in _crosses(network)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def head_reads(network: S2TX, change: Change) -> Iterator[None]:
    """Within, the head reads a changed context; the cross-attention reads the true one."""
    local = network.local_path.embed.position.numel()  # F * E; behind them the context

    def before(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        own, z = inputs[0][..., :local], inputs[0][..., local:]
        return (torch.cat([own, change(z)], dim=-1),)

    hook = network.head.register_forward_pre_hook(before)
    try:
        yield
    finally:
        hook.remove()


def update_shares(network: S2TX, x_BLD: Tensor) -> list[dict[str, float]]:
    """For each local block and sublayer, the norm of what it adds over that of what it adds to."""
    shares: list[dict[str, float]] = []

    def watch(place: dict[str, float], name: str) -> Callable[..., None]:
        def after(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            place[name] = float((output - inputs[0]).norm() / inputs[0].norm())

        return after

    hooks = []
    for block in network.local_path.blocks:
        shares.append({})
        for name, part in block.named_children():
            hooks.append(part.register_forward_hook(watch(shares[-1], name)))
    try:
        with torch.no_grad():
            network(x_BLD)
    finally:
        for hook in hooks:
            hook.remove()
    return shares


def gradient_shares(network: S2TX, x_BLD: Tensor, y_BHD: Tensor) -> dict[str, float]:
    """Each part's share of the squared gradient norm of the mean absolute error.

    The error is that of the forecast in service: of two members, it is their mean's.
    """
    network.zero_grad()
    (network(x_BLD) - y_BHD).abs().mean().backward()
    sums: dict[str, float] = {}
    for name, parameter in network.named_parameters():
        words = name.split(".")
        part = words[3] if words[:2] == ["local_path", "blocks"] else words[0]
        if parameter.grad is not None:
            sums[part] = sums.get(part, 0.0) + float(parameter.grad.square().sum())
    network.zero_grad()
    return {part: value / sum(sums.values()) for part, value in sums.items()}


def examine(name: str, params: Params, places: Places, folder: Path | None) -> dict[str, Any]:
    """All of it for one finished cell.

    Raises:
        InputError: the cell is not finished, its weights are gone, or it has no global context.
    """
    done = Finished.open(name, params, places, folder)
    table, bundle, network = done.table, done.bundle, done.bundle.network
    if not isinstance(network, S2TX) or network.global_path is None:
        raise InputError(f"{name} has no global context", "Give a cell of an S2TX that has one")

    def measure() -> float:
        return _mse(done, params.evaluate.batch_size)

    found: dict[str, Any] = {
        "cell": dataclasses.asdict(done.cell),
        "test_mse": {"intact": measure()},
    }
    if _crosses(network):
        for label, change in (("cross_shuffled", shuffled), ("cross_averaged", averaged)):
            with cross_reads(network, len(table.card.variates), change):
                found["test_mse"][label] = measure()
    if network.head_context:
        with head_reads(network, shuffled):
            found["test_mse"]["head_shuffled"] = measure()
    x_BLD, _, y_BHD, _ = bundle.windows(table).batch(_some(done.borders, bundle))
    found["update_shares"] = update_shares(network, x_BLD)
    found["gradient_shares"] = gradient_shares(network, x_BLD, y_BHD)
    found["weights_sha256"] = done.record["receipt"]["weights_sha256"]
    return found


def _mse(done: Finished, batch_size: int) -> float:
    """Of every test window, in batches that are each spread evenly over the test rows."""
    bundle = done.bundle
    origins = done.borders.origins("test", bundle.window.look_back, bundle.window.horizon)
    batches = -(-len(origins) // batch_size)
    losses = [
        score(bundle, done.table, origins[at::batches], bundle.scaler, batch_size).window_mse
        for at in range(batches)
    ]
    return float(np.nanmean(np.concatenate(losses)))


def _some(borders: Borders, bundle: Bundle) -> Tensor:
    """Training windows, evenly spread."""
    origins = borders.origins("train", bundle.window.look_back, bundle.window.horizon)
    return torch.tensor(origins[:: max(len(origins) // _WINDOWS, 1)][:_WINDOWS])


def _crosses(network: S2TX) -> list[nn.Module]:
    return [
        block.cross for block in network.local_path.blocks if isinstance(block.cross, Attention)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    protocol = "every test window; shuffled: the context of the window half of the test rows away"
    return run_over_cells("context", __doc__, examine, protocol, arguments)


if __name__ == "__main__":
    sys.exit(main())
