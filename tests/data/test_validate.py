"""Protects the gate before training: each expectation fails for its own fault, and for no other."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from s2tx.data.catalog import find
from s2tx.data.read import CARD_FILE, Raw, read_raw
from s2tx.data.table import Table
from s2tx.data.validate import run_validate, validate
from s2tx.errors import InputError
from s2tx.params import Params
from s2tx.paths import Project
from tests.data.conftest import ROWS, good_frame, snapshot, write

Change = Callable[[pd.DataFrame], pd.DataFrame]


def raw_of(frame: pd.DataFrame, tmp_path: Path, **card: object) -> Raw:
    raw = read_raw(write(good_frame(), tmp_path / "my.csv"))
    places = tuple(f"line {line}" for line in range(2, len(frame) + 2))
    return Raw(dataclasses.replace(raw.card, **card), frame, places, ())  # type: ignore[arg-type]


def check(raw: Raw, small: Params, docs: Path | None = None, **rules: object):  # type: ignore[no-untyped-def]
    changed = dataclasses.replace(small.validate, **rules)  # type: ignore[arg-type]
    return validate(raw, changed, small.data, small.window, docs=docs)


def put(column: str, rows: object, value: object) -> Change:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[rows, column] = value  # type: ignore[call-overload, index]
        return frame

    return change


def off_grid(frame: pd.DataFrame) -> pd.DataFrame:
    frame.loc[50, "date"] += pd.Timedelta("7min")
    return frame


def swapped(frame: pd.DataFrame) -> pd.DataFrame:
    frame.loc[[50, 51], "date"] = frame.loc[[51, 50], "date"].to_numpy()
    return frame


def wakes_late(frame: pd.DataFrame) -> pd.DataFrame:
    """0.1 in all train rows, a few gaps apart: its mean is not 0.1, what rounding leaves would be
    its deviation, and the scores of its later course 1e27."""
    return put("load", range(0, 430, 100), np.nan)(put("load", slice(0, 430), 0.1)(frame))


BREAKS: list[tuple[str, set[str], Change, dict[str, object]]] = [
    ("columns", {"columns"}, lambda f: f[["date", "wind", "load", "oil"]], {}),
    ("timestamps", {"timestamps"}, put("date", 9, pd.NaT), {}),
    ("duplicates", {"duplicates"}, lambda f: f.iloc[[*range(9), *range(8, ROWS)]], {}),
    (
        "conflicts",  # a stamp that occurs twice with other values does occur twice
        {"conflicts", "duplicates"},
        lambda f: put("load", 9, 1.0)(f.iloc[[*range(9), *range(8, ROWS)]].reset_index(drop=True)),
        {},
    ),
    ("order", {"order", "gaps"}, swapped, {}),
    ("grid", {"grid", "gaps"}, off_grid, {}),
    ("gaps", {"gaps"}, lambda f: f.drop(index=range(50, 60)), {}),
    ("gap size", {"gaps", "gap size"}, put("date", ROWS - 1, pd.Timestamp("2034-01-01")), {}),
    ("windows", {"windows"}, lambda f: f.head(90), {}),
    ("types", {"types"}, lambda f: f.assign(load=(f["load"] * 1000).astype("int64")), {}),
    ("infinite", {"infinite"}, put("load", 9, np.inf), {}),
    ("huge", {"huge", "range"}, put("load", 9, -2e15), {}),
    ("missing", {"missing"}, put("load", range(0, ROWS, 3), np.nan), {}),
    ("constant", {"constant"}, put("load", slice(None), 5.0), {}),
    ("constant", {"constant"}, wakes_late, {}),
    ("constant", {"constant"}, put("load", slice(0, 430), np.nan), {"max_missing": 0.9}),
    ("stuck", {"stuck"}, put("load", slice(10, 30), 9.0), {"max_stuck_steps": 20}),
    ("stuck share", {"stuck", "stuck share"}, put("load", slice(10, 299), 9.0), {}),
    ("range", {"range"}, put("load", 9, 500.0), {}),
    ("range share", {"range", "range share"}, put("load", range(0, 99, 3), 500.0), {}),
]


@pytest.mark.parametrize(("name", "failing", "change", "rules"), BREAKS, ids=[b[0] for b in BREAKS])
def test_each_expectation_fails_alone(  # type: ignore[no-untyped-def]
    name, failing, change, rules, small: Params, tmp_path: Path
) -> None:
    """An expectation that never fails guards nothing; one that fails with others explains nothing.

    Where a fault implies another (a share outside the range means that some are outside), both do.
    """
    if name == "missing":
        rules = {"max_missing": 0.2}
    table, report = check(raw_of(change(good_frame()), tmp_path), small, **rules)
    failed = {e["check"] for e in report.expectations if not e["success"]}
    assert failed == failing
    assert name in {finding.check for finding in report.findings}
    severity = {e["check"]: e["severity"] for e in report.expectations}[name]
    assert severity == ("warning" if name in {"duplicates", "gaps", "stuck", "range"} else "error")
    assert (table is None) == (severity == "error") == (not report.fit)


def test_every_expectation_has_its_break(small: Params, tmp_path: Path) -> None:
    """A new expectation needs a test that breaks it."""
    table, report = check(raw_of(good_frame(), tmp_path), small)
    assert {e["check"] for e in report.expectations} == {b[0] for b in BREAKS}
    assert table is not None
    assert report.findings == ()


def test_insert_makes_gaps_missing_rows(small: Params, tmp_path: Path) -> None:
    """Rows after a gap must not slide to other hours."""
    frame = good_frame()
    raw = raw_of(frame.drop(index=range(50, 60)), tmp_path)
    table, report = check(raw, small)
    assert table is not None
    assert (report.rows_in, report.rows_out) == (ROWS - 10, ROWS)
    assert np.isnan(table.values[50:60]).all()
    np.testing.assert_array_equal(table.values[60:], frame.iloc[60:, 1:].to_numpy())
    assert (np.diff(table.times.asi8) == pd.Timedelta("1h").value).all()


def test_positional_keeps_rows(small: Params, tmp_path: Path) -> None:
    """The field's window counts hold only if no row comes or goes."""
    frame = good_frame().iloc[[*range(9), *range(8, 50), *range(60, ROWS)]]
    table, report = check(raw_of(frame, tmp_path, irregular="positional"), small)
    assert table is not None
    assert table.values.shape[0] == len(frame)
    assert {f.check for f in report.warnings} == {"duplicates", "gaps"}
    told, _ = check(raw_of(frame, tmp_path), small, irregular="positional")
    assert told is not None
    assert told.card.irregular == "positional"  # for service, which reads rows as training did


