"""The reference scan, which every other is compared with, against independent mathematics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from s2tx.model.scan import SelectiveScan
from s2tx.model.scan.cpu import selective_scan as cpu
from s2tx.model.scan.reference import selective_scan as reference
from tests.model.scan.cases import TOLERANCE, Inputs, assert_near, inputs, run


def by_hand(given: Inputs, softplus: bool, reverse: tuple[bool, ...] = (False,)) -> torch.Tensor:
    """The recurrence as the paper writes it, one number at a time, in Python's own floats."""
    x = {name: value.double().numpy() for name, value in given.items()}
    (N, I, L), K = x["u"].shape, x["A"].shape[1]  # noqa: E741
    y = np.zeros((N, I, L))
    for n in range(N):
        for i in range(I):
            g = i // (I // len(reverse))
            h = [0.0] * K
            for step in reversed(range(L)) if reverse[g] else range(L):
                dt = x["delta"][n, i, step] + (x["delta_bias"][i] if "delta_bias" in x else 0)
                if softplus:
                    dt = math.log1p(math.exp(dt))
                total = 0.0
                for k in range(K):
                    decay = math.exp(dt * x["A"][i, k])
                    h[k] = decay * h[k] + dt * x["B"][n, g, k, step] * x["u"][n, i, step]
                    total += x["C"][n, g, k, step] * h[k]
                if "D" in x:
                    total += x["D"][i] * x["u"][n, i, step]
                if "z" in x:
                    gate = x["z"][n, i, step]
                    total *= gate / (1 + math.exp(-gate))
                y[n, i, step] = total
    return torch.from_numpy(y)


@pytest.mark.parametrize("softplus", [False, True])
@pytest.mark.parametrize("without", [(), ("z",), ("D",), ("delta_bias",), ("D", "z")], ids=str)
def test_both_scans_follow_the_paper_s_recurrence(without: tuple[str, ...], softplus: bool) -> None:
    """The two scans could agree with each other and both be wrong."""
    given = inputs(2, 3, 35, 4, without=without, softplus=softplus)
    exact = by_hand(given, softplus)
    wide = {name: value.double() for name, value in given.items()}
    assert_near(reference(**wide, softplus=softplus), exact, "reference", 1e-13)
    assert_near(cpu(**given, softplus=softplus), exact, "cpu", TOLERANCE[torch.float32])


DIRECTIONS = ((True,), (False, True), (True, False), (True, True), (False, True, False))


@pytest.mark.parametrize("scan", [reference, cpu], ids=["reference", "cpu"])
@pytest.mark.parametrize("reverse", DIRECTIONS, ids=str)
def test_each_group_of_channels_has_its_own_projections_and_direction(
    scan: SelectiveScan, reverse: tuple[bool, ...]
) -> None:
    """Two directions share one launch: neither may read the other's B, C or order of steps."""
    given = inputs(2, 2 * len(reverse), 35, 4, groups=len(reverse))
    exact = by_hand(given, True, reverse)
    y = scan(**given, softplus=True, reverse=reverse)
    assert_near(y, exact, "y", TOLERANCE[torch.float32])


@pytest.mark.parametrize("reverse", [(False,), (True,), (False, True)], ids=str)
@pytest.mark.parametrize("softplus", [False, True])
def test_the_reference_s_gradients_are_its_differences(
    softplus: bool, reverse: tuple[bool, ...]
) -> None:
    """Gradients of the other scans are checked against these."""
    given = inputs(2, 2, 4, 3, softplus=softplus, groups=len(reverse))
    leaves = {name: value.double().requires_grad_() for name, value in given.items()}
    assert torch.autograd.gradcheck(
        lambda *values: reference(*values, softplus=softplus, reverse=reverse),
        tuple(leaves.values()),
    )


def test_half_precision_inputs_keep_a_float32_state() -> None:
    """A state in bfloat16 would forget within a few steps."""
    given = {name: value.bfloat16() for name, value in inputs(2, 4, 97, 4).items()}
    y = reference(**given, softplus=True)
    assert y.dtype == torch.bfloat16
    exact = reference(**{name: value.double() for name, value in given.items()}, softplus=True)
    assert_near(y, exact, "y", TOLERANCE[torch.bfloat16])


@pytest.mark.parametrize("scan", [reference, cpu], ids=["reference", "cpu"])
def test_the_official_package_s_reference_agrees(scan: SelectiveScan) -> None:
    """Where mamba_ssm is installed: a checkpoint of either must mean the same model."""
    official = pytest.importorskip(
        "mamba_ssm.ops.selective_scan_interface", exc_type=ImportError
    ).selective_scan_ref

    def adapted(
        u: torch.Tensor,
        *rest: torch.Tensor,
        softplus: bool,
        reverse: tuple[bool, ...],
        **named: torch.Tensor,
    ):  # type: ignore[no-untyped-def]
        assert reverse == (False,)
        return official(u, *rest, delta_softplus=softplus, **named)

    given = inputs(2, 32, 97, 16)
    y, grads = run(scan, given, softplus=True)
    official_y, official_grads = run(adapted, given, softplus=True)
    assert_near(y, official_y, "y", 1e-5)
    for name, grad in grads.items():
        assert_near(grad, official_grads[name], f"d{name}", 1e-5)
