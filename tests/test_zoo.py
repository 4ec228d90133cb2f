"""Every model of the zoo keeps the one contract."""

from __future__ import annotations

import pytest
import torch

from s2tx import zoo
from s2tx.params import BaselineParams, ModelParams, Params, as_dict
from tests.builders import make_params

CPU = torch.device("cpu")


@pytest.fixture(params=["model", "baseline"])
def spec(request: pytest.FixtureRequest, params: Params) -> ModelParams | BaselineParams:
    section: ModelParams | BaselineParams = getattr(make_params(params), request.param)
    return section


def test_contract(spec: ModelParams | BaselineParams, params: Params) -> None:
    """Protects whoever trains, scores or serves a model without knowing which it is: shapes,
    batch-order invariance, finite forecasts from nothing observed, gradients everywhere."""
    small = make_params(params)
    torch.manual_seed(0)
    network = zoo.build(spec, small.window, 3, small.runtime, CPU).eval()
    x = torch.randn(5, small.window.look_back, 3)
    observed = torch.rand_like(x) > 0.2
    y = network(x, observed)
    assert y.shape == (5, small.window.horizon, 3)
    order = torch.tensor([4, 2, 0, 1, 3])
    torch.testing.assert_close(network(x[order], observed[order]), y[order])
    torch.testing.assert_close(network(x, torch.ones_like(observed)), network(x))
    assert torch.isfinite(network(x, torch.zeros_like(observed))).all()
    (y * torch.randn_like(y)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_a_section_comes_back_from_json(spec: ModelParams | BaselineParams) -> None:
    """Protects a bundle's ``config.json`` from describing another model."""
    assert zoo.spec_from_dict(as_dict(spec)) == spec


def test_an_unknown_name_lists_the_known() -> None:
    """Protects from a KeyError for a bundle of a later version."""
    with pytest.raises(ValueError, match="the zoo has s2tx and dlinear"):
        zoo.spec_from_dict({"name": "oracle"})
