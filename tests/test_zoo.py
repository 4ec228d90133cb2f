"""Every model of the zoo keeps the one contract."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from s2tx import zoo
from s2tx.data.scaling import Scaler
from s2tx.data.table import Table
from s2tx.params import Network, Params, as_dict
from s2tx.training.bundle import Bundle
from tests.builders import make_params, make_table, specs

CPU = torch.device("cpu")
NAMES = (
    "s2tx",
    "s2tx_of_two",
    "sst",
    "sst_released",
    "patchtst",
    "itransformer",
    "dlinear",
    "naive",
)
TRAINED = NAMES[:-1]
WITH_REVIN = NAMES[:6]


@pytest.fixture
def small(params: Params) -> Params:
    return make_params(params)


def build(name: str, small: Params) -> nn.Module:
    """In evaluation mode, from one seed."""
    torch.manual_seed(0)
    return zoo.build(specs(small)[name], small.window, 3, small.runtime, CPU).eval()


def inputs(small: Params) -> tuple[torch.Tensor, torch.Tensor]:
    """Five windows, and what of them was observed."""
    torch.manual_seed(1)
    x = torch.randn(5, small.window.look_back, 3)
    return x, torch.rand_like(x) > 0.2


def test_every_network_is_tested_here(small: Params) -> None:
    """Protects a new model from being forgotten above."""
    assert tuple(specs(small)) == NAMES
    assert {spec.name for spec in specs(small).values()} == set(zoo.SPECS)


@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str, small: Params) -> None:
    """Protects whoever trains, scores or serves a model without knowing which it is: shapes,
    batch-order invariance, finite forecasts from nothing observed."""
    network, (x, observed) = build(name, small), inputs(small)
    y = network(x, observed)
    assert y.shape == (5, small.window.horizon, 3)
    order = torch.tensor([4, 2, 0, 1, 3])
    torch.testing.assert_close(network(x[order], observed[order]), y[order])
    torch.testing.assert_close(network(x[2:3], observed[2:3]), y[2:3])
    torch.testing.assert_close(network(x, torch.ones_like(observed)), network(x))
    assert torch.isfinite(network(x, torch.zeros_like(observed))).all()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_is_not_read(name: str, small: Params) -> None:
    """Protects from a fill value that leaks into the forecast."""
    network, (x, observed) = build(name, small), inputs(small)
    other = torch.where(observed, x, 1e6)
    torch.testing.assert_close(network(other, observed), network(x, observed))


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("training", [False, True])
def test_every_parameter_has_a_gradient(name: str, training: bool, small: Params) -> None:
    """Protects from a part that is built and never used, or cut off from the loss."""
    network, (x, observed) = build(name, small).train(training), inputs(small)
    y = network(x, observed)
    (y * torch.randn_like(y)).sum().backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", WITH_REVIN)
def test_scale_and_shift_pass_through(name: str, small: Params) -> None:
    """Protects RevIN: a window in other units gives the same forecast in those units."""
    network, (x, observed) = build(name, small), inputs(small)
    scale, shift = torch.tensor([3.0, 0.5, 20.0]), torch.tensor([-7.0, 0.1, 300.0])
    for seen in (None, observed):
        expected = network(x, seen) * scale + shift
        torch.testing.assert_close(network(x * scale + shift, seen), expected, rtol=1e-3, atol=1e-3)


def bundle_of(name: str, small: Params, table: Table) -> Bundle:
    network, scaler = build(name, small), Scaler.fit(table.values[:400])
    return Bundle(network, small.window, scaler, CPU, specs(small)[name], table.card, "f" * 64)


@pytest.mark.parametrize("name", NAMES)
def test_rows_after_the_look_back_change_nothing(name: str, small: Params) -> None:
    """Protects from a look into the future."""
    table = make_table()
    bundle = bundle_of(name, small, table)
    later = table.values.copy()
    later[500:] = 1e3
    origins = torch.tensor([480, 500])
    forecasts = [
        bundle.network(*bundle.windows(each).batch(origins)[:2])
        for each in (table, Table(table.card, table.times, later))
    ]
    assert torch.equal(*forecasts)
    assert not np.array_equal(table.values[500:], later[500:])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_saved_comes_back(name: str, small: Params, tmp_path: Path) -> None:
    """Protects a cell of the grid: its audit loads the very network that was scored."""
    table = make_table()
    bundle = bundle_of(name, small, table)
    bundle.save(tmp_path / "model")
    loaded = Bundle.load(tmp_path / "model", small.runtime, CPU)
    assert loaded.spec == bundle.spec
    assert np.array_equal(loaded.forecast(table.values), bundle.forecast(table.values))


@pytest.mark.parametrize("name", NAMES)
def test_a_section_comes_back_from_json(name: str, small: Params) -> None:
    """Protects a bundle's ``config.json`` from describing another model."""
    spec: Network = specs(small)[name]
    assert zoo.spec_from_dict(as_dict(spec)) == spec


def test_an_unknown_name_lists_the_known() -> None:
    """Protects from a KeyError for a bundle of a later version."""
    with pytest.raises(ValueError, match="the zoo has s2tx, sst, patchtst"):
        zoo.spec_from_dict({"name": "oracle"})


def test_a_section_of_an_earlier_version_is_what_it_was(small: Params) -> None:
    """Protects a champion trained before a switch was there: it loads, and works as it did."""
    fields = as_dict(small.model)
    switches = ("infill", "masked_revin", "skip_missing", "time_major", "linear_member", "season")
    later = ("final_norm", "local_norm", "head_tokens", "infill_season", "infill_variates")
    for key in (*switches, *later):
        del fields[key]
    earlier = replace(small.model, infill=False, infill_season=None, skip_missing=False)
    assert zoo.spec_from_dict(fields) == earlier
    assert zoo.spec_from_dict(fields | {"linear_skip": False}) == earlier
    with pytest.raises(TypeError, match="linear_skip"):
        zoo.spec_from_dict(fields | {"linear_skip": True})
