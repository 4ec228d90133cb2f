"""How old the newest row is: a source that no longer delivers looks like one that has no news."""

from __future__ import annotations

import pandas as pd

from s2tx.errors import InputError


def require_recent(
    newest: pd.Timestamp, max_hours: float | None, now: pd.Timestamp | None = None
) -> str:
    """The newest row's stamp, read as UTC, and its age, in words.

    Args:
        newest: without a time zone, as the tables have them.
        max_hours: what is allowed (``ingest.max_age_hours``); None allows any age.
        now: without a time zone, in UTC; by default this moment.

    Raises:
        InputError: the row is older.
    """
    moment = pd.Timestamp.now("UTC").tz_localize(None) if now is None else now
    hours = (moment - newest) / pd.Timedelta(hours=1)
    told = f"the newest row is of {newest}, {hours:.0f} hours ago"
    if max_hours is not None and hours > max_hours:
        raise InputError(
            f"{told}, and ingest.max_age_hours is {max_hours:g}",
            "See why the source brings nothing newer, or change ingest.max_age_hours",
        )
    return told
