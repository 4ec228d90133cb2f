"""Timestamps: which column holds them, what they mean, and how far apart they stand."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from s2tx.data.findings import some
from s2tx.errors import InputError

USUAL_NAMES = ("date", "time", "timestamp", "datetime", "ds")
_FORMATS = (
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y",
)
# Day first or month first: only the values can tell.
_AMBIGUOUS = tuple(
    (f"%d{sep}%m{sep}%Y{clock}", f"%m{sep}%d{sep}%Y{clock}")
    for sep in "/-"
    for clock in (" %H:%M", " %H:%M:%S", "")
)
_ZONE = re.compile(r"(Z|[+-]\d{2}(?::?\d{2})?)$")  # +01 alone is how PostgreSQL writes it
_LONGEST_STEP = 3650 * 86_400  # seconds
_UNITS = (("D", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def parse(texts: pd.Series, where: str, places: Sequence[str]) -> pd.DatetimeIndex:
    """Timestamps from text, ``datetime64[ns]``; UTC where they name a zone, else without one.

    Args:
        texts: (T,) strings.
        where: file and column, for messages.
        places: (T,) where each row stands, such as ``line 7``.

    Raises:
        InputError: a stamp is absent or cannot be read, day and month cannot be told apart, some
            name a zone and some none, or a year lies outside 1678-2261.
    """
    texts = texts.astype("str").fillna("").str.strip()
    bare = texts.str.extract(_ZONE, expand=False).where(texts.str.contains(":")).isna().to_numpy()
    if bare.any() and not bare.all():  # offsets may differ, as they do where clocks change
        row = int(np.flatnonzero(bare != bare[0])[0])
        raise InputError(
            f"{where} has stamps with a time zone and without: {texts.iloc[0]!r} at {places[0]}, "
            f"{texts.iloc[row]!r} at {places[row]}",
            "Write every timestamp in UTC",
        )
    zoned = not bare.all()
    times = _best(texts, where, zoned)
    if times.isna().any():
        row = int(np.flatnonzero(times.isna())[0])
        raise InputError(
            f"{where}, {places[row]}: {texts.iloc[row]!r} is not a timestamp, as "
            f"{int(times.isna().sum())} of {len(times)} are not",
            "Write timestamps as 2024-01-31 23:00:00, between the years 1678 and 2261",
        )
    return pd.DatetimeIndex(times)


def looks_like_times(texts: pd.Series) -> bool:
    """Whether most of the first texts can be read as timestamps (numbers alone are none)."""
    head = texts.dropna().astype("str").str.strip().head(50)
    if head.empty or pd.to_numeric(head, errors="coerce").notna().any():
        return False
    zoned = bool((head.str.contains(":") & head.str.extract(_ZONE, expand=False).notna()).any())
    try:
        return bool(_best(head, "", zoned).notna().mean() > 0.5)
    except InputError:
        return True  # an ambiguous date is a date


def _best(texts: pd.Series, where: str, zoned: bool) -> pd.Series:
    """The reading under which most texts are timestamps; NaT where one is not."""
    best = _try(texts, "ISO8601", zoned)
    for form in _FORMATS:
        if best.notna().all():
            return best
        best = max(best, _try(texts, form, zoned), key=lambda read: read.notna().sum())
    for forms in _AMBIGUOUS:
        if best.notna().all():
            return best
        day_first, month_first = (_try(texts, form, zoned) for form in forms)
        both = day_first.notna().all() and month_first.notna().all()
        if both and not day_first.equals(month_first):
            raise InputError(
                f"{where}: {texts.iloc[0]!r} may be day/month or month/day",
                "Write timestamps as 2024-01-31 23:00:00",
            )
        best = max(best, day_first, month_first, key=lambda read: read.notna().sum())
    return best


def _try(texts: pd.Series, form: str, zoned: bool) -> pd.Series:
    if zoned and form != "ISO8601":
        form += "%z"
    return in_nanoseconds(pd.to_datetime(texts, format=form, errors="coerce", utc=zoned))


def in_nanoseconds(times: pd.Series) -> pd.Series:
    """``datetime64[ns]``; NaT in years that it cannot hold, which are no timestamps here."""
    outside = (times.dt.year < 1678) | (times.dt.year > 2261)
    inside: pd.Series = times.mask(outside).dt.as_unit("ns")
    return inside


def find_step(times: pd.DatetimeIndex, where: str) -> str:
    """The fixed step between most rows, as a frequency string such as ``15min``.

    Raises:
        InputError: fewer than three rows, rows that do not advance, or no step that half of the
            rows agree on.
    """
    stands = times[1:] <= times[:-1]
    steps = np.diff(times.asi8)
    steps = steps[steps > 0]
    if len(steps) < 2 < len(times) and stands.any():
        row = int(np.flatnonzero(stands)[0]) + 1
        raise InputError(
            f"{where}, row {row + 1}: {times[row]} is not after {times[row - 1]} in the row before",
            "Sort the rows by time, and give each a timestamp of its own",
        )
    if len(steps) < 2:
        raise InputError(
            f"{where} has {len(times)} rows: too few to find the step",
            "Bring more rows, or give the step with --step 1h",
        )
    lengths, counts = np.unique(steps, return_counts=True)
    ranked = np.argsort(-counts, kind="stable")
    if counts[ranked[0]] <= len(steps) / 2:
        found = some(f"{pd.Timedelta(int(lengths[at]))} ({counts[at]} times)" for at in ranked[:3])
        raise InputError(
            f"{where} has no fixed step: the most common are {found}",
            "Bring the table to a fixed step first, or give it with --step",
        )
    return canonical_step(pd.Timedelta(int(lengths[ranked[0]])))


def canonical_step(step: str | pd.Timedelta) -> str:
    """One spelling of a step: the largest unit that divides it, up to a day.

    Raises:
        InputError: the text names no fixed time, less than a second, or more than ten years.
    """
    try:
        offset = pd.tseries.frequencies.to_offset(step) if isinstance(step, str) else step
        delta = pd.Timedelta(offset)  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        raise InputError(
            f"step {step!r} is no fixed time", "Give a step such as 15min, 1h, 1D or 7D"
        ) from None
    seconds = delta.total_seconds()
    if seconds < 1 or seconds != int(seconds):
        raise InputError(f"step {step!r} is not a whole number of seconds", "Give 1s or more")
    if seconds > _LONGEST_STEP:
        raise InputError(f"step {step!r} is longer than ten years", "Give 3650D or less")
    unit, length = next(pair for pair in _UNITS if seconds % pair[1] == 0)
    return f"{int(seconds) // length}{unit}"
