"""A source that fell silent is told from one that has no news."""

from __future__ import annotations

import pandas as pd
import pytest

from s2tx.data.age import require_recent
from s2tx.errors import InputError

NEWEST = pd.Timestamp("2024-01-31 22:00")


def test_the_bound_is_the_last_age_allowed() -> None:
    """And the words name the row, its age and the setting, for who is woken by them."""
    at_bound = NEWEST + pd.Timedelta(hours=48)
    told = "the newest row is of 2024-01-31 22:00:00, 48 hours ago"
    assert require_recent(NEWEST, 48, at_bound) == told
    with pytest.raises(InputError, match=f"{told}, and ingest.max_age_hours is 47.5"):
        require_recent(NEWEST, 47.5, at_bound)


def test_without_a_bound_any_age_passes() -> None:
    """The benchmark tables end years ago; and the clock read is that of UTC."""
    require_recent(NEWEST, None)
    now = pd.Timestamp.now("UTC").tz_localize(None)
    require_recent(now - pd.Timedelta(minutes=50), 1)
    with pytest.raises(InputError):
        require_recent(now - pd.Timedelta(minutes=70), 1)
