"""Baselines must be what their names say, or the model's lead means nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from s2tx.baselines.linear import DLinear
from s2tx.baselines.naive import SeasonalNaive
from s2tx.data.missing import Mask
from s2tx.data.split import find_borders
from s2tx.params import Params, WindowParams
from s2tx.specs import DLinearParams
from s2tx.training.train import train
from tests.builders import make_table


def test_seasonal_naive_repeats_the_newest_season() -> None:
    """Protects from an off-by-one in the phase, also where H is no multiple of the season."""
    x = torch.arange(10.0)[None, :, None]
    y = SeasonalNaive(4, 7)(x)[0, :, 0]
    assert y.tolist() == [6, 7, 8, 9, 6, 7, 8]


def test_season_of_one_repeats_the_last_value() -> None:
    """Protects repeat-last."""
    assert SeasonalNaive(1, 3)(torch.arange(5.0)[None, :, None])[0, :, 0].tolist() == [4, 4, 4]


def test_missing_steps_fall_back_on_older_ones() -> None:
    """Protects the baseline from a straw-man's handling of missing values."""
    x = torch.arange(12.0)[None, :, None].repeat(1, 1, 3)
    observed = torch.ones_like(x, dtype=torch.bool)
    observed[0, 9, 0] = False  # an older season has the phase
    observed[0, 1::4, 1] = False  # the phase was never seen: the newest value
    observed[0, :, 2] = False  # nothing was ever seen: the train mean
    y = SeasonalNaive(4, 4)(x, observed)
    assert y[0, :, 0].tolist() == [8, 5, 10, 11]
    assert y[0, :, 1].tolist() == [8, 11, 10, 11]
    assert y[0, :, 2].tolist() == [0, 0, 0, 0]


def test_fully_observed_is_the_same_as_no_mask() -> None:
    """Protects the naive forecasts on clean data."""
    x = torch.randn(3, 50, 2)
    for season in (1, 7, 24, 100):
        model = SeasonalNaive(season, 11)
        assert torch.equal(model(x), model(x, torch.ones_like(x, dtype=torch.bool)))


def test_dlinear_is_one_linear_map_per_part() -> None:
    """Protects the decomposition: the parts add up, so equal maps are one map of the input."""
    torch.manual_seed(0)
    model = DLinear(48, 12, 25).double()
    model.remainder.load_state_dict(model.trend.state_dict())
    x = torch.randn(2, 48, 3, dtype=torch.float64)
    expected = model.trend(x.transpose(1, 2)).transpose(1, 2) + model.trend.bias[:, None]
    torch.testing.assert_close(model(x), expected)


def test_dlinear_starts_at_the_mean_of_the_window() -> None:
    """Protects the published initialisation."""
    model = DLinear(48, 12, 25)
    torch.nn.init.zeros_(model.trend.bias)
    torch.nn.init.zeros_(model.remainder.bias)
    x = torch.randn(2, 48, 3)
    torch.testing.assert_close(model(x), x.mean(dim=1, keepdim=True).expand(2, 12, 3))


def test_trained_dlinear_is_the_exact_least_squares_solution(
    params: Params, tmp_path: Path
) -> None:
    """Protects baseline and training loop together: DLinear is a linear map, whose best weights
    are known exactly, and training must end there."""
    table = make_table(rows=400, variates=2)
    window = WindowParams(look_back=12, short_look_back=12, horizon=3)
    small = replace(params, window=window, runtime=replace(params.runtime, device="cpu"))
    recipe = replace(
        params.baseline.train,
        epochs=300,
        batch_size=512,
        learning_rate=0.05,
        stride=1,
        averaging=None,
        select="last",
    )
    spec = DLinearParams("dlinear", kernel=5)
    bundle, _ = train(table, Mask(table.observed, 0), spec, recipe, small, tmp_path)
    borders = find_borders(len(table.times), table.card, small.data, window)
    origins = torch.tensor(borders.origins("train", 12, 3))
    x_BLD, _, y_BHD, _ = bundle.windows(table).batch(origins)
    x = x_BLD.transpose(1, 2).reshape(-1, 12).double()
    y = y_BHD.transpose(1, 2).reshape(-1, 3).double()
    x = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], dim=1)
    exact = x @ torch.linalg.lstsq(x, y).solution
    with torch.no_grad():
        found = bundle.network(x_BLD).transpose(1, 2).reshape(-1, 3).double()
    least = (exact - y).square().mean()
    assert (found - y).square().mean() < 1.005 * least
    assert (found - exact).square().mean() < 0.005 * least
