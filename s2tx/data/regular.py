"""Irregular times: what is irregular about a table's stamps, and the policy that settles it.

``insert`` drops rows that repeat the row before them and puts missing rows where the grid has none;
``positional`` leaves the rows as published, as the field's benchmarks do; ``refuse`` wants a
regular table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class TimeFacts:
    """Row numbers, from 0, of what is irregular.

    Attributes:
        rows: T.
        back: rows whose stamp lies before that of the row above.
        repeated: rows that repeat the stamp of the row above, with the same values.
        conflicting: rows that repeat the stamp of the row above, with other values.
        off_grid: rows that do not stand a whole number of steps after the first.
        gaps: rows before which rows are missing.
        absent: how many rows are missing before each of ``gaps``.
    """

    rows: int
    back: NDArray[np.intp]
    repeated: NDArray[np.intp]
    conflicting: NDArray[np.intp]
    off_grid: NDArray[np.intp]
    gaps: NDArray[np.intp]
    absent: NDArray[np.int64]

    @property
    def excess(self) -> int:
        """How many more rows are missing than there are: the step is wrong, or the table is."""
        return max(0, int(self.absent.sum()) - self.rows)

    @property
    def torn(self) -> bool:
        """Whether ``insert`` cannot mend it."""
        return any((len(self.back), len(self.conflicting), len(self.off_grid), self.excess))


def look(times: pd.DatetimeIndex, values: NDArray[np.float64], step: pd.Timedelta) -> TimeFacts:
    """What is irregular about (T,) stamps and their (T, D) values."""
    stamps = times.as_unit("ns").asi8
    # Two stamps may lie further apart than 64 bits count in nanoseconds.
    slots, rest = np.divmod(stamps, step.value)
    absent = np.diff(slots) + (np.diff(rest) > 0) - 1
    same = np.flatnonzero(stamps[1:] == stamps[:-1]) + 1
    equal = (
        (values[same] == values[same - 1]) | (np.isnan(values[same]) & np.isnan(values[same - 1]))
    ).all(axis=1)
    gaps = np.flatnonzero(absent > 0) + 1
    return TimeFacts(
        rows=len(times),
        back=np.flatnonzero(stamps[1:] < stamps[:-1]) + 1,
        repeated=same[equal],
        conflicting=same[~equal],
        off_grid=np.flatnonzero(rest != rest[0]),
        gaps=gaps,
        absent=absent[gaps - 1],
    )


def insert(
    times: pd.DatetimeIndex, values: NDArray[np.float64], facts: TimeFacts, step: pd.Timedelta
) -> tuple[pd.DatetimeIndex, NDArray[np.float64], NDArray[np.intp]]:
    """The regular table: repeats dropped, absent rows missing.

    The stamps must not be ``torn``.

    Returns:
        (T',) stamps, (T', D) values, (T',) the row that each came from, -1 where there was none.
    """
    kept = np.setdiff1d(np.arange(len(times)), facts.repeated)
    grid = pd.date_range(times[0], times[-1], freq=step, unit="ns")
    whole = times.as_unit("ns").asi8 // step.value
    slots = whole[kept] - whole[0]
    regular = np.full((len(grid), values.shape[1]), np.nan)
    regular[slots] = values[kept]
    origin = np.full(len(grid), -1, dtype=np.intp)
    origin[slots] = kept
    return grid, regular, origin
