"""Stamps mean one instant each, whatever the clock on the wall did."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2tx.data.times import parse
from s2tx.errors import InputError

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata")


@given(zone=st.sampled_from(ZONES), day=st.integers(0, 364))
def test_offsets_may_change_as_clocks_do(zone: str, day: int) -> None:
    """Protects a source that writes local time with its offset from being refused at the first
    change of the clocks."""
    start = pd.Timestamp("2024-01-01", tz="UTC") + pd.Timedelta(days=day)
    hours = pd.date_range(start, periods=72, freq="1h")
    texts = pd.Series([stamp.isoformat(sep=" ") for stamp in hours.tz_convert(zone)])
    read = parse(texts, "a.csv, column 'date'", [f"line {at}" for at in range(2, 74)])
    assert read.equals(hours.as_unit("ns"))


@pytest.mark.parametrize("zone", ["Z", "+01", "+01:00", "+0100"])
def test_a_zone_is_every_stamps_or_none(zone: str) -> None:
    """Protects from an hour that nobody knows: without a zone it is another's in every place."""
    texts = pd.Series(["2024-01-01 00:00:00", "2024-01-01 01:00:00", f"2024-01-01 02:00:00{zone}"])
    with pytest.raises(InputError, match=r"with a time zone and without: .* at 1, .* at 3"):
        parse(texts, "a.csv", ["1", "2", "3"])
