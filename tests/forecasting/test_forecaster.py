"""Frames in, frames out: the right times, refusals that name the cell, the same bytes twice."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from s2tx.data.read import CARD_FILE
from s2tx.errors import InputError, S2TXError
from s2tx.fingerprint import of_file
from s2tx.forecasting import SERVE
from s2tx.forecasting.forecaster import Forecast, Forecaster, _read, forecast
from s2tx.params import Params
from s2tx.paths import Project, write_text
from s2tx.registry.package import register
from s2tx.registry.promote import promote
from tests.tiny import CPU, put_on_disk, tiny_bundle, tiny_table


@pytest.fixture(scope="module")
def forecaster(tiny: Params) -> Forecaster:
    return Forecaster(tiny_bundle(tiny_table(), tiny))


@pytest.fixture
def frame() -> pd.DataFrame:
    return tiny_table().frame()


@pytest.fixture
def in_service(project: Project, tiny: Params) -> Project:
    register(project, tiny, SERVE)
    assert promote(project, tiny).promoted
    return project


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_time_goes_on_where_it_stopped(forecaster: Forecaster, zone: str | None) -> None:
    """A forecast for the wrong hours is worse than none; the zone must survive too."""
    frame = tiny_table(zone=zone).frame()
    ahead = forecaster.predict(frame)
    assert list(ahead.columns) == ["when", "load", "oil (C)"]
    steps = ahead["when"].diff().iloc[1:]
    assert ahead["when"].iloc[0] == frame["when"].iloc[-1] + pd.Timedelta("1h")
    assert (steps == pd.Timedelta("1h")).all()
    assert len(ahead) == 6
    assert ahead["when"].dtype == frame["when"].dtype
    assert ahead[["load", "oil (C)"]].dtypes.eq(np.float64).all()


def test_it_is_the_bundle_s_own_forecast(forecaster: Forecaster, frame: pd.DataFrame) -> None:
    """Columns mixed up on the way would still look like a forecast."""
    values = forecaster.bundle.forecast(tiny_table().values)
    mixed = frame[["oil (C)", "load", "when"]].assign(note="not read")
    for rows in (frame, mixed, frame.tail(48), frame.tail(48).reset_index(drop=True)):
        ahead = forecaster.predict(rows)
        assert (ahead[["load", "oil (C)"]].to_numpy() == values).all()


def test_text_and_integers_from_csv_or_json_are_read(
    forecaster: Forecaster, frame: pd.DataFrame
) -> None:
    """What arrives over HTTP or from a file has strings for timestamps, and whole numbers."""
    whole = frame.assign(load=frame["load"].fillna(10).round().astype(int))
    text = whole.astype({"when": str, "oil (C)": str})
    pd.testing.assert_frame_equal(forecaster.predict(text), forecaster.predict(whole))


def test_the_past_before_the_look_back_changes_nothing(
    forecaster: Forecaster, frame: pd.DataFrame
) -> None:
    """Old dirt must not stop tonight's forecast, nor colour it."""
    old = frame.copy()
    old.loc[: len(old) - 49, ["load", "oil (C)"]] = 1e9
    old.loc[0, "when"] = pd.NaT
    pd.testing.assert_frame_equal(forecaster.predict(old), forecaster.predict(frame))


def _drop(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns="oil (C)")


