"""Seeded missing values: where a model must look away although there is a reading.

A mask over rows says which readings the *inputs* of a window may show. Targets are scored against
every reading that there is, so a mask is applied to inputs only, by whoever cuts the windows; the
clean table is never overwritten.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from s2tx.data.table import Table
from s2tx.errors import InputError
from s2tx.params import InjectParams, Params
from s2tx.paths import Project, write_beside

SENSOR_BLOCKS = 28  # a dark sensor stays dark for so many blocks: four weeks, if a block is a day


@dataclass(frozen=True, eq=False)
class Mask:
    """What inputs may show.

    Attributes:
        visible: (T, D) bool, true where a reading is shown.
        tail_steps: pattern ``tail``: of each look-back, the newest so many steps of all variates
            are hidden. A row is the newest of one window and the oldest of another, so this cannot
            be a mask over rows. 0 for other patterns.
    """

    visible: NDArray[np.bool_]
    tail_steps: int


def hide(
    observed: NDArray[np.bool_], params: InjectParams, *, stream: int = 0
) -> NDArray[np.bool_]:
    """Which readings are still seen after hiding some.

    ``point`` hides single cells; ``block`` runs of ``block_steps`` of one variate; ``sensor`` one
    variate for ``SENSOR_BLOCKS`` blocks. Each hides exactly ``rate`` of the readings, to the
    nearest cell: the last run is cut short. Neighbouring runs may touch. ``blackout`` hides runs of
    ``block_steps`` of all variates at once, exactly ``rate`` of the rows that hold a reading.
    ``tail`` hides nothing here: see ``Mask.tail_steps``.

    Args:
        observed: (T, D) bool, true where there is a reading.
        params: pattern, rate, block_steps, seed.
        stream: another number, another independent draw from the same seed.

    Returns:
        (T, D) bool, true only where ``observed`` is.
    """
    random = np.random.Generator(np.random.PCG64([params.seed, stream]))
    match params.pattern:
        case "point":
            steps = 1
        case "block":
            steps = params.block_steps
        case "sensor":
            steps = params.block_steps * SENSOR_BLOCKS
        case "blackout":
            blocks = replace(params, pattern="block")
            lit: NDArray[np.bool_] = observed.any(axis=1, keepdims=True)  # type: ignore[assignment]
            return observed & hide(lit, blocks, stream=stream)
        case "tail":
            return observed.copy()
    rows, variates = observed.shape
    # Each variate's time is cut into runs with an offset of its own; runs are hidden in a random
    # order until the rate is reached.
    offset = random.integers(steps, size=variates)
    run = (np.arange(rows)[:, None] + offset) // steps
    run_count = int(run.max(initial=0)) + 1
    rank = random.permutation(run_count * variates).reshape(run_count, variates)
    order = np.take_along_axis(rank, run, axis=0)[observed]
    budget = round(params.rate * len(order))
    first = np.argsort(order, kind="stable")[:budget]
    seen = np.ones(len(order), dtype=bool)
    seen[first] = False
    still = observed.copy()
    still[observed] = seen
    return still


def run_inject(project: Project, params: Params) -> None:
    """The DVC stage: draw the masks of the validated table and write them.

    Training sees every reading unless ``inject.train`` is set; it then has a draw of its own.

    Raises:
        InputError: the validated table is not there.
    """
    inject = params.inject
    observed = Table.read(project.table).observed
    tail = inject.block_steps if inject.pattern == "tail" else 0
    write_mask(project.evaluate_mask, Mask(hide(observed, inject), tail))
    seen = Mask(hide(observed, inject, stream=1), tail) if inject.train else Mask(observed, 0)
    write_mask(project.train_mask, seen)


def write_mask(path: Path, mask: Mask) -> None:
    """Write an ``.npz``, whole or not at all; the same mask gives the same bytes."""
    with write_beside(path) as part, zipfile.ZipFile(part, "w") as archive:
        for field in fields(mask):
            stream = io.BytesIO()
            np.lib.format.write_array(stream, np.asarray(getattr(mask, field.name)))
            # NumPy would stamp the hour into the archive.
            entry = zipfile.ZipInfo(f"{field.name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, stream.getvalue(), zipfile.ZIP_DEFLATED, 6)


def read_mask(path: Path) -> Mask:
    """Read what ``write_mask`` wrote.

    Raises:
        InputError: the file is absent or damaged.
    """
    cure = "Make it with: dvc repro inject"
    try:
        with np.load(path, allow_pickle=False) as archive:
            return Mask(archive["visible"], int(archive["tail_steps"]))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist", cure) from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} holds no mask ({error})", cure) from None
