"""Inputs of a scan as a model makes them, and how close is close enough."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from s2tx.model.scan import SelectiveScan

NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")

# Largest error as a share of the largest exact value. float32 rounds at 6e-8 and a sum over 287
# steps keeps about one digit less; bfloat16 results are rounded once, at 2**-9. Where a sum cancels
# to nearly nothing, its error is still that of its terms: no scale below FLOOR.
FLOOR = 1.0
TOLERANCE = {torch.float32: 3e-6, torch.bfloat16: 2**-8}

Inputs = dict[str, Tensor]


def inputs(
    N: int,
    I: int,  # noqa: E741
    L: int,
    K: int,
    *,
    seed: int = 0,
    without: Sequence[str] = (),
    softplus: bool = True,
    groups: int = 1,
) -> Inputs:
    """Random float32 inputs in a model's memory layout: transposes and slices of wider arrays.

    Without softplus the step sizes are small and of both signs: states decay and grow.
    """
    step, bias = (1.0, -1.0) if softplus else (0.1, 0.0)
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    u_and_z = normal(N, L, 2 * I).transpose(1, 2)
    projected = normal(N, groups, L, 1 + 2 * K)
    made = {
        "u": u_and_z[:, :I],
        "delta": step * normal(N, L, I).transpose(1, 2),
        "A": -torch.exp(normal(I, K)),
        "B": projected[..., 1 : 1 + K].transpose(2, 3),
        "C": projected[..., 1 + K :].transpose(2, 3),
        "D": normal(I),
        "z": u_and_z[:, I:],
        "delta_bias": step * normal(I) + bias,
    }
    return {name: value for name, value in made.items() if name not in without}


def run(
    scan: SelectiveScan,
    given: Inputs,
    softplus: bool,
    dtype: torch.dtype = torch.float32,
    reverse: tuple[bool, ...] = (False,),
) -> tuple[Tensor, Inputs]:
    """The output, and the gradient of every input for one fixed, uneven gradient of the output."""
    leaves = {name: value.to(dtype).detach().requires_grad_() for name, value in given.items()}
    y = scan(**leaves, softplus=softplus, reverse=reverse)
    N, I, L = y.shape  # noqa: E741
    dy = torch.cos(torch.arange(N * I * L, dtype=torch.float64)).view(N, L, I).transpose(1, 2)
    grads = torch.autograd.grad(y, list(leaves.values()), dy.to(torch.bfloat16).to(dtype))
    return y.detach(), dict(zip(leaves, grads, strict=True))


def assert_near(actual: Tensor, exact: Tensor, what: str, tolerance: float) -> None:
    assert actual.shape == exact.shape, what
    scale = max(exact.abs().max().item(), FLOOR)
    error = (actual.double() - exact.double()).abs().max().item()
    assert error <= tolerance * scale, f"{what}: off by {error:.3g} at a scale of {scale:.3g}"