def _far_ahead(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(when=frame["when"].dt.as_unit("s") + pd.DateOffset(years=7000))


def _cell(column: str, value: object) -> object:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        changed = frame.astype({column: object})
        changed.loc[590, column] = value
        return changed

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop, r"'oil \(C\)' is missing"),
        (lambda f: f.drop(columns="when"), "'when' is missing"),
        (lambda f: pd.concat([f, f[["load"]]], axis=1), "'load' is there more than once"),
        (lambda f: f.tail(47), "48 rows, and there are 47"),
        (lambda f: f.head(0), "there are 0"),
        (_cell("load", "twelve"), "'load', row 591: 'twelve'"),
        (_cell("oil (C)", float("inf")), r"'oil \(C\)', row 591: inf"),
        (_cell("load", True), "'load', row 591: True is no number"),
        (lambda f: f.assign(load=f["load"] > 10), "'load', row 553: .*(True|False)"),
        (
            lambda f: f.astype({"load": "Float64"}).assign(load=pd.array([None, True] * 300)),
            "'load'",
        ),
        (_cell("load", -1e30), r"'load', row 591: -1e\+30 is beyond 1e\+15"),
        (_cell("when", "soon"), "'when', row 591: 'soon'"),
        (_cell("when", pd.NaT), "'when', row 591"),
        (_far_ahead, "'when', row 553: .*9024.* 1678 and 2261"),
        (lambda f: _far_ahead(f).astype({"when": str}), "'when', row 553: .*9024"),
        (lambda f: f.drop(index=580), r"row 581 is 0 days 02:00:00 after .* 1h"),
        (lambda f: f.iloc[::-1], "after the row before it"),
        (lambda f: pd.concat([f, f.tail(1)]), "0 days 00:00:00 after"),
        (lambda f: f.assign(when=range(len(f))), "no timestamp"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    forecaster: Forecaster, frame: pd.DataFrame, damage: object, message: str
) -> None:
    """Each refusal names the column and the row, counted as a person counts."""
    with pytest.raises(InputError, match=message):
        forecaster.predict(damage(frame))  # type: ignore[operator]


def test_rows_that_were_trained_on_by_position_are_read_so(
    tiny: Params, frame: pd.DataFrame
) -> None:
    """The hour that autumn repeats must not end the forecasts of four weeks, once validate let it
    pass; what goes back in time is no order of rows at all."""
    table = tiny_table()
    card = dataclasses.replace(table.card, irregular="positional")
    bundle = tiny_bundle(dataclasses.replace(table, card=card), tiny)
    forecaster = Forecaster(bundle)
    repeated = frame.assign(when=frame["when"].where(frame.index != 580, frame["when"].shift()))
    for rows in (repeated, frame.drop(index=580)):
        ahead = forecaster.predict(rows)
        assert ahead["when"].iloc[0] == frame["when"].iloc[-1] + pd.Timedelta("1h")
        assert ahead.notna().all(axis=None)
    with pytest.raises(InputError, match="-1 days"):
        forecaster.predict(frame.iloc[::-1])


def test_a_forecast_that_is_not_finite_is_thrown_away(tiny: Params, frame: pd.DataFrame) -> None:
    """NaN in a forecast file would be read downstream as zero, or worse."""
    broken = Forecaster(tiny_bundle(tiny_table(), tiny, shift=float("nan")))
    with pytest.raises(S2TXError, match="not finite"):
        broken.predict(frame)


def test_a_variate_that_is_wholly_missing_still_gets_a_forecast(
    forecaster: Forecaster, frame: pd.DataFrame
) -> None:
    """A dead sensor must not stop the others' forecast."""
    assert forecaster.predict(frame.assign(load=np.nan)).notna().all().all()


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_whatever_is_missing_the_forecast_is_whole_or_refused(
    forecaster: Forecaster, data: st.DataObject
) -> None:
    """Protects from NaN in service: any gaps give a finite forecast, and only rows without any
    reading give none."""
    frame = tiny_table().frame().tail(48).reset_index(drop=True)
    for column in ("load", "oil (C)"):
        newest = data.draw(st.integers(0, 48), label=f"newest steps of {column} gone")
        gone = data.draw(arrays(bool, 48), label=f"of {column} gone")
        gone[48 - newest :] = True
        frame.loc[gone, column] = np.nan
    if frame[["load", "oil (C)"]].isna().all(axis=None):
        with pytest.raises(InputError, match="no variate of tiny has a reading in the 48 rows"):
            forecaster.predict(frame)
    else:
        assert np.isfinite(forecaster.predict(frame)[["load", "oil (C)"]].to_numpy()).all()


def test_rows_without_any_reading_are_refused(
    in_service: Project, tiny: Params, frame: pd.DataFrame, tmp_path: Path
) -> None:
    """A forecast from nothing would look like any other; it is exit code 2, and no file."""
    rows = tmp_path / "rows.csv"
    frame.loc[len(frame) - 48 :, ["load", "oil (C)"]] = np.nan
    frame.to_csv(rows, index=False)
    with pytest.raises(InputError, match=r"2024-01-24 00:00:00 to 2024-01-25 23:00:00.* --input"):
        forecast(in_service, tiny, input=rows)
    assert not in_service.forecasts.exists()
    frame.loc[len(frame) - 48, "load"] = 10.0
    assert np.isfinite(Forecaster.load(in_service.model, CPU).predict(frame)["oil (C)"]).all()


