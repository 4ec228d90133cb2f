"""Forecasts as data frames: rows in, the next H rows out; and the champion's forecast as a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2tx.data import regular
from s2tx.data.age import newest_reading
from s2tx.data.findings import some
from s2tx.data.profile import HUGE, take_out_sentinels
from s2tx.data.read import read_raw
from s2tx.data.times import in_nanoseconds
from s2tx.errors import InputError, S2TXError
from s2tx.fingerprint import of_file
from s2tx.params import Params, RuntimeParams
from s2tx.paths import Project, write_beside
from s2tx.training.bundle import Bundle
from s2tx.training.runtime import pick_device

_NAMED = 8  # variates that a warning names
_AT_ONCE = pd.Timedelta(0)
_ANYWHERE = RuntimeParams(
    device="auto", precision="32-true", scan="auto", layers="auto", threads=None
)


@dataclass(frozen=True, eq=False)
class Forecaster:
    """A trained model that takes and gives data frames.

    Attributes:
        bundle: the model, its scaler and the card of the data it was trained on.
    """

    bundle: Bundle

    @classmethod
    def load(cls, folder: Path, runtime: RuntimeParams = _ANYWHERE) -> Forecaster:
        """From a bundle folder, on the device of ``runtime``; by default the best there is."""
        return cls(Bundle.load(folder, runtime, pick_device(runtime)))

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Forecast the H steps after the last row.

        Args:
            frame: the time column and the D variates by name (others are ignored), in order of
                time at the card's step; the last L rows are read. NaN where a reading is missing.

        Returns:
            H rows: the time column going on at the card's step, then the variates in the card's
            order, in the data's own units.

        Raises:
            InputError: a column is missing or twice there, there are fewer than L rows, the stamps
                do not advance by the card's step, a cell holds no number or a huge one, or no
                variate has a reading in the last L rows.
            S2TXError: the model's output is not finite.
        """
        return self._ahead(self.newest(frame))

    def _ahead(self, newest: pd.DataFrame) -> pd.DataFrame:
        """The H steps after checked rows."""
        card, window = self.bundle.card, self.bundle.window
        # A frame holds column by column, and the last bits of a product depend on that.
        rows = np.ascontiguousarray(newest[list(card.variates)].to_numpy(np.float64))
        values = self.bundle.forecast(rows)
        if not np.isfinite(values).all():
            raise S2TXError(f"the forecast of {card.name} is not finite. It was thrown away.")
        last = newest[card.time_column].iloc[-1]
        ahead = pd.DataFrame(values, columns=list(card.variates))
        times = last + card.step_delta * np.arange(1, window.horizon + 1)
        ahead.insert(0, card.time_column, pd.DatetimeIndex(times).as_unit("ns"))
        return ahead

    def newest(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The last L rows, checked: time column and variates, as ``predict`` reads them.

        Raises:
            InputError: as ``predict``.
        """
        card, look_back = self.bundle.card, self.bundle.window.look_back
        wanted = [card.time_column, *card.variates]
        held = list(frame.columns)
        for column in wanted:
            if held.count(column) != 1:
                found = "is missing" if column not in held else "is there more than once"
                raise InputError(
                    f"column {column!r} {found}; the columns are {', '.join(map(str, held))}",
                    f"Give the columns {', '.join(wanted)}",
                )
        if len(frame) < look_back:
            raise InputError(
                f"the model reads {look_back} rows, and there are {len(frame)}",
                f"Give at least the newest {look_back} rows",
            )
        newest = frame[wanted].tail(look_back).reset_index(drop=True)
        rows = range(len(frame) - look_back + 1, len(frame) + 1)
        times = _times(newest[card.time_column], rows)
        steps = times.diff().iloc[1:]
        # By position, as it was trained, a model reads rows whatever lies between them.
        as_trained = (
            steps >= _AT_ONCE if card.irregular == "positional" else steps == card.step_delta
        )
        wrong = np.flatnonzero(~as_trained.to_numpy())
        if len(wrong):
            first = int(wrong[0]) + 1
            raise InputError(
                f"row {rows[first]} is {steps.iloc[first - 1]} after the row before it "
                f"({times.iloc[first]}), and the step of {card.name} is {card.step}",
                "Give rows in order of time, each step once; leave cells empty where a reading "
                "is missing",
            )
        cells = np.stack([_numbers(newest[column], rows) for column in card.variates], axis=1)
        cells, _ = take_out_sentinels(cells, self.bundle.sentinels)
        _require_no_huge(
            cells, lambda row, number: f"column {card.variates[number]!r}, row {rows[row]}"
        )
        checked = pd.DataFrame(cells, columns=list(card.variates))
        checked.insert(0, card.time_column, times)
        if checked[list(card.variates)].isna().all(axis=None):
            raise InputError(
                f"no variate of {card.name} has a reading in the {look_back} rows from "
                f"{times.iloc[0]} to {times.iloc[-1]}",
                "Give rows with a reading: ingest newer ones, or name others with s2tx forecast "
                "--input",
            )
        return checked


def _times(column: pd.Series, rows: range) -> pd.Series:
    """Timestamps, ``datetime64[ns]``, from timestamps or ISO 8601 text."""
    if pd.api.types.is_numeric_dtype(column):
        parsed = pd.Series(pd.NaT, index=column.index, dtype="datetime64[ns]")
    else:
        try:
            parsed = pd.to_datetime(column, errors="coerce", format="ISO8601")
        except ValueError:  # with and without a zone
            parsed = pd.to_datetime(column, errors="coerce", format="ISO8601", utc=True)
    times = in_nanoseconds(parsed)
    bad = np.flatnonzero(times.isna().to_numpy())
    if len(bad):
        first = int(bad[0])
        raise InputError(
            f"column {column.name!r}, row {rows[first]}: {column.iloc[first]!r} is no timestamp",
            "Write timestamps as 2024-01-31 23:00:00, between the years 1678 and 2261",
        )
    return times


def _numbers(column: pd.Series, rows: range) -> NDArray[np.float64]:
    """Float64, NaN where a cell is empty."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "fiu":
        numbers = column.to_numpy(np.float64)
        bad = np.flatnonzero(np.isinf(numbers))
    else:
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
        no_number = np.isnan(numbers) & column.notna().to_numpy() | np.isinf(numbers)
        bad = np.flatnonzero(no_number | np.asarray(column.map(pd.api.types.is_bool), bool))
    if len(bad):
        first = int(bad[0])
        raise InputError(
            f"column {column.name!r}, row {rows[first]}: {column.iloc[first]!r} is no number",
            "Give a number, or leave the cell empty where a reading is missing",
        )
    return numbers


def _require_no_huge(cells: NDArray[np.float64], where: Callable[[int, int], str]) -> None:
    """Refuse (rows, columns) with a value that no sensor gives; ``where`` names a cell by both.

    Raises:
        InputError: names the first such cell and its value.
    """
    huge = np.argwhere(np.abs(cells) > HUGE)
    if len(huge):
        row, number = map(int, huge[0])
        raise InputError(
            f"{where(row, number)}: {cells[row, number]:g} is beyond {HUGE:g}",
            "Mend the cell, or leave it empty where a reading is missing",
        )


@dataclass(frozen=True)
class Forecast:
    """A forecast on disk.

    Attributes:
        path: of the CSV or Parquet file.
        about: of the JSON file beside it, which says what it was made of.
        sha256: of the forecast's file.
        rows: H.
        name: of the registered model.
        version: of the champion that made it.
        newest: timestamp of the newest row that was read.
        newest_reading: of the newest in which any variate has a reading.
        first: timestamp of its first row.
        last: timestamp of its last row.
        missing: share of the look-back that was missing, by variate.
        unseen: variates without a reading in the look-back, whose forecast rests on the train mean.
    """

    path: Path
    about: Path
    sha256: str
    rows: int
    name: str
    version: int
    newest: str
    newest_reading: str
    first: str
    last: str
    missing: dict[str, float]
    unseen: tuple[str, ...]

    @property
    def warning(self) -> str | None:
        """The gaps in a line; None if there were none."""
        gaps = {name: share for name, share in self.missing.items() if share}
        told = [f"{share:.1%} of {name}" for name, share in gaps.items() if name not in self.unseen]
        parts = [f"missing in the look-back: {some(told, _NAMED)}"] if told else []
        if self.unseen:
            parts.append(
                f"no reading, so forecast from the train mean: {some(self.unseen, _NAMED)}"
            )
        return "; ".join(parts) or None

    def as_json(self) -> str:
        """What stands beside the forecast; the same forecast gives the same text."""
        about = {
            "model": self.name,
            "version": self.version,
            "sha256": self.sha256,
            "newest": self.newest,
            "newest_reading": self.newest_reading,
            "horizon": self.rows,
            "missing": self.missing,
            "unseen": self.unseen,
        }
        return json.dumps(about, indent=2, ensure_ascii=False) + "\n"


def forecast(
    project: Project, params: Params, output: Path | None = None, input: Path | None = None
) -> Forecast:
    """Write the champion's forecast of the next H steps; the same data give the same bytes.

    Beside it stands a file of the same name and ``.json``: model, version, the forecast's sha256,
    newest row, and how much of each variate's look-back was missing.

    Args:
        output: CSV, or Parquet by its extension; by default
            ``forecasts/<model>-<last timestamp>.csv``, and ``-<input's stem>`` before the dot.
        input: rows to forecast from, in a file that ``ingest`` would read; by default the validated
            table.

    Raises:
        InputError: the rows do not fit the model or hold no reading, there is no champion, or
            ``output`` cannot be written, or would take the place of what is read.
        S2TXError: the registry does not answer, the champion does not load, or the forecast cannot
            be written where it belongs.
    """
    from s2tx.registry.champion import load_champion
    from s2tx.registry.package import current_card, current_table, model_name

    if output is not None:
        _require_place(project, output, input)
    name = model_name(current_card(project), params.window)
    bundle, version = load_champion(project, name, params.runtime)
    frame = current_table(project).frame() if input is None else _read(input, bundle)
    forecaster = Forecaster(bundle)
    newest = forecaster.newest(frame)
    ahead = forecaster._ahead(newest)
    card = bundle.card
    times = pd.DatetimeIndex(newest[card.time_column])
    seen, reading = times[-1], newest_reading(times, newest[list(card.variates)].to_numpy())
    # Other rows up to the same stamp must not take the place of the night's forecast.
    of = "" if input is None else f"-{input.stem}"
    path = output or project.forecasts / f"{name}-{seen:%Y%m%dT%H%M%S}{of}.csv"
    missing = {column: float(newest[column].isna().mean()) for column in card.variates}
    made = Forecast(
        path=path,
        about=path.with_name(f"{path.name}.json"),
        sha256="",
        rows=len(ahead),
        name=name,
        version=version,
        newest=str(seen),
        newest_reading=str(reading),
        first=str(ahead[card.time_column].iloc[0]),
        last=str(ahead[card.time_column].iloc[-1]),
        missing=missing,
        unseen=tuple(column for column, share in missing.items() if share == 1),
    )
    try:
        return _write(made, ahead)
    except OSError as error:
        if output is None:
            raise S2TXError(
                f"{path} cannot be written ({error}). See to its folder, or name another file with "
                "--output."
            ) from None
        raise InputError(
            f"{output} cannot be written ({error})", "Name another file with --output"
        ) from None


def _require_place(project: Project, output: Path, input: Path | None) -> None:
    """A forecast may take the place of another, and of nothing that it is made from.

    Raises:
        InputError: ``output`` is a folder, of another kind, the input itself, or among the data.
    """
    if output.suffix not in (".csv", ".parquet"):
        raise InputError(f"{output} is neither CSV nor Parquet", "End it with .csv or .parquet")
    other = "Name another file with --output"
    try:
        folder, place = output.is_dir(), output.resolve()
    except OSError as error:
        raise InputError(f"{output} cannot be written ({error})", other) from None
    if folder:
        raise InputError(f"{output} is a folder", "Name a file with --output")
    if input is not None and place == input.resolve():
        raise InputError(f"{output} holds the rows to forecast from", other)
    for kept in (project.data, project.artifacts, project.mlruns):
        if place.is_relative_to(kept.resolve()):
            raise InputError(f"{output} lies in {kept}, which is the pipeline's own", other)


def _write(made: Forecast, ahead: pd.DataFrame) -> Forecast:
    """The file and the one beside it; returns ``made`` with the file's hash.

    Both are whole before either takes its place, the forecast last: who waits for it has both. The
    hash tells whether they belong together, where a kill or another forecast came between.
    """
    with write_beside(made.path) as part, write_beside(made.about) as note:
        if made.path.suffix == ".parquet":
            ahead.to_parquet(part, index=False)
        else:
            ahead.to_csv(part, index=False)
        whole = replace(made, sha256=of_file(part))
        note.write_text(whole.as_json(), encoding="utf-8")
    return whole


def _read(path: Path, bundle: Bundle) -> pd.DataFrame:
    """The rows of a file, read as ingest reads it, and its gaps settled as in training.

    Raises:
        InputError: it cannot be read as such a table.
    """
    card = bundle.card
    try:
        raw = read_raw(path, time_column=card.time_column, step=card.step)
    except InputError as error:
        if "--time-column" not in error.cure:  # an option of ingest
            raise
        wanted = ", ".join((card.time_column, *card.variates))
        raise InputError(error.what, f"Give the columns {wanted}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error})", "Check the file") from None
    if card.irregular != "insert":
        return raw.frame
    columns = [column for column in raw.columns if column in card.variates]
    values = raw.frame[columns].to_numpy(np.float64)
    cells, _ = take_out_sentinels(values, bundle.sentinels)
    _require_no_huge(  # while the rows are those of the file
        cells, lambda row, number: f"{path.name}, {raw.places[row]}, column {columns[number]!r}"
    )
    facts = regular.look(raw.times, values, card.step_delta)
    if facts.torn:
        return raw.frame  # its rows are refused by their place there
    times, values, _ = regular.insert(raw.times, values, facts, card.step_delta)
    whole = pd.DataFrame(values, columns=columns)
    whole.insert(0, card.time_column, times)
    return whole
