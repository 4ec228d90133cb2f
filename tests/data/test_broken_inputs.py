"""Protects the data in service: whatever is brought, it is refused or reported by name and place,
and a refused table leaves ``data/`` and ``data.dvc`` byte for byte as they were."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from s2tx.data.ingest import ingest
from s2tx.errors import InputError
from s2tx.params import Params
from s2tx.paths import Project
from tests.data.conftest import ROWS, good_frame, snapshot, write

Make = Callable[[Path, pd.DataFrame], Path]
REFUSED: list[tuple[Make, str, dict[str, object]]] = []


def refused(message: str, **options: object) -> Callable[[Make], Make]:
    """A broken input, and what the refusal must say of it."""

    def register(make: Make) -> Make:
        REFUSED.append((make, message, options))
        return make

    return register


def text(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False, lineterminator="\n")


def save(folder: Path, content: str | bytes, name: str = "my.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def lines(frame: pd.DataFrame) -> list[str]:
    return text(frame).splitlines(keepends=True)


@refused(r"my\.csv, line 601: 2 fields, the header has 4")
def truncated(folder: Path, frame: pd.DataFrame) -> Path:
    rows = lines(frame)
    return save(folder, "".join(rows[:-1]) + ",".join(rows[-1].split(",")[:2]))


@refused(r"my\.csv, line 8: 5 fields, the header has 4")
def a_comma_too_many(folder: Path, frame: pd.DataFrame) -> Path:
    rows = lines(frame)
    rows[7] = rows[7].replace("\n", ",1\n")
    return save(folder, "".join(rows))


@refused(r"my\.csv, line 1: fields are separated by semicolon")
def semicolons(folder: Path, frame: pd.DataFrame) -> Path:
    return save(folder, text(frame).replace(",", ";"))


@refused(r"my\.csv, line 1: fields are separated by tab")
def tabs(folder: Path, frame: pd.DataFrame) -> Path:
    return save(folder, text(frame).replace(",", "\t"))


@refused(r"my\.csv, line 7, column 'load': 'broken' is not a number")
def text_in_a_number(folder: Path, frame: pd.DataFrame) -> Path:
    return write(
        frame.astype({"load": object}).assign(load=_with(frame["load"], 5, "broken")),
        folder / "my.csv",
    )


@refused(r"column 'load': '10,5' is not a number.*decimal point")
def decimal_comma(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame.assign(load=_with(frame["load"], 5, "10,5")), folder / "my.csv")


@refused(r"column 'load' holds bool")
def true_and_false(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame.assign(load=frame["load"] > 10), folder / "my.csv")


@refused(r"column 'load' holds timedelta")
def durations_in_parquet(folder: Path, frame: pd.DataFrame) -> Path:
    path = folder / "my.parquet"
    frame.assign(load=pd.to_timedelta(frame["load"], unit="h")).to_parquet(path)
    return path


@refused(r"line 302: 2024-01-13 11:00:00 occurs twice with different values, column 'load'")
def conflicting_duplicates(folder: Path, frame: pd.DataFrame) -> Path:
    rows = lines(frame)
    other = rows[300].split(",")
    other[1] = "99.5"
    return save(folder, "".join([*rows[:301], ",".join(other), *rows[301:]]))


@refused(
    r"2024-01-13 04:00:00 occurs twice with different.*stamps in UTC if.*; else keep the right"
)
def a_clock_that_is_set_back(folder: Path, frame: pd.DataFrame) -> Path:
    frame.loc[293:, "date"] -= pd.Timedelta("1h")
    return write(frame, folder / "my.csv")


@refused(r"04:00:00\+00:00 occurs twice with different values.*\. Keep the right", name="other")
def conflicting_duplicates_in_utc(folder: Path, frame: pd.DataFrame) -> Path:
    frame.loc[293:, "date"] -= pd.Timedelta("1h")
    return write(frame.assign(date=frame["date"].dt.tz_localize("UTC")), folder / "my.csv")


@refused(r"03:00:00 to 2024-01-13 02:15:00\. Write the stamps in UTC if.*; else sort", name="other")
def a_clock_that_is_set_back_between_quarters(folder: Path, frame: pd.DataFrame) -> Path:
    quarters = pd.date_range("2024-01-13", periods=ROWS, freq="15min")
    back = pd.to_timedelta(np.where(np.arange(ROWS) > 12, 1, 0), "h")
    return write(frame.assign(date=quarters - back), folder / "my.csv")


@refused(r"my\.csv, line 102: time goes back from .* to 2024-01-")
def shuffled_stamps(folder: Path, frame: pd.DataFrame) -> Path:
    order = np.r_[0:100, 200:300, 100:200, 300:ROWS]
    order[99], order[100] = 150, 110
    return write(frame.iloc[order], folder / "my.csv")


@refused(r"has the columns \('load', 'wind'\), the current version of my has")
def missing_column(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame.drop(columns="oil"), folder / "my.csv")


@refused(r"has the columns .*'extra'")
def another_column(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame.assign(extra=frame["oil"] + 1), folder / "my.csv")


@refused(r"my\.csv is empty \(0 bytes\)")
def empty(folder: Path, _frame: pd.DataFrame) -> Path:
    return save(folder, b"")


@refused(r"holds only blank lines")
def blank(folder: Path, _frame: pd.DataFrame) -> Path:
    return save(folder, b"\n\n\n")


@refused(r"line 3: a NUL byte")
def nul_bytes(folder: Path, frame: pd.DataFrame) -> Path:
    return save(folder, text(frame).replace("2024-01-01 01", "2024-01-01\0 01").encode())


@refused(r"is not CSV but gzip")
def compressed(folder: Path, frame: pd.DataFrame) -> Path:
    import gzip

    return save(folder, gzip.compress(text(frame).encode()))


@refused(r"my\.csv, line \d+.*")
def random_bytes(folder: Path, _frame: pd.DataFrame) -> Path:
    return save(folder, np.random.default_rng(1).bytes(5000))


@refused(r"UTF-16")
def utf16(folder: Path, frame: pd.DataFrame) -> Path:
    return save(folder, text(frame).encode("utf-16"))


@refused(r"load, my\.csv, line 52: 1e\+30; 1 values beyond 1e\+15")
def huge_number(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame.assign(load=_with(frame["load"], 50, 1e30)), folder / "my.csv")


@refused(r"load, my\.csv, line 52: inf; 1 infinite values")
def infinite(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame.assign(load=_with(frame["load"], 50, "inf")), folder / "my.csv")


@refused(r"time goes back")
def mixed_zones(folder: Path, frame: pd.DataFrame) -> Path:
    stamps = frame["date"].dt.strftime("%Y-%m-%d %H:%M:%S")
    zone = np.where(np.arange(ROWS) < 30, "+00:00", "+05:30")
    return write(frame.assign(date=stamps + zone), folder / "my.csv")


@refused(r"with a time zone and without: '2024-01-01 00:00:00' at line 2, .*Z' at line 42")
def some_zones(folder: Path, frame: pd.DataFrame) -> Path:
    stamps = frame["date"].dt.strftime("%Y-%m-%d %H:%M:%S")
    return write(frame.assign(date=_with(stamps, 40, stamps[40] + "Z")), folder / "my.csv")


@refused(r"load is constant among the train rows \(5\)")
def constant_column(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame.assign(load=5.0), folder / "my.csv")


@refused(r"load: 100\.0% of its readings are missing, at most 30%")
def all_missing(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame.assign(load=np.nan), folder / "my.csv")


@refused(r"a header and no rows")
def header_only(folder: Path, frame: pd.DataFrame) -> Path:
    return save(folder, lines(frame)[0])


@refused(r"values where the column names should be")
def no_header(folder: Path, frame: pd.DataFrame) -> Path:
    return save(folder, "".join(lines(frame)[1:]))


@refused(r"the validation part of my, \d+ of 90 rows, holds no window of look-back 48")
def too_few_rows(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame.head(90), folder / "my.csv")


@refused(r"too few to find the step")
def two_rows(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame.head(2), folder / "my.csv")


@refused(r"my\.csv, row 2: 2024-01-25 22:00:00 is not after 2024-01-25 23:00:00.*Sort the rows")
def newest_first(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame.iloc[::-1], folder / "my.csv")


@refused(r"my\.csv, row 2: 2024-01-01 00:00:00 is not after 2024-01-01 00:00:00.*of its own")
def one_stamp_for_all(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame.assign(date=frame["date"][0]), folder / "my.csv")


@refused(r"load, my\.csv, line 12: 7 and the same for 300 steps .* 50\.0% of its rows")
def stuck_sensor(folder: Path, frame: pd.DataFrame) -> Path:
    frame.loc[10:309, "load"] = 7.0
    return write(frame, folder / "my.csv")


@refused(r"line 1: columns of the same name: load")
def duplicate_names(folder: Path, frame: pd.DataFrame) -> Path:
    return save(folder, text(frame).replace("wind", "load", 1))


@refused(r"line 1: column 1 has no name")
def an_index_column(folder: Path, frame: pd.DataFrame) -> Path:
    return save(folder, frame.to_csv())


@refused(r"has the step '15min', the current version of my has '1h'", step="15min")
def wrong_step(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame, folder / "my.csv")


@refused(r"1797 rows are missing in gaps, more than the 600", step="15min", name="other")
def wrong_step_under_a_new_name(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame, folder / "my.csv")


@refused(r"is not a whole number of steps \(2h\) after", step="2h", name="other")
def too_coarse_a_step(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame, folder / "my.csv")


@refused(r"step 'monthly' is no fixed time", step="monthly")
def no_step(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame, folder / "my.csv")


@refused(r"step '200000D' is longer than ten years.*3650D or less", step="200000D")
def centuries_for_a_step(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame, folder / "my.csv")


@refused(r"step '9{19}h' is no fixed time", step=f"{'9' * 19}h")
def a_step_that_no_number_holds(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame, folder / "my.csv")


@refused(r"no fixed step: the most common are")
def random_times(folder: Path, frame: pd.DataFrame) -> Path:
    apart = np.random.default_rng(0).integers(1, 10_000, ROWS).cumsum()
    return write(
        frame.assign(date=frame["date"][0] + pd.to_timedelta(apart, "s")), folder / "my.csv"
    )


@refused(r"my\.csv, column 'date', line 42: '2024-13-45' is not a timestamp")
def unreadable_date(folder: Path, frame: pd.DataFrame) -> Path:
    return write(
        frame.assign(date=_with(frame["date"].astype(str), 40, "2024-13-45")), folder / "my.csv"
    )


@refused(r"line 42: '' is not a timestamp|line 42: 'nan' is not a timestamp")
def absent_date(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame.assign(date=_with(frame["date"].astype(str), 40, None)), folder / "my.csv")


@refused(r"rows are missing in gaps, more than the 600")
def a_date_in_the_far_future(folder: Path, frame: pd.DataFrame) -> Path:
    return write(
        frame.assign(date=_with(frame["date"].astype(str), ROWS - 1, "2204-01-25 23:00:00")),
        folder / "my.csv",
    )


@refused(r"2840112 rows are missing in gaps, more than the 600")
def a_date_in_the_far_past(folder: Path, frame: pd.DataFrame) -> Path:
    first = _with(frame["date"].astype(str), 0, "1700-01-01 00:00:00")
    return write(frame.assign(date=first), folder / "my.csv")


@refused(r"line 601: '9999-12-31 00:00:00' is not a timestamp.*between the years 1678 and 2261")
def a_date_beyond_the_calendar(folder: Path, frame: pd.DataFrame) -> Path:
    return write(
        frame.assign(date=_with(frame["date"].astype(str), ROWS - 1, "9999-12-31 00:00:00")),
        folder / "my.csv",
    )


@refused(r"may be day/month or month/day")
def day_or_month(folder: Path, _frame: pd.DataFrame) -> Path:
    stamps = pd.date_range("2024-01-01", periods=12, freq="1D").strftime("%d/%m/%Y")
    return write(pd.DataFrame({"date": stamps, "load": np.arange(12.0)}), folder / "my.csv")


@refused(r"no column of timestamps")
def no_time_column(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame.drop(columns="date"), folder / "my.csv")


@refused(r"several columns of timestamps: begin, end")
def two_time_columns(folder: Path, frame: pd.DataFrame) -> Path:
    later = frame["date"] + pd.Timedelta("1h")
    return write(frame.rename(columns={"date": "begin"}).assign(end=later), folder / "my.csv")


@refused(r"has no column 'when'; it has date, load", time_column="when")
def another_time_column(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame, folder / "my.csv")


@refused(r"no numeric column|one column only")
def only_times(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame[["date"]], folder / "my.csv")


@refused(r"is a folder")
def a_folder(folder: Path, _frame: pd.DataFrame) -> Path:
    (folder / "my.csv").mkdir()
    return folder / "my.csv"


@refused(r"nowhere\.csv does not exist")
def a_missing_file(folder: Path, _frame: pd.DataFrame) -> Path:
    return folder / "nowhere.csv"


@refused(r"my\.xlsx ends with '\.xlsx'")
def a_spreadsheet(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame, folder / "my.xlsx")


@refused(r"not a whole Parquet file")
def half_a_parquet(folder: Path, frame: pd.DataFrame) -> Path:
    frame.to_parquet(folder / "my.parquet")
    path = folder / "my.parquet"
    path.write_bytes(path.read_bytes()[:-500])
    return path


@refused(r"not CSV but Parquet")
def parquet_called_csv(folder: Path, frame: pd.DataFrame) -> Path:
    frame.to_parquet(folder / "my.csv")
    return folder / "my.csv"


@refused(r"no column of timestamps")
def parquet_without_times(folder: Path, frame: pd.DataFrame) -> Path:
    frame.drop(columns="date").to_parquet(folder / "my.parquet")
    return folder / "my.parquet"


@refused(r"row 6, column 'load': 'x' is not a number")
def parquet_with_text(folder: Path, frame: pd.DataFrame) -> Path:
    load = _with(frame["load"].astype(str), 5, "x")
    frame.assign(load=load).to_parquet(folder / "my.parquet")
    return folder / "my.parquet"


@refused(r"line 3, column 'wind': at 2024-01-25 23:00:00 it has 77\.0, the current", append=True)
def conflicting_append(folder: Path, _frame: pd.DataFrame) -> Path:
    longer = good_frame(ROWS + 24)
    longer.loc[ROWS - 1, "wind"] = 77.0
    return write(longer.iloc[ROWS - 2 :], folder / "new.csv")


@refused(r"other columns than my: missing oil, unknown gas", append=True)
def append_with_other_columns(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame.rename(columns={"oil": "gas"}), folder / "new.csv")


@refused(r"new\.csv, line \d+: time goes back", append=True)
def append_out_of_order(folder: Path, _frame: pd.DataFrame) -> Path:
    return write(good_frame(ROWS + 24).iloc[::-1], folder / "new.csv")


@refused(r"do not both name a time zone", append=True)
def append_with_a_zone(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame.assign(date=frame["date"].dt.tz_localize("UTC")), folder / "new.csv")


@refused(r"oil, my-merged\.csv, line 602 \(my\.csv, line 6\): inf; 1 infinite", append=True)
def an_infinite_value_to_append(folder: Path, _frame: pd.DataFrame) -> Path:
    new = good_frame(ROWS + 2).tail(5)
    rows = lines(new.assign(oil=_with(new["oil"], ROWS, "inf")))
    return save(folder, "".join([rows[0], "\n", *rows[1:]]))


@refused(r"rows are missing in gaps", append=True)
def append_years_later(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame.assign(date=frame["date"] + pd.Timedelta("900D")), folder / "new.csv")


@refused(r"neither a known data set nor a file that exists.*ETTh1")
def an_unknown_name(_folder: Path, _frame: pd.DataFrame) -> Path:
    return Path("ETTh9")


def _with(column: pd.Series, row: int, value: object) -> pd.Series:
    changed = column.astype(object)
    changed[row] = value
    return changed


@pytest.mark.parametrize(
    ("make", "message", "options"), REFUSED, ids=[r[0].__name__ for r in REFUSED]
)
def test_refused_and_nothing_changed(  # type: ignore[no-untyped-def]
    make, message, options, served: Project, small: Params, frame, tmp_path: Path
) -> None:
    """Each names file and place, ends as the user's input, and leaves the version in service."""
    before = snapshot(served.data), (served.root / "data.dvc").read_bytes()
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    source = make(inbox, frame)

    with pytest.raises(InputError, match="(?s)" + message) as refusal:
        ingest(served, small, str(source), **options)

    assert refusal.value.exit_code == 2
    assert (snapshot(served.data), (served.root / "data.dvc").read_bytes()) == before
    if source.is_file():
        (cell,) = served.quarantine.iterdir()
        report = json.loads((cell / "report.json").read_text())
        assert report["fit"] is False
        assert any(finding["severity"] == "error" for finding in report["findings"])
        assert len(list(cell.iterdir())) == 2  # the file, and why
    else:
        assert not served.quarantine.exists()


