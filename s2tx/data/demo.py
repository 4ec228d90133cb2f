"""The embedded series: a synthetic transformer substation that stands in for a user's own table.

Nothing here was measured. Two years of hourly loads (MW and Mvar) with daily, weekly and yearly
cycles and holidays; an oil temperature that follows the loads and the ambient air with the lag of a
large thermal mass; one regime change (a new feeder); heavy-tailed noise; sensor outages. The
generator is PCG64 and every value is rounded, so the same seed gives the same file everywhere.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

NAME = "substation-demo"
SEED = 20230101
ROWS = 17_520
START = "2023-01-01"
VARIATES = (
    "high_useful",
    "high_useless",
    "middle_useful",
    "middle_useless",
    "low_useful",
    "low_useless",
    "oil_temperature",
)
_HOLIDAYS = ((1, 1), (1, 2), (5, 1), (10, 3), (12, 24), (12, 25), (12, 26), (12, 31))
_NEW_FEEDER = pd.Timestamp("2024-02-12 06:00")
_THERMAL_HOURS = 7.0

Floats = NDArray[np.float64]


def make_demo(seed: int = SEED) -> pd.DataFrame:
    """Generate the series.

    Returns:
        17,520 rows: ``date`` (hourly, no zone), then seven float64 columns: useful load in MW,
        useless load in Mvar, on the high, middle and low side, and oil temperature in °C; NaN
        where a sensor was out.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    times = pd.date_range(START, periods=ROWS, freq="1h")
    hour = times.hour.to_numpy(np.float64)
    year = 2 * np.pi * (np.arange(ROWS) / 24 - 15) / 365.25  # zero at the coldest days
    free = (times.dayofweek >= 5) | pd.Series(zip(times.month, times.day, strict=True)).isin(
        list(_HOLIDAYS)
    ).to_numpy()
    work = np.where(free, 0.45, 1.0)

    ambient = 9.5 - 9.0 * np.cos(year) - 4.0 * np.cos(2 * np.pi * (hour - 3.5) / 24)
    ambient += _persistent(random, 0.985, 0.55)
    heating = np.clip(15.0 - ambient, 0.0, None)
    cooling = np.clip(ambient - 19.0, 0.0, None)
    homes = 0.55 + 0.30 * _bump(hour, 7.5, 1.6) + 0.75 * _bump(hour, 19.0, 2.4)
    office = 0.15 + work * _bump(hour, 12.5, 3.6)

    low = 2.6 * homes + 0.07 * heating * homes + 0.05 * cooling
    middle = 3.2 + 4.4 * office + 0.11 * cooling * (0.4 + office) + 0.04 * heating
    feeder = np.asarray(times >= _NEW_FEEDER)
    middle = np.where(feeder, 1.22 * middle + 0.9 * _bump(hour, 2.0, 2.5), middle)
    low = low * (1 + _persistent(random, 0.92, 0.018)) + _heavy(random, 0.06)
    middle = middle * (1 + _persistent(random, 0.95, 0.022)) + _heavy(random, 0.11)
    high = 1.03 * (low + middle) + _persistent(random, 0.8, 0.12) + _heavy(random, 0.09)

    useless = [
        share * load * (1 + _persistent(random, 0.97, 0.02)) + offset + _heavy(random, 0.03)
        for share, load, offset in ((0.31, high, -0.4), (0.36, middle, -0.2), (0.22, low, 0.15))
    ]
    oil = _oil(ambient, high) + _heavy(random, 0.12)

    values = np.column_stack([high, useless[0], middle, useless[1], low, useless[2], oil])
    values = _round(values)
    values[_outages(random, values.shape)] = np.nan
    frame = pd.DataFrame(values, columns=list(VARIATES))
    frame.insert(0, "date", times)
    return frame


def _bump(hour: Floats, peak: float, width: float) -> Floats:
    """A daily peak: 1 at ``peak`` o'clock, falling over ``width`` hours, around midnight too."""
    distance = np.abs(hour - peak)
    distance = np.minimum(distance, 24 - distance)
    bump: Floats = np.exp(-0.5 * (distance / width) ** 2)
    return bump


def _heavy(random: np.random.Generator, scale: float) -> Floats:
    """Independent noise with the tails of a Student t of three degrees, cut at 25 scales."""
    draws: Floats = scale * np.clip(random.standard_t(3, ROWS), -25, 25)
    return draws


def _persistent(random: np.random.Generator, memory: float, scale: float) -> Floats:
    """Noise that forgets: an autoregression of order one."""
    shocks = random.normal(0.0, scale, ROWS).tolist()
    level, path = 0.0, []
    for shock in shocks:
        level = memory * level + shock
        path.append(level)
    return np.array(path)


def _oil(ambient: Floats, load: Floats) -> Floats:
    """Oil temperature: drawn towards air plus losses (load squared), hours behind both."""
    aim = (ambient + 6.0 + 0.21 * load**2).tolist()
    level, path = aim[0], []
    for target in aim:
        level += (target - level) / _THERMAL_HOURS
        path.append(level)
    return np.array(path)


def _outages(random: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """(T, D) bool, true where a reading is lost: drops, sensor outages, two of the logger."""
    rows, variates = shape
    lost = random.random(shape) < 0.0015
    for variate in range(variates):
        for _ in range(6):
            start, hours = random.integers(rows), 3 + int(random.exponential(18.0))
            lost[start : start + min(hours, 120), variate] = True
    for hours in (9, 31):
        start = random.integers(rows - hours)
        lost[start : start + hours] = True
    return lost


def _round(values: Floats) -> Floats:
    """To the sensors' resolution: loads in kW, temperature in hundredths of a degree."""
    return np.column_stack([np.round(values[:, :-1], 3), np.round(values[:, -1:], 2)])
