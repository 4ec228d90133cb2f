"""How much of what missing blocks cost is the gap that touches the forecast.

``python -m s2tx.studies.newest --data-dir FOLDER --cells CELL ...`` (or ``s2tx study newest``)
opens finished cells of the grid and scores the first half of their horizon, over every test window,
under the masks of ``study.missing.draws``: with all gaps, and again with estimates that read twice
as far back as the network; with the newest gap of each variate alone and with all others alone; and
with every value older than a variate's newest gap, from where the network forecasts further,
through the gap. The last is what the gap costs whoever reads no estimate, and nothing newer of
other variates either. Nothing is trained, nothing is chosen by it; it writes
``results/newest.json``.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from s2tx.data.season import season_of
from s2tx.data.windows import Windows
from s2tx.errors import InputError
from s2tx.model.s2tx import S2TX
from s2tx.params import Params
from s2tx.studies.cell import Places
from s2tx.studies.conditions import Condition, conditions
from s2tx.studies.fills import Fill, fills
from s2tx.studies.finished import Finished, run_over_cells

_WINDOWS = 256  # computed at once
_BACK = 2  # look-backs that the longer estimates read
# What of a mask's (B, L, D) the network is shown.
_SHOWN: dict[str, Callable[[Tensor], Tensor]] = {
    "all": lambda observed_BLD: observed_BLD,
    "newest": lambda observed_BLD: ~newest_gap(observed_BLD),
    "others": lambda observed_BLD: observed_BLD | newest_gap(observed_BLD),
}


def newest_gap(observed_BLD: Tensor) -> Tensor:
    """(B, L, D) bool, true in the run of missing values that ends a variate's look-back."""
    from_the_end = observed_BLD.flip(1).int().cummax(dim=1).values
    return from_the_end.flip(1) == 0


@torch.inference_mode()
def examine(name: str, params: Params, places: Places, folder: Path | None) -> dict[str, Any]:
    """What one finished cell loses under each mask, and what it scores on complete inputs.

    Raises:
        InputError: the cell is not finished, its weights are gone, its data have missing values of
            their own, or ``study.missing.draws`` has no condition under which a network is told.
    """
    done = Finished.open(name, params, places, folder)
    if not done.table.observed.all():
        raise InputError(
            f"{done.cell.data} has missing values of its own", "Give a cell of complete data"
        )
    draws = params.study.missing.draws
    told = [each for each in conditions(draws.conditions) if each.fill == "mask"]
    if not told or not draws.seeds:
        raise InputError(
            "study.missing.draws has no seed, or no condition with the fill `mask`", "Add one"
        )
    forecasts = _Forecasts(done)
    no_gap = np.zeros((len(forecasts.origins), done.table.values.shape[1]), dtype=int)
    return {
        "cell": dataclasses.asdict(done.cell),
        "weights_sha256": done.record["receipt"]["weights_sha256"],
        "steps": forecasts.steps,
        "complete": forecasts.further(no_gap),
        "masks": [
            {"pattern": each.pattern, "rate": each.rate, "seed": seed}
            | _under(each, seed, done, forecasts)
            for each in told
            for seed in draws.seeds
        ],
    }


def _estimates(done: Finished) -> Fill:
    """The network's own, or those that other networks are lent."""
    network = done.bundle.network
    if isinstance(network, S2TX) and network.infill is not None:
        return network.infill
    fill = fills(season_of(pd.Timedelta(done.table.card.step_delta)))["infill"]
    assert fill is not None
    return fill


