"""A season is what comes back, and what seasonal-naive repeats."""

from __future__ import annotations

import pandas as pd
import pytest

from s2tx.data.season import season_of


@pytest.mark.parametrize(
    ("step", "season"),
    [("15min", 96), ("1h", 24), ("10min", 144), ("1D", 7), ("7D", 52), ("12h", 2)],
)
def test_season_that_a_step_suggests(step: str, season: int) -> None:
    """Protects seasonal-naive from a season that no one would choose."""
    assert season_of(pd.Timedelta(step)) == season
