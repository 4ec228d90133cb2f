"""A raw CSV or Parquet file, as published -> its rows and the card that declares them.

Reading decides only what the file *says*: which column is time, which cells are numbers. Whether
that is fit to train on is decided in ``s2tx.data.validate``.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from s2tx import fingerprint
from s2tx.data import times as stamps
from s2tx.data.catalog import Entry
from s2tx.data.findings import Finding, some
from s2tx.data.parse_csv import parse_csv
from s2tx.data.table import Card
from s2tx.errors import InputError
from s2tx.paths import Project

CARD_FILE = "dataset.json"


@dataclass(frozen=True, eq=False)
class Raw:
    """Rows as published.

    Attributes:
        card: what the data set declares of itself.
        frame: the time column (``datetime64[ns]``) and the file's numeric columns (float64).
        places: where each row stands in the file, such as ``line 7``.
        findings: oddities of the file that did not keep it from being read.
    """

    card: Card
    frame: pd.DataFrame
    places: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def times(self) -> pd.DatetimeIndex:
        return pd.DatetimeIndex(self.frame[self.card.time_column])

    @property
    def columns(self) -> tuple[str, ...]:
        """The numeric columns that are there, in the file's order."""
        return tuple(c for c in map(str, self.frame.columns) if c != self.card.time_column)


def read_raw(
    path: Path,
    *,
    name: str | None = None,
    time_column: str | None = None,
    step: str | None = None,
    entry: Entry | None = None,
    source: str | None = None,
) -> Raw:
    """Read a table of one time column and numeric columns.

    Args:
        path: a ``.csv`` or ``.parquet`` file.
        name: of the data set; by default the catalog's, or the file's stem.
        time_column: where it is not the only column of timestamps.
        step: where the rows do not tell, such as ``"15min"``.
        entry: the catalog's declaration, if it is a known set.
        source: where the file came from; by default its name.

    Raises:
        InputError: the file cannot be read as such a table; names file, line, column, value, cure.
    """
    cells, places, findings = _cells(path)
    if entry is not None:
        time_column, step = time_column or entry.time_column, step or entry.step
    found = _find_time_column(cells, time_column, path)
    where = f"{path.name}, column {found!r}"
    frame = pd.DataFrame({found: _times(cells[found], where, places)})
    numbers = {
        str(column): _numbers(cells[column], path, str(column), places)
        for column in cells.columns
        if column != found
    }
    if not numbers:
        raise InputError(
            f"{path.name} has no numeric column beside {found!r}",
            "Bring at least one column of numbers",
        )
    frame = pd.concat([frame, pd.DataFrame(numbers)], axis=1)
    times = pd.DatetimeIndex(frame[found])
    step = stamps.canonical_step(step) if step else stamps.find_step(times, path.name)
    card = Card(
        name=clean_name(name or (entry.name if entry else path.stem)),
        file=path.name,
        sha256=fingerprint.of_file(path),
        time_column=found,
        step=step,
        variates=tuple(numbers),
        split=entry.split if entry else "ratio",
        irregular=entry.irregular if entry else "insert",
        source=source or path.name,
        licence=entry.licence if entry else "not stated",
        synthetic=entry.synthetic if entry else False,
    )
    return Raw(card, frame, places, findings)


def read_current(project: Project) -> Raw:
    """The current version: ``data/dataset.json`` and the file that it names, read as it declares.

    Raises:
        InputError: there is none, or the file is not the one that the card declares.
    """
    card = read_card(project)
    path = project.data / card.file
    if not path.is_file():
        raise InputError(
            f"{path} does not exist", "Bring the data back with: dvc checkout data.dvc"
        )
    sha256 = fingerprint.of_file(path)
    if sha256 != card.sha256:
        raise InputError(
            f"{path} has sha256 {sha256}, its card declares {card.sha256}",
            "Bring the data back with: dvc checkout data.dvc",
        )
    raw = read_raw(path, name=card.name, time_column=card.time_column, step=card.step)
    return dataclasses.replace(raw, card=card)


def read_card(project: Project) -> Card:
    """The card of the current version.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    path = project.data / CARD_FILE
    try:
        return Card.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist: there is no current version of the data",
            "Bring it with: dvc pull data.dvc, or: s2tx ingest substation-demo",
        ) from None
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path} is no card of a data set ({error})",
            "Bring it back with: dvc checkout data.dvc",
        ) from None


def clean_name(name: str) -> str:
    """Letters, digits, ``.``, ``_`` and ``-``: what a registered model may be called."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "table"