def test_beside_the_forecast_stands_what_it_was_made_of(
    in_service: Project, tiny: Params, frame: pd.DataFrame, tmp_path: Path
) -> None:
    """Who uses the forecast must see that a variate was never read, and how much of the others."""
    rows, ahead = tmp_path / "rows.csv", tmp_path / "ahead.csv"
    frame.loc[len(frame) - 12 :, "load"] = np.nan  # of 48; one of them is missing already
    frame.assign(**{"oil (C)": np.nan}).to_csv(rows, index=False)
    made = forecast(in_service, tiny, output=ahead, input=rows)
    assert made.about == tmp_path / "ahead.csv.json"
    assert json.loads(made.about.read_text()) == {
        "model": "s2tx-tiny-h6",
        "version": 1,
        "sha256": hashlib.sha256(ahead.read_bytes()).hexdigest(),
        "newest": "2024-01-25 23:00:00",
        "newest_reading": "2024-01-25 11:00:00",
        "horizon": 6,
        "missing": {"load": 0.25, "oil (C)": 1.0},
        "unseen": ["oil (C)"],
    }
    assert pd.read_csv(ahead).notna().all(axis=None)
    assert made.warning == (
        "missing in the look-back: 25.0% of load; "
        "no reading, so forecast from the train mean: oil (C)"
    )


def test_the_warning_is_a_line(in_service: Project, tiny: Params) -> None:
    """With hundreds of sensors it must not fill the screen; without a gap there is none."""
    made = forecast(in_service, tiny)
    assert dataclasses.replace(made, missing={"load": 0.0, "oil (C)": 0.0}).warning is None
    many = {f"v{number}": 0.5 for number in range(321)}
    warning = dataclasses.replace(made, missing=many).warning
    assert warning is not None
    assert warning.endswith("50.0% of v7 and 313 more")


