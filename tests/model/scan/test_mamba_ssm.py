"""The adapter of the official kernel, around a stand-in that knows one direction, as it does."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest
import torch

from s2tx.model.scan import SelectiveScan
from s2tx.model.scan.reference import selective_scan as reference
from tests.model.scan.cases import assert_near, inputs, run

NAME = "mamba_ssm.ops.selective_scan_interface"


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> SelectiveScan:
    """``mamba_ssm.selective_scan`` around the reference in the direction of time."""

    def selective_scan_fn(  # type: ignore[no-untyped-def]
        u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False
    ) -> torch.Tensor:
        forth = (False,) * B.shape[1]
        return reference(u, delta, A, B, C, D, z, delta_bias, delta_softplus, forth)

    stand_in = ModuleType(NAME)
    stand_in.selective_scan_fn = selective_scan_fn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mamba_ssm", ModuleType("mamba_ssm"))
    monkeypatch.setitem(sys.modules, "mamba_ssm.ops", ModuleType("mamba_ssm.ops"))
    monkeypatch.setitem(sys.modules, NAME, stand_in)
    monkeypatch.delitem(sys.modules, "s2tx.model.scan.mamba_ssm", raising=False)
    module = importlib.import_module("s2tx.model.scan.mamba_ssm")
    monkeypatch.delitem(sys.modules, "s2tx.model.scan.mamba_ssm")
    scan: SelectiveScan = module.selective_scan
    return scan


@pytest.mark.parametrize("without", [(), ("z",)], ids=str)
@pytest.mark.parametrize(
    "reverse", [(False,), (True,), (False, True), (True, False), (True, True)], ids=str
)
def test_every_direction_is_that_of_the_reference(
    adapter: SelectiveScan, reverse: tuple[bool, ...], without: tuple[str, ...]
) -> None:
    """A gate or a gradient that is not turned with the rest would train a different model."""
    given = inputs(2, 6, 21, 4, without=without, groups=len(reverse))
    y, grads = run(adapter, given, True, torch.float64, reverse)
    exact_y, exact_grads = run(reference, given, True, torch.float64, reverse)
    assert_near(y, exact_y, "y", 1e-13)
    for name, exact in exact_grads.items():
        assert_near(grads[name], exact, f"d{name}", 1e-13)


def test_without_the_package_the_error_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback from inside the package says nothing about this project's extra."""
    monkeypatch.setitem(sys.modules, NAME, None)
    monkeypatch.delitem(sys.modules, "s2tx.model.scan.mamba_ssm", raising=False)
    with pytest.raises(ImportError, match=r'pip install -e "\.\[cuda\]"'):
        importlib.import_module("s2tx.model.scan.mamba_ssm")
