"""What a whole table that takes the place of another one leaves out, and what it tells anew."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from s2tx.data.append import by_time
from s2tx.data.findings import Finding
from s2tx.data.read import Raw
from s2tx.errors import InputError

_BACK = "the version before comes back with: git checkout COMMIT -- data.dvc && dvc pull data.dvc"


def require_most(current: Raw, arrived: Raw) -> None:
    """A table that ends earlier, or has less than half of the rows, was cut short, perhaps.

    Raises:
        InputError: it does.
    """
    name, file = current.card.name, arrived.card.file
    cure = "Bring the whole table, add new rows with --append, or take it as it is with --backwards"
    newest, known = (each.times.max() for each in (arrived, current))
    if (newest.tz is None) != (known.tz is None):
        raise InputError(
            f"{file} and the current version of {name} do not both name a time zone",
            "Write both in UTC, or both without a zone, or give it another name with --name",
        )
    if newest < known:
        raise InputError(f"{file} ends at {newest}, the current version of {name} at {known}", cure)
    kept = int(current.times.isin(arrived.times).sum())
    if 2 * kept < len(current.times):
        raise InputError(
            f"{file} has {kept} of the {len(current.times)} rows of the current version of {name}",
            cure,
        )


def changes(current: Raw, arrived: Raw, sentinels: tuple[float, ...]) -> Iterator[Finding]:
    """Warnings: rows that are gone, and readings that are gone or others than they were.

    Args:
        current: the version that is replaced; both have the same columns and step, and a zone or
            none.
        arrived: the table that takes its place.
        sentinels: values that are no reading.
    """
    old, new = (by_time(each.frame, current.card, sentinels) for each in (current, arrived))
    gone = old.index[~old.index.isin(new.index)]
    if len(gone):
        yield Finding(
            "warning",
            "rows gone",
            None,
            f"{arrived.card.file} lacks {len(gone)} of the {len(old)} rows of the version before, "
            f"the first of {gone[0][0]}",
            f"If they should stay, add new rows with --append instead ({_BACK})",
        )
    shared = old.index[old.index.isin(new.index)]
    there, here = (each.loc[shared].to_numpy(np.float64) for each in (old, new))
    differ = (there != here) & ~np.isnan(there)
    if differ.any():
        row, column = (int(at) for at in np.argwhere(differ)[0])
        yield Finding(
            "warning",
            "readings changed",
            str(old.columns[column]),
            f"{arrived.card.file} has {int(differ.sum())} readings otherwise than the version "
            f"before, the first in column {old.columns[column]!r} at {shared[row][0]}: "
            f"{here[row, column]}, it was {there[row, column]}",
            f"If that is no correction, mend the source ({_BACK})",
        )