def test_a_forecast_and_what_stands_beside_it_come_together(
    in_service: Project, tiny: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk must not leave a forecast without its flags, nor flags without a forecast."""

    def full(_: Forecast) -> str:
        raise OSError("no space left")

    monkeypatch.setattr(Forecast, "as_json", full)
    with pytest.raises(S2TXError, match=r"cannot be written \(no space left\)\. .*--output"):
        forecast(in_service, tiny)
    assert list(in_service.forecasts.iterdir()) == []


def test_a_forecast_takes_the_place_of_nothing_that_it_is_made_from(
    in_service: Project, tiny: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the user's rows, and the version of the table, from a slip in --output."""
    rows = tmp_path / "rows.csv"
    tiny_table().frame().to_csv(rows, index=False)
    monkeypatch.chdir(tmp_path)
    before = rows.read_bytes()
    for arguments, why in (
        ({"output": Path("rows.csv"), "input": rows}, "holds the rows to forecast from"),
        ({"output": in_service.data / "tiny.csv"}, "lies in .*, which is the pipeline's own"),
        ({"output": in_service.table}, "lies in .*, which is the pipeline's own"),
        ({"output": tmp_path / f"{'a' * 300}.csv"}, "cannot be written"),
    ):
        with pytest.raises(InputError, match=why):
            forecast(in_service, tiny, **arguments)
    assert rows.read_bytes() == before
    long = rows.rename(tmp_path / f"{'a' * 220}.csv")  # fits, but not with what is added to it
    with pytest.raises(S2TXError, match=r"cannot be written .*--output"):
        forecast(in_service, tiny, input=long)


def test_a_sentinel_is_a_missing_reading_in_service_too(tiny: Params, frame: pd.DataFrame) -> None:
    """A logger's -9999 taken for a load would be the forecast's largest input by far."""
    bundle = dataclasses.replace(tiny_bundle(tiny_table(), tiny), sentinels=(-9999.0,))
    coded, gone = frame.copy(), frame.copy()
    coded.loc[coded.index[-3:], "load"] = -9999.0
    gone.loc[gone.index[-3:], "load"] = np.nan
    forecaster = Forecaster(bundle)
    pd.testing.assert_frame_equal(forecaster.predict(coded), forecaster.predict(gone))


def test_the_same_champion_and_data_give_the_same_bytes(in_service: Project, tiny: Params) -> None:
    """A repeated night must not make a second, different forecast of the same hours."""
    first = forecast(in_service, tiny)
    content = first.path.read_bytes(), first.about.read_bytes()
    again = forecast(in_service, tiny)
    assert again == first
    assert (again.path.read_bytes(), again.about.read_bytes()) == content
    assert set(in_service.forecasts.iterdir()) == {first.path, first.about}
    assert first.about.name == f"{first.path.name}.json"
    assert first.path.name == "s2tx-tiny-h6-20240125T230000.csv"
    assert (first.rows, first.version) == (6, 1)
    assert (first.first, first.last) == ("2024-01-26 00:00:00", "2024-01-26 05:00:00")
    assert first.missing == {"load": 1 / 48, "oil (C)": 0.0}


def test_it_is_the_champion_that_forecasts(in_service: Project, tiny: Params) -> None:
    """Not the newest model on disk: that one may have been refused by the gate."""
    put_on_disk(in_service, tiny_bundle(tiny_table(), tiny, shift=5.0))
    made = forecast(in_service, tiny)
    here = Forecaster(tiny_bundle(tiny_table(), tiny)).predict(tiny_table().frame())
    written = pd.read_csv(made.path, parse_dates=["when"])
    np.testing.assert_array_equal(written["load"], here["load"])


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_other_rows_and_another_place(
    in_service: Project, tiny: Params, tmp_path: Path, kind: str
) -> None:
    """`--input` and `--output` in both formats; what comes back is what was forecast."""
    rows, ahead = tmp_path / f"rows.{kind}", tmp_path / "new" / f"ahead.{kind}"
    frame = tiny_table(300).frame()
    getattr(frame, f"to_{kind}")(rows, index=False)
    made = forecast(in_service, tiny, output=ahead, input=rows)
    assert made.path == ahead
    read = pd.read_csv(ahead, parse_dates=["when"]) if kind == "csv" else pd.read_parquet(ahead)
    here = Forecaster.load(in_service.model, CPU).predict(frame)
    pd.testing.assert_frame_equal(read, here, check_dtype=False)


def test_other_rows_need_no_valid_table(
    in_service: Project, tiny: Params, frame: pd.DataFrame, tmp_path: Path
) -> None:
    """Protects the forecast from rows that a person vouches for, when validate refused the data.

    And the night's own, which readers may rely on: that of the table lies beside it, unchanged.
    """
    rows = tmp_path / "rows.csv"
    frame.to_csv(rows, index=False)
    of_table = forecast(in_service, tiny)
    made = forecast(in_service, tiny, input=rows)
    assert made.path.name == f"{of_table.path.stem}-rows.csv"
    assert of_file(of_table.path) == of_table.sha256
    in_service.table.unlink()
    write_text(in_service.data / CARD_FILE, tiny_table().card.to_json())
    assert forecast(in_service, tiny, input=rows) == made
    with pytest.raises(InputError, match="dvc repro validate"):
        forecast(in_service, tiny)


def test_a_file_is_read_as_ingest_reads_it(
    in_service: Project, tiny: Params, frame: pd.DataFrame, tmp_path: Path
) -> None:
    """Protects from a second reader: what ingest takes is taken, what it refuses has its line."""
    rows = tmp_path / "rows.csv"
    text = frame.to_csv(index=False)
    rows.write_text(text)
    made = forecast(in_service, tiny, input=rows)
    frame.assign(when=frame["when"].dt.strftime("%d.%m.%Y %H:%M")).to_csv(rows, index=False)
    assert forecast(in_service, tiny, input=rows) == made
    for broken, message in (
        (text.replace("when,load", "load,load"), "columns of the same name: load"),
        (
            text.replace("when,", "then,"),
            r"no column 'when'.*Give the columns when, load, oil \(C\)",
        ),
        (frame.assign(load=True).to_csv(index=False), "'load' holds bool"),
        (text.rpartition(",")[0], r"rows\.csv, line 601"),
        (text.rpartition(",")[0] + ",1e30", r"rows\.csv, line 601, column 'oil \(C\)': 1e\+30 is"),
    ):
        rows.write_text(broken)
        with pytest.raises(InputError, match=message):
            forecast(in_service, tiny, input=rows)


def test_the_gaps_of_a_file_are_settled_as_ingest_settles_them(
    in_service: Project, tiny: Params, frame: pd.DataFrame, tmp_path: Path
) -> None:
    """Protects the forecast of a file that the night would take: rows that are absent or repeated
    there are missing, or once, in the validated table."""
    rows, gap = tmp_path / "rows.csv", [597, 590]
    frame.loc[gap, ["load", "oil (C)"]] = np.nan
    frame.to_csv(rows, index=False)
    empty = forecast(in_service, tiny, input=rows)
    assert empty.missing["oil (C)"] > 0
    torn = frame.drop(index=gap)
    pd.concat([torn, torn.tail(1)]).to_csv(rows, index=False)
    assert forecast(in_service, tiny, input=rows) == empty
    pd.concat([torn, torn.tail(1).assign(load=1.0)]).to_csv(rows, index=False)
    with pytest.raises(InputError, match="after the row before it"):
        forecast(in_service, tiny, input=rows)


def test_a_sentinel_of_a_file_may_be_huge(
    tiny: Params, frame: pd.DataFrame, tmp_path: Path
) -> None:
    """Protects files with a code for no reading that the night takes out."""
    frame.loc[590, "load"] = 1e30
    frame.to_csv(tmp_path / "rows.csv", index=False)
    bundle = tiny_bundle(tiny_table(), tiny)
    with pytest.raises(InputError, match=r"rows\.csv, line 592, column 'load': 1e\+30 is beyond"):
        _read(tmp_path / "rows.csv", bundle)
    coded = dataclasses.replace(bundle, sentinels=(1e30,))
    assert len(_read(tmp_path / "rows.csv", coded)) == len(frame)


def test_rows_that_were_not_validated_yet_are_not_passed_over(
    in_service: Project, tiny: Params
) -> None:
    """Protects the morning after an ingest by hand: what a forecast or a gate would read is the
    table of before."""
    card = dataclasses.replace(tiny_table().card, sha256="f" * 64, file="newer.csv")
    write_text(in_service.data / CARD_FILE, card.to_json())
    for late in (
        lambda: forecast(in_service, tiny),
        lambda: promote(in_service, tiny),
        lambda: register(in_service, tiny, SERVE),
    ):
        with pytest.raises(InputError, match=r"is of tiny\.csv, and \S* ?\S*data holds newer\.csv"):
            late()
    write_text(in_service.data / CARD_FILE, tiny_table().card.to_json())
    assert forecast(in_service, tiny).rows == tiny.window.horizon


def test_files_that_cannot_be_are_refused(
    in_service: Project, tiny: Params, tmp_path: Path
) -> None:
    """A wrong path or kind must be said before anything is written."""
    (tmp_path / "bad.parquet").write_text("no parquet")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "taken.csv.json").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for arguments in (
        {"output": tmp_path / "x.xlsx"},
        {"output": tmp_path / "folder.csv"},
        {"output": tmp_path / "taken.csv"},
        {"output": tmp_path / "bad.parquet" / "x.csv"},
        {"input": tmp_path / "x.xlsx"},
        {"input": tmp_path / "absent.csv"},
        {"input": tmp_path / "folder.csv"},
        {"input": tmp_path / f"{'a' * 300}.csv"},
        {"input": tmp_path / "bad.parquet"},
    ):
        with pytest.raises(InputError):
            forecast(in_service, tiny, **arguments)
    assert sorted(tmp_path.rglob("*")) == before


def test_without_a_champion_there_is_a_cure(project: Project, tiny: Params) -> None:
    """`s2tx forecast` before the first promotion."""
    with pytest.raises(InputError, match="s2tx promote"):
        forecast(project, tiny)
