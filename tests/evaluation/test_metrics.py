"""Scores must be the plain averages over every window, whoever forecasts and however batched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from s2tx.baselines.naive import SeasonalNaive
from s2tx.data.scaling import Scaler
from s2tx.data.table import Table
from s2tx.evaluation.metrics import score
from s2tx.params import Params, WindowParams
from s2tx.training.bundle import Predictor
from tests.builders import make_params, make_table

ORIGINS = range(300, 595)
CPU = torch.device("cpu")


@pytest.fixture
def window(params: Params) -> WindowParams:
    return make_params(params).window


def repeat_last(window: WindowParams, scaler: Scaler) -> Predictor:
    return Predictor(SeasonalNaive(1, window.horizon), window, scaler, CPU)


def by_hand(table: Table, scaler: Scaler, horizon: int) -> tuple[float, float]:
    """Repeat-last over every window, one by one, straight from the definition."""
    errors = []
    for origin in ORIGINS:
        past = table.values[origin - 48 : origin]
        seen = ~np.isnan(past)
        newest = 47 - np.argmax(seen[::-1], axis=0)
        last = np.where(seen.any(axis=0), past[newest, np.arange(past.shape[1])], scaler.mean)
        errors.append((last - table.values[origin : origin + horizon]) / scaler.std)
    return float(np.nanmean(np.square(errors))), float(np.nanmean(np.abs(errors)))


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("batch_size", [1, 64, 1000])
def test_scores_are_the_definition(window: WindowParams, missing: float, batch_size: int) -> None:
    """Protects from a dropped last batch, a wrong mean, and from scoring missing targets."""
    table = make_table(missing=missing)
    scaler = Scaler.fit(table.values[:400])
    scores = score(repeat_last(window, scaler), table, ORIGINS, scaler, batch_size)
    assert len(scores.window_mse) == len(ORIGINS)
    expected = by_hand(table, scaler, window.horizon)
    assert (scores.mse, scores.mae) == pytest.approx(expected, rel=1e-5)
    assert scores.by_step()[0].shape == (window.horizon,)
    if not missing:
        assert scores.window_mse.mean() == pytest.approx(scores.mse)
        assert scores.by_step()[0].mean() == pytest.approx(scores.mse)
        by_variate = scores.by_variate()[0] / scaler.std**2
        assert by_variate.mean() == pytest.approx(scores.mse)


def test_another_scaler_of_the_predictor_changes_nothing(window: WindowParams) -> None:
    """Protects the comparison of models that were trained on different rows."""
    table = make_table()
    scaler = Scaler.fit(table.values[:400])
    other = Scaler(scaler.mean + 3.0, scaler.std * np.array([2.0, 0.5, 7.0]))
    one = score(repeat_last(window, scaler), table, ORIGINS, scaler, 64)
    two = score(repeat_last(window, other), table, ORIGINS, scaler, 64)
    np.testing.assert_allclose(one.window_mse, two.window_mse, rtol=1e-4)


def test_hidden_inputs_are_not_seen_and_targets_stay(window: WindowParams) -> None:
    """Protects the missing-value protocol: a mask is for inputs, never for targets."""
    table = make_table()
    scaler = Scaler.fit(table.values[:400])
    visible = np.random.default_rng(0).random(table.values.shape) > 0.3
    holes = replace(table, values=np.where(visible, table.values, np.nan))
    masked = score(repeat_last(window, scaler), table, ORIGINS, scaler, 64, visible)
    assert masked.count.sum() == len(ORIGINS) * window.horizon * 3
    both = score(repeat_last(window, scaler), holes, ORIGINS, scaler, 64)
    assert both.count.sum() < masked.count.sum()
    assert masked.mse > score(repeat_last(window, scaler), table, ORIGINS, scaler, 64).mse


def test_the_hidden_tail_is_the_newest_steps_of_each_window(window: WindowParams) -> None:
    """Protects the tail pattern: repeat-last over a tail of k repeats the value k steps older."""
    table = make_table()
    scaler = Scaler.fit(table.values[:400])
    tail = score(repeat_last(window, scaler), table, ORIGINS, scaler, 64, tail_steps=5)
    origin = 310
    error = table.values[origin - 6] - table.values[origin : origin + window.horizon]
    expected = np.mean((error / scaler.std) ** 2)
    assert tail.window_mse[origin - ORIGINS.start] == pytest.approx(expected, rel=1e-4)
