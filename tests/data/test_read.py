"""Protects reading: what is a healthy file in the wild must not be refused or read wrongly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s2tx.data.read import clean_name, read_raw
from s2tx.data.times import canonical_step
from s2tx.errors import InputError
from tests.data.conftest import good_frame, write


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.floats(allow_infinity=False, width=64) | st.none(), min_size=4, max_size=30))
def test_numbers_survive_the_round_trip(tmp_path: Path, cells: list[float | None]) -> None:
    """A parser that rounds the last digit would break hashes, appends and comparisons."""
    frame = pd.DataFrame({"date": pd.date_range("2024", periods=len(cells), freq="1h")})
    frame["a"] = np.array(cells, dtype=float)
    raw = read_raw(write(frame, tmp_path / "x.csv"), step="1h")
    np.testing.assert_array_equal(raw.frame["a"].to_numpy(), frame["a"].to_numpy())


def test_long_decimals_keep_their_last_digit(tmp_path: Path) -> None:
    """The quick parser is off by one unit in the last place in some of these."""
    random = np.random.default_rng(0)
    frame = good_frame().assign(load=random.normal(size=600) * 10.0 ** random.integers(-9, 9, 600))
    raw = read_raw(write(frame, tmp_path / "x.csv"))
    np.testing.assert_array_equal(raw.frame["load"].to_numpy(), frame["load"].to_numpy())


@pytest.mark.parametrize(
    ("form", "zone"),
    [
        ("%Y-%m-%d %H:%M:%S", None),
        ("%Y-%m-%dT%H:%M:%SZ", "UTC"),
        ("%Y-%m-%d %H:%M:%S+01:00", "UTC"),
        ("%Y-%m-%d %H:%M:%S+0100", "UTC"),
        ("%Y-%m-%d %H:%M:%S+01", "UTC"),
        ("%Y/%-m/%-d %-H:%M", None),
        ("%d.%m.%Y %H:%M", None),
        ("%d/%m/%Y %H:%M", None),
        ("%m/%d/%Y %H:%M:%S", None),
    ],
)
def test_time_formats(form: str, zone: str | None, tmp_path: Path) -> None:
    """Stamps as people write them; one zone becomes UTC, day and month are never swapped."""
    times = pd.date_range("2024-01-01", periods=600, freq="1h")
    frame = good_frame().assign(date=times.strftime(form))
    raw = read_raw(write(frame, tmp_path / "x.csv"))
    expected = times - pd.Timedelta("1h") if "+01" in form else times
    assert (raw.times.tz is not None) == (zone is not None)
    assert raw.times.dtype == (f"datetime64[ns, {zone}]" if zone else "datetime64[ns]")
    assert (raw.times.tz_localize(None) == expected).all()
    assert raw.card.step == "1h"


def test_parquet_and_csv_give_the_same(tmp_path: Path) -> None:
    """The same table in another format is the same table."""
    frame = good_frame()
    frame.to_parquet(tmp_path / "x.parquet")
    frame.set_index("date").to_parquet(tmp_path / "indexed.parquet")
    csv = read_raw(write(frame, tmp_path / "x.csv"))
    for name in ("x.parquet", "indexed.parquet"):
        parquet = read_raw(tmp_path / name)
        pd.testing.assert_frame_equal(csv.frame, parquet.frame)
        assert parquet.card.step == "1h"


def test_small_oddities_are_read(tmp_path: Path) -> None:
    """Windows line ends, a byte-order mark, quotes, blank lines, words for missing."""
    path = tmp_path / "x.csv"
    body = (
        'date,a\r\n\r\n2024-01-01 00:00,"1.5"\r\n2024-01-01 01:00,NaN\r\n2024-01-01 02:00,\r\n\r\n'
    )
    path.write_bytes(
        b"\xef\xbb\xbf" + body.encode() + b"2024-01-01 03:00,null\r\n2024-01-01 04:00, -3e2\r\n"
    )
    raw = read_raw(path)
    np.testing.assert_array_equal(raw.frame["a"], [1.5, np.nan, np.nan, np.nan, -300.0])
    assert raw.places == ("line 3", "line 4", "line 5", "line 7", "line 8")


def test_columns_named_by_numbers_and_a_later_time_column(tmp_path: Path) -> None:
    """Exchange names its columns 0 to 6; a time column need not come first."""
    frame = good_frame().rename(columns={"load": "0", "wind": "1"})[["0", "date", "1", "oil"]]
    raw = read_raw(write(frame, tmp_path / "x.csv"))
    assert raw.card.time_column == "date"
    assert raw.columns == ("0", "1", "oil")


def test_the_usual_name_wins(tmp_path: Path) -> None:
    """A second column of timestamps is text among numbers, and said to be so."""
    frame = good_frame().assign(entered="2024-05-05 10:00:00")
    with pytest.raises(InputError, match="column 'entered': '2024-05-05"):
        read_raw(write(frame, tmp_path / "x.csv"))


@pytest.mark.parametrize(
    ("step", "canonical"),
    [
        ("60min", "1h"),
        ("h", "1h"),
        ("24h", "1D"),
        ("D", "1D"),
        ("7D", "7D"),
        ("90s", "90s"),
        ("900s", "15min"),
    ],
)
def test_one_spelling_of_a_step(step: str, canonical: str) -> None:
    """Two spellings of one step would look like two schemas."""
    assert canonical_step(step) == canonical


@given(st.text(max_size=40))
def test_names_are_clean(name: str) -> None:
    """The name becomes a registered model, a folder and a file."""
    clean = clean_name(name)
    assert clean
    assert set(clean) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert not clean.startswith(".")
