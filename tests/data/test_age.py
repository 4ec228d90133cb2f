"""A source that fell silent is told from one that has no news."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from s2tx.data.age import newest_reading, require_recent
from s2tx.errors import InputError

NEWEST = pd.Timestamp("2024-01-31 22:00")
HOUR = pd.Timedelta(hours=1)


def test_the_bound_is_the_last_age_allowed() -> None:
    """And the words name the reading, its age and the setting, for who is woken by them."""
    at_bound = NEWEST.tz_localize("UTC") + 48 * HOUR
    told = "the newest reading is of 2024-01-31 22:00:00, 48 hours ago"
    assert require_recent(NEWEST, 48, at_bound) == told
    with pytest.raises(InputError, match=f"{told}, and ingest.max_age_hours is 47.5"):
        require_recent(NEWEST, 47.5, at_bound)


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Paris"])
def test_the_clock_is_that_of_utc(zone: str | None) -> None:
    """A table's stamps are in UTC or without a zone, and both are compared with this moment."""
    now = pd.Timestamp.now("UTC")

    def stamp(age: pd.Timedelta) -> pd.Timestamp:
        return (now - age).tz_localize(None) if zone is None else (now - age).tz_convert(zone)

    assert "1 hours ago" in require_recent(stamp(0.9 * HOUR), 1, now)
    for age in (1.1 * HOUR, -1.1 * HOUR):  # what lies ahead hides a silence as long
        with pytest.raises(InputError, match=r"1 hours (ago|from now), and"):
            require_recent(stamp(age), 1)


def test_without_a_bound_any_age_passes() -> None:
    """The benchmark tables end years ago."""
    require_recent(NEWEST, None)
    require_recent(NEWEST.tz_localize("UTC"), None)


def test_rows_without_readings_are_no_news() -> None:
    """A gateway that stamps empty rows would look alive for as long as the look-back reaches."""
    times = pd.date_range("2024-01-01", periods=4, freq="h")
    values = np.array([[1.0, 2.0], [np.nan, 3.0], [np.nan, np.nan], [np.nan, np.nan]])
    assert newest_reading(times, values) == times[1]
    with pytest.raises(InputError, match="no variate has a reading"):
        newest_reading(times, np.full((4, 2), np.nan))
