"""A cell's figure once more, from its checkpoint and the data: does the record tell the truth?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2tx.params import Params
from s2tx.studies.cell import Places, drop_last, score_test
from s2tx.studies.finished import Finished
from s2tx.training.bundle import weights_hash

TOLERANCE = 1e-5  # relative: another machine adds up in another order


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        agrees: weights, windows and both errors are those of the record.
        recorded: MSE and MAE of the record.
        recomputed: the same from the checkpoint, over every test window.
        drop_last: under the protocol that leaves windows out, labelled; no result.
        windows: how many were scored.
        faults: what does not agree.
    """

    agrees: bool
    recorded: dict[str, float]
    recomputed: dict[str, float]
    drop_last: dict[str, Any]
    windows: int
    faults: tuple[str, ...]


def audit(name: str, params: Params, places: Places, folder: Path | None) -> Audit:
    """Load a finished cell's weights and score every test window again.

    Args:
        name: of the cell, such as ``ETTh1-96-best-2024``.
        params: ``data.ratio``, ``runtime`` and ``evaluate.batch_size`` are read; the recipe need no
            longer be there.
        places: of the grid.
        folder: of the data files; None to download them.

    Raises:
        InputError: the cell is not finished, its weights are gone, or the data cannot be had.
    """
    done = Finished.open(name, params, places, folder, as_recorded=False)
    record, receipt = done.record, done.record["receipt"]
    scores = score_test(done.bundle, done.table, done.borders, params)
    recomputed = {"mse": scores.mse, "mae": scores.mae}
    windows = len(scores.window_mse)
    found = {
        "weights_sha256": (weights_hash(places.bundle(done.cell)), receipt["weights_sha256"]),
        "data sha256": (done.table.card.sha256, receipt["data"]["sha256"]),
        "windows_scored": (windows, receipt["windows_scored"]),
    }
    faults = [f"{key} is {a}, recorded {b}" for key, (a, b) in found.items() if a != b]
    faults += [
        f"{metric} is {value!r}, recorded {record['test'][metric]!r}"
        for metric, value in recomputed.items()
        if not math.isclose(value, record["test"][metric], rel_tol=TOLERANCE)
    ]
    return Audit(not faults, record["test"], recomputed, drop_last(scores), windows, tuple(faults))