def test_there_are_enough() -> None:
    """The list must not shrink unseen."""
    assert len(REFUSED) >= 40


def _gap(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame.drop(index=range(100, 109)), folder / "my.csv")


def _repeated_row(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame.iloc[[*range(51), *range(50, ROWS)]], folder / "my.csv")


def _sentinel(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame.assign(load=_with(frame["load"], 20, -9999)), folder / "my.csv")


def _latin1(folder: Path, frame: pd.DataFrame) -> Path:
    return save(folder, text(frame.rename(columns={"oil": "oil (°C)"})).encode("latin-1"))


def _no_last_line_break(folder: Path, frame: pd.DataFrame) -> Path:
    return save(folder, text(frame).rstrip("\n"))


def _spike(folder: Path, frame: pd.DataFrame) -> Path:
    return write(frame.assign(load=_with(frame["load"], 20, 5000.0)), folder / "my.csv")


def _stuck_for_a_while(folder: Path, _frame: pd.DataFrame) -> Path:
    longer = good_frame(2000)
    longer.loc[300:499, "load"] = 7.0
    return write(longer, folder / "my.csv")


REPORTED = [
    (_gap, "gaps", r"line 102: 9 rows are missing between 2024-01-05 03:00:00 and 2024-01-05 13"),
    (_repeated_row, "duplicates", r"line 53: the row repeats 2024-01-03 02:00:00"),
    (_sentinel, "sentinels", r"load: 1 cells hold -9999.*first at my\.csv, line 22"),
    (_latin1, "encoding", r"my\.csv, line 1: byte 0xb0 is not UTF-8"),
    (_no_last_line_break, "last line", r"does not end with a line break"),
    (_spike, "range", r"load, my\.csv, line 22: 5000; 0\.17% .* learned range"),
    (_stuck_for_a_while, "stuck", r"load, my\.csv, line 302: 7 and the same for 200 steps"),
]


@pytest.mark.parametrize(("make", "check", "message"), REPORTED, ids=[r[1] for r in REPORTED])
def test_reported_and_taken(  # type: ignore[no-untyped-def]
    make, check, message, project: Project, small: Params, frame, tmp_path: Path
) -> None:
    """Real dirt passes as a finding with a stated policy, not as a crash, and not in silence."""
    done = ingest(project, small, str(make(tmp_path, frame)))
    assert done.changed
    (finding,) = done.findings
    assert (finding.check, finding.severity) == (check, "warning")
    assert re.search(message, finding.message)
    assert finding.cure
    assert not project.quarantine.exists()
