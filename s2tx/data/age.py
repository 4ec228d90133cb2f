"""How old the newest reading is: a source that fell silent looks like one that has no news.

Rows may go on without readings, so it is not the newest row that tells.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2tx.errors import InputError


def newest_reading(times: pd.DatetimeIndex, values: NDArray[np.float64]) -> pd.Timestamp:
    """The last of ``times`` (T,) at which any variate of ``values`` (T, D) has a reading.

    Raises:
        InputError: there is none.
    """
    read = np.flatnonzero(~np.isnan(values).all(axis=1))
    if not len(read):
        raise InputError("no variate has a reading in any row", "Bring in a table with readings")
    return pd.Timestamp(times[read[-1]])


def require_recent(
    reading: pd.Timestamp, max_hours: float | None, now: pd.Timestamp | None = None
) -> str:
    """The newest reading's stamp and its age, in words.

    Args:
        reading: of a table without a time zone it is taken for UTC.
        max_hours: what is allowed (``ingest.max_age_hours``), into the future too, for stamps ahead
            of the time would hide a silence as long; None allows any age.
        now: in UTC; by default this moment.

    Raises:
        InputError: the reading is older, or lies further ahead.
    """
    moment = pd.Timestamp.now("UTC") if now is None else now
    stamp = reading.tz_localize("UTC") if reading.tz is None else reading
    hours = (moment - stamp) / pd.Timedelta(hours=1)
    told = f"the newest reading is of {reading}, {abs(hours):.0f} hours "
    told += "ago" if hours >= 0 else "from now"
    if max_hours is not None and abs(hours) > max_hours:
        raise InputError(
            f"{told}, and ingest.max_age_hours is {max_hours:g}",
            "See why the source brings nothing newer and that its stamps are in UTC, or change "
            "ingest.max_age_hours",
        )
    return told