def _under(
    condition: Condition, seed: int, done: Finished, forecasts: _Forecasts
) -> dict[str, float]:
    """The MSE under one mask, by what of it is hidden, and the mean length of the newest gap."""
    bundle, window, network = done.bundle, done.bundle.window, done.bundle.network
    mask, estimates = condition.mask(done.table, seed), _estimates(done)
    # Beside what the network reads, what lies before it; from the first row on if there is less.
    back = min(_BACK * window.look_back, forecasts.origins.start)
    values = bundle.scaler.transform(done.table.values)
    complete = Windows(values, back, window.horizon, bundle.device)
    gappy = Windows(values, back, window.horizon, bundle.device, mask.visible, mask.tail_steps)
    sums, gaps = dict.fromkeys((*_SHOWN, "longer"), 0.0), []
    for origins in torch.split(torch.tensor(forecasts.origins), _WINDOWS):
        x_BKD, _, y_BHD, _ = complete.batch(origins)
        seen_BKD = gappy.batch(origins).observed_BLD
        if seen_BKD is None:
            seen_BKD = torch.ones_like(x_BKD, dtype=torch.bool)
        x_BLD, seen_BLD = (each[:, -window.look_back :] for each in (x_BKD, seen_BKD))
        for label, shown in _SHOWN.items():
            observed_BLD = shown(seen_BLD)
            hidden_BLD = x_BLD.masked_fill(~observed_BLD, 0.0)
            sums[label] += _squared(network(hidden_BLD, observed_BLD), y_BHD, forecasts.steps)
        filled_BKD = estimates(x_BKD.masked_fill(~seen_BKD, 0.0), seen_BKD)
        filled_BLD = filled_BKD[:, -window.look_back :]
        sums["longer"] += _squared(network(filled_BLD, None), y_BHD, forecasts.steps)
        gaps.append(newest_gap(seen_BLD).sum(dim=1).cpu().numpy())
    gap_WD = np.concatenate(gaps)
    return {
        **{label: total / len(forecasts.origins) for label, total in sums.items()},
        "further": forecasts.further(gap_WD),
        "gap": float(gap_WD.mean()),
    }


def _squared(forecast_BHD: Tensor, y_BHD: Tensor, steps: int) -> float:
    """The windows' mean squared errors of the first steps, summed."""
    error_BSD = (forecast_BHD - y_BHD)[:, :steps].double()
    return float(error_BSD.square().mean(dim=(1, 2)).sum())


class _Forecasts:
    """Every forecast on complete inputs that a window's newest gap may ask for.

    Attributes:
        origins: of the W test windows.
        steps: of the horizon, those that are scored: the first half.
    """

    def __init__(self, done: Finished) -> None:
        window = done.bundle.window
        self.origins = done.borders.origins("test", window.look_back, window.horizon)
        self.steps = window.horizon // 2
        # A longer gap counts as one of so many steps: the horizon ends there, or the data begin.
        self._longest = min(window.horizon - self.steps, self.origins.start - window.look_back)
        windows = done.bundle.windows(done.table)
        every = torch.arange(self.origins.start - self._longest, self.origins.stop)
        batches = (windows.batch(origins) for origins in torch.split(every, _WINDOWS))
        forecasts, targets = zip(
            *((done.bundle.network(each.x_BLD, None), each.y_BHD) for each in batches), strict=True
        )
        self._forecast_NHD = torch.cat(forecasts).cpu().numpy()
        self._target_WSD = torch.cat(targets)[self._longest :, : self.steps].cpu().numpy()

    def further(self, gap_WD: NDArray[np.int_]) -> float:
        """The MSE of the forecasts that begin where a variate's newest gap does."""
        gap_WD = gap_WD.clip(max=self._longest)
        begins_WD = np.arange(len(gap_WD))[:, None] + self._longest - gap_WD
        step_WSD = gap_WD[:, None] + np.arange(self.steps)[:, None]
        forecast_WSD = self._forecast_NHD[begins_WD[:, None], step_WSD, np.arange(gap_WD.shape[1])]
        return float(np.square(forecast_WSD - self._target_WSD, dtype=np.float64).mean())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    protocol = "every test window, the first half of the horizon scored"
    return run_over_cells("newest", __doc__, examine, protocol, arguments)


if __name__ == "__main__":
    sys.exit(main())
