"""What each variate is like: the figures, one row a variate, that the expectations judge."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2tx.params import ValidateParams

HUGE = 1e15  # beyond this, float32 arithmetic on squares is at its end
_RETURNS = 10  # a value that a variate comes back to so often is a resting place

Floats = NDArray[np.float64]


def take_out_sentinels(
    values: Floats, sentinels: tuple[float, ...]
) -> tuple[Floats, NDArray[np.bool_]]:
    """(T, D) values with every sentinel missing, and (T, D) bool where they stood."""
    coded = np.isin(values, sentinels)
    return np.where(coded, np.nan, values), coded


def profile(
    values: Floats, variates: tuple[str, ...], train_rows: int, rules: ValidateParams
) -> pd.DataFrame:
    """Figures of (T, D) values in their own units, sentinels already missing.

    Args:
        values: NaN where missing; may hold infinities.
        variates: D names.
        train_rows: ranges are learned, and values counted, on the rows before this one only.
        rules: tolerances, and physical ranges, which go before learned ones.

    Returns:
        D rows: ``variate``, ``missing_share``, ``infinite`` and ``huge`` (cells),
        ``distinct`` (values among the train rows), ``low`` and ``high`` (the range),
        ``outside_share``, ``longest_stuck`` (steps), ``stuck_share``, ``rests_at`` and
        ``rest_share`` (long runs at the end of the range that the variate comes back to, such as
        no rain). Shares are of the rows.
    """
    rows = []
    for variate, column in zip(variates, values.T, strict=True):
        finite = np.where(np.isfinite(column), column, np.nan)
        train = finite[:train_rows]
        low, high = rules.physical_ranges.get(variate, learned_range(train, rules.range_tolerance))
        longest, stuck, rests_at, resting = _stuck(finite, rules.max_stuck_steps)
        rows.append(
            {
                "variate": variate,
                "missing_share": float(np.isnan(column).mean()),
                "infinite": int(np.isinf(column).sum()),
                "huge": int((np.abs(finite) > HUGE).sum()),
                "distinct": len(np.unique(train[~np.isnan(train)])),
                "low": low,
                "high": high,
                "outside_share": float(((finite < low) | (finite > high)).mean()),
                "longest_stuck": longest,
                "stuck_share": stuck / len(column),
                "rests_at": rests_at,
                "rest_share": resting / len(column),
            }
        )
    return pd.DataFrame(rows)


def learned_range(train: Floats, tolerance: float) -> tuple[float, float]:
    """Quartiles of the train rows -/+ ``tolerance`` spreads.

    The spread is the distance of the quartiles. Where they are equal (rain: mostly 0), it is that
    of the 0.1 % and 99.9 % quantiles, else of the extremes; a constant variate has no range.
    """
    seen = train[~np.isnan(train)]
    if not len(seen):
        return -np.inf, np.inf
    extremes = np.quantile(seen, [0.25, 0.75, 0.001, 0.999, 0.0, 1.0])
    for low, high in extremes.reshape(3, 2):
        if high > low:
            spread = tolerance * (high - low)
            return float(extremes[0] - spread), float(extremes[1] + spread)
    return -np.inf, np.inf


def runs(column: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First row and length of each run of one repeated reading; a missing one ends the run."""
    same = np.zeros(len(column), dtype=bool)
    same[1:] = column[1:] == column[:-1]
    starts = np.flatnonzero(~same)
    return starts, np.diff(np.append(starts, len(column)))


def _stuck(column: Floats, most: int) -> tuple[int, int, float, int]:
    """(longest stuck run, cells in stuck runs, where the variate rests or NaN, cells at rest)."""
    starts, lengths = runs(column)
    values = column[starts]
    seen = values[~np.isnan(values)]
    if not len(seen) or seen.min() == seen.max():
        return 0, 0, np.nan, 0  # all missing or constant: other checks say so
    long = lengths > most
    rest, rests_at = np.zeros_like(long), np.nan
    for end in (seen.min(), seen.max()):
        here = values == end
        if (here & long).any() and here.sum() >= _RETURNS:
            rest, rests_at = rest | here, float(end)
    stuck = long & ~rest
    longest = int(lengths[stuck].max(initial=0))
    return longest, int(lengths[stuck].sum()), rests_at, int(lengths[long & rest].sum())
