"""Protects what is said of irregular times, and the regular table that is made of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from s2tx.data.regular import insert, look

DAY = pd.Timedelta("1D")
YEARS = pd.DatetimeIndex(["1700-01-01", "1700-01-02", "2100-01-01", "2100-01-01", "1750-01-01"])


def test_stamps_four_hundred_years_apart() -> None:
    """Protects from an overflow: nanoseconds in 64 bits count 292 years, and 584 are allowed."""
    facts = look(YEARS, np.zeros((5, 1)), DAY)
    assert [*facts.back, *facts.repeated, *facts.gaps] == [4, 3, 2]
    assert [*facts.absent] == [(YEARS[2].to_pydatetime() - YEARS[1].to_pydatetime()).days - 1]
    assert not len(facts.off_grid)
    assert not len(facts.conflicting)


def test_a_regular_table_of_four_hundred_years() -> None:
    """Protects long series: a row for each day, the published ones in their places."""
    times = pd.date_range("1700-01-01", "2100-01-01", freq=DAY, unit="ns")
    values = np.arange(len(times), dtype=np.float64)[:, None]
    kept = np.delete(np.arange(len(times)), [5, 100_000, 100_001])
    facts = look(times[kept], values[kept], DAY)
    assert [*facts.absent] == [1, 2]
    grid, regular, origin = insert(times[kept], values[kept], facts, DAY)
    pd.testing.assert_index_equal(grid, times)
    assert np.isnan(regular[[5, 100_000, 100_001]]).all()
    np.testing.assert_array_equal(regular[kept], values[kept])
    np.testing.assert_array_equal(origin[kept], np.arange(len(kept)))


@pytest.mark.parametrize("first", ["1969-12-30 22:10:07", "2024-01-01 00:00:00.000000100"])
def test_what_is_irregular_is_counted_from_the_first_row(first: str) -> None:
    """Protects steps that do not begin at midnight, to the nanosecond."""
    step = pd.Timedelta("7h")
    since = [0, 7, 7, 14, 20, 21, 42, 60, 49]
    times = pd.Timestamp(first) + pd.to_timedelta(since, "h")
    facts = look(times.as_unit("ns"), np.array([[0, 0, 1, 0, 0, 0, 0, 0, 0.0]]).T, step)
    assert [*facts.conflicting] == [2]
    assert [*facts.off_grid] == [4, 7]
    assert [*zip(facts.gaps, facts.absent, strict=True)] == [(6, 2), (7, 2)]
    assert [*facts.back] == [8]
