"""The season that the step of a table suggests."""

from __future__ import annotations

import pandas as pd


def season_of(step: pd.Timedelta) -> int:
    """The season that a step suggests: a day, for daily rows a week, for weekly rows a year."""
    day = pd.Timedelta(days=1)
    if step < day:
        return max(round(day / step), 1)
    return 7 if step < 7 * day else 52
