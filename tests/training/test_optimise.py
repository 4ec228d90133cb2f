"""Losses, rates and averages must be what the recipe says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from s2tx.params import Params
from s2tx.training.optimise import averaged_of, loss_of, optimiser_of, schedule_of


@pytest.mark.parametrize("kind", ["mse", "mae", "huber"])
def test_a_masked_loss_is_the_loss_of_the_observed(kind: str) -> None:
    """Protects from missing targets weighing in, or from a wrong mean."""
    torch.manual_seed(0)
    forecast, target = torch.randn(2, 4, 5, 3).unbind(0)
    observed = torch.rand(4, 5, 3) > 0.4
    expected = loss_of(forecast[observed], target[observed], None, kind)
    torch.testing.assert_close(loss_of(forecast, target, observed, kind), expected)


def test_only_matrices_decay(params: Params) -> None:
    """Protects Mamba's A and D, norms, biases and positions from weight decay."""
    from s2tx.model.s2tx import S2TX
    from s2tx.model.scan.reference import selective_scan
    from s2tx.model.sublayers.reference import SUBLAYERS
    from tests.builders import make_params

    small = make_params(params)
    network = S2TX(small.window, 2, small.model, selective_scan, SUBLAYERS)
    recipe = replace(params.train, weight_decay=0.1)
    decaying, free = optimiser_of(network, recipe).param_groups
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    assert decaying["weight_decay"] == 0.1
    assert free["weight_decay"] == 0.0
    free_names = {names[id(parameter)].rsplit(".", 1)[-1] for parameter in free["params"]}
    assert {"A_log", "D", "bias", "position"} <= free_names
    decaying_names = {names[id(parameter)].rsplit(".", 1)[-1] for parameter in decaying["params"]}
    assert decaying_names == {"weight"}
    assert len(free["params"]) + len(decaying["params"]) == len(names)


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
def test_rates_rise_peak_and_fall(params: Params, schedule: str) -> None:
    """Protects the recipe's rate: peak at ``warmup``, almost nothing at the end."""
    recipe = replace(params.train, schedule=schedule, warmup=0.25, learning_rate=0.1)
    optimiser = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=recipe.learning_rate)
    scheduler = schedule_of(optimiser, recipe, 40)
    rates = []
    for _ in range(40):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    assert max(rates) == pytest.approx(0.1, rel=0.05)
    if schedule == "constant":
        assert min(rates) == max(rates)
    else:
        assert rates.index(max(rates)) == pytest.approx(10, abs=1)
        assert rates[0] < 0.02
        assert rates[-1] < 0.001


def test_the_average_follows_and_forgets_the_beginning(params: Params) -> None:
    """Protects from an average that is stuck at the random initial weights."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 100.0)
    averaged = averaged_of(network, replace(params.train, averaging=0.99))
    assert averaged is not None
    for _ in range(60):
        nn.init.constant_(network.weight, 1.0)
        averaged.update_parameters(network)
    assert averaged.module.weight.item() == pytest.approx(1.0, abs=0.01)
    assert averaged_of(network, replace(params.train, averaging=None)) is None
