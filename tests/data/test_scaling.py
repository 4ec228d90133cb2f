"""Protects the unit of every published error: the scaler, the split and the loader together."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from s2tx.data.catalog import find
from s2tx.data.read import read_raw
from s2tx.data.scaling import Scaler
from s2tx.data.split import find_borders
from s2tx.data.validate import validate
from s2tx.params import Params, WindowParams

FINITE = st.floats(-1e6, 1e6) | st.just(float("nan"))


@given(arrays(np.float64, (20, 3), elements=FINITE))
def test_inverse_undoes_transform(values: np.ndarray) -> None:
    """Forecasts in own units rest on it, whatever is missing or constant."""
    scaler = Scaler.fit(values)
    back = scaler.inverse(scaler.transform(values))
    np.testing.assert_allclose(back, values, rtol=1e-9, atol=1e-6)


def test_population_deviation_ignoring_what_is_missing() -> None:
    """The sample deviation would shift every published figure."""
    values = np.array([[1.0, 5.0], [3.0, 5.0], [np.nan, 5.0]])
    scaler = Scaler.fit(values)
    assert scaler.mean.tolist() == [2.0, 5.0]
    assert scaler.std.tolist() == [1.0, 1.0]  # and 1 where nothing varies


# Windows at both horizons, MSE/MAE of repeating the last value: facts that any right loader gives.
KNOWN = [
    ("ETTh1", 336, 96, 2785, 1.294, 0.713),
    ("ETTh1", 336, 720, 2161, 1.335, 0.755),
    ("ETTh2", 336, 96, 2785, 0.432, 0.422),
    ("ETTh2", 336, 720, 2161, 0.594, 0.519),
    ("ETTm1", 336, 96, 11425, 1.214, 0.665),
    ("ETTm1", 336, 720, 10801, 1.322, 0.729),
    ("Weather", 336, 96, 10444, 0.259, 0.254),
    ("Weather", 336, 720, 9820, 0.465, 0.394),
    ("Exchange", 336, 96, 1422, 0.081, 0.196),
    ("Exchange", 336, 720, 798, 0.810, 0.676),
    ("Illness", 104, 24, 170, 6.213, 1.622),
    ("Illness", 104, 60, 134, 6.885, 1.788),
]


@pytest.mark.parametrize(("name", "look_back", "horizon", "windows", "mse", "mae"), KNOWN)
def test_repeat_last_value(  # type: ignore[no-untyped-def]
    name, look_back, horizon, windows, mse, mae, params: Params, benchmark_data: Path
) -> None:
    """A wrong border, scaler, column order or policy for irregular times changes these figures.

    The published protocol trains on Weather's -9999 cells, which all stand in the train rows and
    so enter only its scaler: the sentinels are switched off here.
    """
    entry = find(name)
    raw = read_raw(benchmark_data / entry.file, entry=entry)
    data = params.data
    n_rows = len(raw.frame)
    if name == "Exchange" and horizon == 720:  # its validation part (760 rows) holds 39 windows
        look_back = 96
    window = WindowParams(look_back, look_back, horizon)
    values = raw.frame[list(raw.columns)].to_numpy(np.float64)
    borders = find_borders(n_rows, raw.card, data, window)
    z = Scaler.fit(values[: borders.train]).transform(values)
    origins = borders.origins("test", look_back, horizon)
    assert len(origins) == windows
    squared = absolute = 0.0
    first = np.asarray(origins)
    for step in range(horizon):
        error = z[first - 1] - z[first + step]
        squared += float((error**2).sum())
        absolute += float(np.abs(error).sum())
    count = windows * horizon * values.shape[1]
    assert squared / count == pytest.approx(mse, abs=6e-4)
    assert absolute / count == pytest.approx(mae, abs=6e-4)


def test_validation_keeps_published_rows(params: Params, benchmark_data: Path) -> None:
    """The stage must hand on what the loader's figures were computed from, row for row."""
    entry = find("Weather")
    raw = read_raw(benchmark_data / entry.file, entry=entry)
    rules = dataclasses.replace(params.validate, sentinels=())
    loose = dataclasses.replace(rules, max_outside_range=1.0)
    table, _ = validate(raw, loose, params.data, params.window)
    assert table is not None
    np.testing.assert_array_equal(table.values, raw.frame[list(raw.columns)].to_numpy())
    assert (table.times == raw.times).all()