def _cells(path: Path) -> tuple[pd.DataFrame, tuple[str, ...], tuple[Finding, ...]]:
    """Columns as they stand in the file: text from CSV, typed from Parquet."""
    if path.is_dir():
        raise InputError(f"{path} is a folder", "Give the CSV or Parquet file in it")
    if not path.is_file():
        raise InputError(f"{path} does not exist", "Check the path")
    if path.stat().st_size == 0:
        raise InputError(f"{path.name} is empty (0 bytes)", "Write the file again")
    match path.suffix.lower():
        case ".csv" | ".txt":
            return parse_csv(path)
        case ".parquet" | ".pq":
            return _read_parquet(path)
        case suffix:
            raise InputError(
                f"{path.name} ends with {suffix or 'nothing'!r}", "Give a .csv or a .parquet file"
            )


def _read_parquet(path: Path) -> tuple[pd.DataFrame, tuple[str, ...], tuple[Finding, ...]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        arrow = pq.read_table(path)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise InputError(
            f"{path.name} is not a whole Parquet file ({error})", "Write the file again"
        ) from None
    doubles = sorted({name for name in arrow.column_names if arrow.column_names.count(name) > 1})
    if doubles:
        raise InputError(
            f"{path.name} has columns of the same name: {some(doubles)}", "Give each its own name"
        )
    frame = arrow.to_pandas()
    if isinstance(frame.index, pd.DatetimeIndex):
        frame = frame.reset_index(names=frame.index.name or "date")
    frame.columns = frame.columns.map(str)
    if frame.empty:
        raise InputError(f"{path.name} has no rows", "Bring a table with rows")
    return frame.reset_index(drop=True), tuple(f"row {row}" for row in range(1, len(frame) + 1)), ()


def _find_time_column(cells: pd.DataFrame, given: str | None, path: Path) -> str:
    if given is not None:
        if given not in cells.columns:
            raise InputError(
                f"{path.name} has no column {given!r}; it has {some(cells.columns)}",
                "Name the column of timestamps with --time-column",
            )
        return given
    candidates = [
        str(column)
        for column in cells.columns
        if pd.api.types.is_datetime64_any_dtype(cells[column].dtype)
        or (_is_text(cells[column]) and stamps.looks_like_times(cells[column]))
    ]
    usual = [column for column in candidates if column.lower() in stamps.USUAL_NAMES]
    if len(candidates) == 1 or len(usual) == 1:
        return (usual or candidates)[0]
    if candidates:
        raise InputError(
            f"{path.name} has several columns of timestamps: {some(candidates)}",
            "Name the right one with --time-column, and drop the others",
        )
    raise InputError(
        f"{path.name} has no column of timestamps; it has {some(cells.columns)}",
        "Write one as 2024-01-31 23:00:00 under the name date, or name it with --time-column",
    )


def _is_text(cells: pd.Series) -> bool:
    return pd.api.types.is_string_dtype(cells.dtype) or cells.dtype == object


def _times(cells: pd.Series, where: str, places: tuple[str, ...]) -> pd.DatetimeIndex:
    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        times = pd.DatetimeIndex(cells)
        if times.isna().any():
            row = int(np.flatnonzero(times.isna())[0])
            raise InputError(f"{where}, {places[row]}: no timestamp", "Fill it in or drop the row")
        years = times.year
        if years.min() < 1678 or years.max() > 2261:
            row = int(np.flatnonzero((years < 1678) | (years > 2261))[0])
            raise InputError(
                f"{where}, {places[row]}: {times[row]} lies outside the years 1678 to 2261",
                "Mend the stamp",
            )
        return (times.tz_convert("UTC") if times.tz is not None else times).as_unit("ns")
    if not _is_text(cells):
        raise InputError(
            f"{where} holds numbers ({cells.iloc[0]!r}), not timestamps",
            "Write timestamps as 2024-01-31 23:00:00",
        )
    return stamps.parse(cells, where, places)


def _numbers(cells: pd.Series, path: Path, column: str, places: tuple[str, ...]) -> Any:
    """(T,) float64, NaN where a cell is empty or says so."""
    no_numbers = (
        pd.api.types.is_bool_dtype,
        pd.api.types.is_datetime64_any_dtype,
        pd.api.types.is_timedelta64_dtype,
    )
    if any(holds(cells.dtype) for holds in no_numbers):
        raise InputError(
            f"{path.name}, column {column!r} holds {cells.dtype}, not numbers", "Drop the column"
        )
    numbers = pd.to_numeric(cells, errors="coerce")
    bad = np.asarray(numbers.isna() & cells.notna())
    if _is_text(cells):
        bad = bad & ~np.asarray(cells.astype("str").str.strip().str.lower().isin(["", "nan"]))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{path.name}, {places[row]}, column {column!r}: {str(cells.iloc[row])[:60]!r} is not "
            f"a number ({int(bad.sum())} such cells in this column)",
            "Mend the cell (a decimal point, no unit), leave it empty, or drop the column",
        )
    return numbers.to_numpy(np.float64, na_value=np.nan)
