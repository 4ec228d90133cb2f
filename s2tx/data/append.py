"""New rows for the current version: where both have a reading, they must agree."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

from s2tx import fingerprint
from s2tx.data.findings import some
from s2tx.data.profile import take_out_sentinels
from s2tx.data.read import Raw
from s2tx.data.table import Card
from s2tx.errors import InputError


def merge(
    current: Raw, arrived: Raw, folder: Path, sentinels: tuple[float, ...]
) -> tuple[Raw, int]:
    """Add the rows and readings of ``arrived`` that ``current`` lacks, in the order of time.

    The merged table is written to ``folder`` as CSV in one canonical form: time first, the card's
    column order, shortest digits that read back the same. Each row's place there is told with that
    in the file that brought it. Where a stamp repeats, its first row here is its first row there,
    its second the second, and so on. What is among ``sentinels`` is no reading: its cell is empty.

    Returns:
        The merged rows (``current`` itself where nothing is new), and how many rows are new.

    Raises:
        InputError: other columns or another zone, stamps out of order, or a reading that
            differs or is gone; names the first such cell.
    """
    card = current.card
    if set(arrived.columns) != set(card.variates):
        absent = [column for column in card.variates if column not in arrived.columns]
        strange = [column for column in arrived.columns if column not in card.variates]
        raise InputError(
            f"{arrived.card.file} has other columns than {card.name}: missing {some(absent) or '-'}"
            f", unknown {some(strange) or '-'}",
            "Bring rows with the columns of the current version",
        )
    if (arrived.times.tz is None) != (current.times.tz is None):
        raise InputError(
            f"{arrived.card.file} and {card.name} do not both name a time zone",
            "Write both in UTC, or both without a zone",
        )
    back = np.flatnonzero(arrived.times[1:] < arrived.times[:-1])
    if len(back):
        row = int(back[0]) + 1
        raise InputError(
            f"{arrived.card.file}, {arrived.places[row]}: time goes back from "
            f"{arrived.times[row - 1]} to {arrived.times[row]}",
            "Sort the rows by time",
        )
    old, new = (by_time(each.frame, card, sentinels) for each in (current, arrived))
    _agree(old, new, arrived)
    merged = old.combine_first(new).sort_index(kind="stable")
    if merged.equals(old):
        return current, 0
    origin = new.index.get_indexer(merged.index)
    merged = merged.reset_index(level=1, drop=True).reset_index(names=card.time_column)
    path = folder / f"{card.name}-merged.csv"
    path.write_text(canonical_csv(merged, card.time_column), encoding="utf-8", newline="")
    raw = Raw(
        card=dataclasses.replace(card, file=path.name, sha256=fingerprint.of_file(path)),
        frame=merged,
        places=tuple(
            f"line {line}" + (f" ({arrived.card.file}, {arrived.places[row]})" if row >= 0 else "")
            for line, row in enumerate(origin, start=2)
        ),
        findings=arrived.findings,
    )
    return raw, len(merged) - len(old)


def canonical_csv(frame: pd.DataFrame, time_column: str) -> str:
    """The one text of a table."""
    stamps = frame[time_column].map(lambda stamp: stamp.isoformat(sep=" "))
    return frame.assign(**{time_column: stamps}).to_csv(index=False, lineterminator="\n")


def by_time(frame: pd.DataFrame, card: Card, sentinels: tuple[float, ...]) -> pd.DataFrame:
    """The variates' readings by timestamp and how often it stood above."""
    occurrence = frame.groupby(card.time_column).cumcount()
    variates = list(card.variates)
    readings, _ = take_out_sentinels(frame[variates].to_numpy(np.float64), sentinels)
    index = pd.MultiIndex.from_arrays([frame[card.time_column], occurrence])
    return pd.DataFrame(readings, index=index, columns=variates)


def _agree(old: pd.DataFrame, new: pd.DataFrame, arrived: Raw) -> None:
    """Every reading of ``old`` stands in ``new`` too, where that has its row."""
    shared = new.index.isin(old.index)
    there = old.loc[new.index[shared]].to_numpy(np.float64)
    here = new.to_numpy(np.float64)[shared]
    differ = (there != here) & ~np.isnan(there)
    if differ.any():
        row, column = (int(at) for at in np.argwhere(differ)[0])
        at = int(np.flatnonzero(shared)[row])
        raise InputError(
            f"{arrived.card.file}, {arrived.places[at]}, column {new.columns[column]!r}: at "
            f"{new.index[at][0]} it has {here[row, column]}, the current version has "
            f"{there[row, column]}",
            "Mend the row, or bring the whole corrected table without --append",
        )