def test_refuse_refuses(small: Params, tmp_path: Path) -> None:
    """Some tables must be regular or nothing."""
    raw = raw_of(good_frame().drop(index=[50]), tmp_path)
    table, report = check(raw, small, irregular="refuse")
    assert table is None
    assert "1 rows are missing" in report.errors[0].message


def test_sentinels_are_not_trained_on(small: Params, tmp_path: Path) -> None:
    """-9999 as a temperature would wreck the scaler."""
    frame = good_frame()
    frame.loc[[20, 30], "oil"] = -9999.0
    table, report = check(raw_of(frame, tmp_path), small)
    assert table is not None
    assert np.isnan(table.values[[20, 30], 2]).all()
    assert np.isnan(table.values).sum() == 2
    assert report.findings[0].check == "sentinels"


def test_ranges_are_learned_on_train_rows_only(small: Params, tmp_path: Path) -> None:
    """A range that has seen the test rows would call their faults ordinary."""
    frame = good_frame()
    frame.loc[ROWS // 2 :, "load"] += 0.0
    _, before = check(raw_of(frame, tmp_path), small)
    frame.loc[int(0.7 * ROWS) :, "load"] *= 3
    _, after = check(raw_of(frame, tmp_path), small)
    for key in ("low", "high"):
        assert after.variates[0][key] == before.variates[0][key]


def test_rain_is_not_stuck(small: Params, tmp_path: Path) -> None:
    """A variate that rests at 0 for weeks, and whose quartiles are equal, is healthy."""
    random = np.random.default_rng(0)
    rain = np.where(random.random(ROWS) < 0.04, np.round(random.exponential(1, ROWS), 1), 0.0)
    rain[200:450] = 0.0
    table, report = check(raw_of(good_frame().assign(load=rain), tmp_path), small)
    assert table is not None
    assert [f.check for f in report.findings] == ["rest"]


def test_a_sensor_dead_at_zero_is_stuck(small: Params, tmp_path: Path) -> None:
    """One long run at the end of the range is a failure, not rest."""
    frame = put("load", slice(100, 400), 0.0)(good_frame())
    table, report = check(raw_of(frame, tmp_path), small)
    assert table is None
    assert [f.check for f in report.errors] == ["stuck share"]


def test_physical_ranges_go_before_learned_ones(small: Params, tmp_path: Path) -> None:
    """What physics knows is no matter of quartiles; a wrong name there must be told."""
    ranges = {"load": (0.0, 9.0), "nowhere": (0.0, 1.0)}
    table, report = check(raw_of(good_frame(), tmp_path), small, physical_ranges=ranges)
    assert table is None
    assert "physical range 0 to 9" in report.errors[0].message
    assert "nowhere" in report.warnings[-1].message


def test_the_report_is_deterministic(small: Params, tmp_path: Path) -> None:
    """A report with a clock in it would make every DVC run look new."""
    frame = put("load", 9, 500.0)(good_frame()).drop(index=[50])
    raw = raw_of(frame, tmp_path)
    first, second = (check(raw, small)[1].to_json() for _ in range(2))
    assert first == second
    assert json.loads(first)["fit"] is True


@pytest.fixture
def with_data(project: Project, small: Params, frame: pd.DataFrame, tmp_path: Path) -> Project:
    from s2tx.data.ingest import ingest

    ingest(project, small, str(write(frame, tmp_path / "my.csv")))
    return project


def test_the_stage_writes_table_report_and_pages(with_data: Project, small: Params) -> None:
    """These are DVC outputs: one that is absent fails the DAG."""
    report = run_validate(with_data, small)
    assert report.fit
    table = Table.read(with_data.table)
    np.testing.assert_array_equal(table.values, good_frame().iloc[:, 1:].to_numpy())
    assert json.loads(with_data.validation.read_text())["rows_out"] == ROWS
    assert (with_data.data_docs / "index.html").is_file()
    first = snapshot(with_data.artifacts)
    run_validate(with_data, small)
    second = snapshot(with_data.artifacts)
    changed = {name for name in first if first[name] != second.get(name)}
    assert all("docs" in name for name in changed)  # its pages carry the hour
    assert first.keys() == second.keys()


def test_an_unfit_table_stops_the_stage(with_data: Project, small: Params) -> None:
    """The report must be there to read, and no older table to train on by mistake."""
    run_validate(with_data, small)
    rules = dataclasses.replace(small.validate, physical_ranges={"load": (0.0, 1.0)})
    with pytest.raises(InputError, match=r"not fit to train on: load, .*physical range 0 to 1"):
        run_validate(with_data, dataclasses.replace(small, validate=rules))
    assert json.loads(with_data.validation.read_text())["fit"] is False
    assert not with_data.table.exists()


def test_the_stage_checks_the_file_against_its_card(with_data: Project, small: Params) -> None:
    """A table that was altered by hand is not the version that data.dvc names."""
    card = json.loads((with_data.data / CARD_FILE).read_text())
    with (with_data.data / card["file"]).open("a") as stream:
        stream.write("2024-01-26 00:00:00,1,1,1\n")
    with pytest.raises(InputError, match=r"sha256 .* its card declares .*dvc checkout data\.dvc"):
        run_validate(with_data, small)
    (with_data.data / card["file"]).unlink()
    with pytest.raises(InputError, match=r"does not exist.*dvc checkout"):
        run_validate(with_data, small)
    (with_data.data / CARD_FILE).write_text("{}")
    with pytest.raises(InputError, match=r"no card of a data set"):
        run_validate(with_data, small)


def test_weather_s_dirt_is_listed(params: Params, benchmark_data: Path) -> None:
    """Real dirt: a repeated stamp, a gap of 100 minutes, 81 cells of -9999, broken names."""
    entry = find("Weather")
    raw = read_raw(benchmark_data / entry.file, entry=entry)
    table, report = validate(raw, params.validate, params.data, params.window)
    assert table is not None
    assert np.isnan(table.values).sum() == 81
    checks = [finding.check for finding in report.findings]
    assert checks.count("sentinels") == 3
    assert {"duplicates", "gaps", "encoding", "rest"} <= set(checks)
    messages = " ".join(finding.message for finding in report.findings)
    assert "2020-05-12 06:00:00" in messages
    assert "9 rows are missing between 2020-05-29 09:30:00 and 2020-05-29 11:10:00" in messages


@pytest.mark.parametrize("name", ["ETTh1", "ETTh2", "ETTm1", "Exchange", "Illness"])
def test_the_benchmark_sets_are_fit(name: str, params: Params, benchmark_data: Path) -> None:
    """The rules must not refuse what the whole field trains on."""
    entry = find(name)
    window = dataclasses.replace(params.window, look_back=104, short_look_back=52, horizon=24)
    raw = read_raw(benchmark_data / entry.file, entry=entry)
    table, report = validate(raw, params.validate, params.data, window)
    assert table is not None, report.errors
    assert len(table.values) == entry.rows
