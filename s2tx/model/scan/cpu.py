"""The selective scan for the CPU: the kernels of ``cpu_kernels`` as one differentiable step.

Letters: N sequences, I channels, L steps, K state, G groups of channels, J blocks of channels (the
same number in each group), T chunks of steps but the first, W lanes of a block.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from s2tx.model.compiled import GROUPS, share
from s2tx.model.compiled.recurrence import CHUNK, LANES
from s2tx.model.scan.checks import check, check_axes
from s2tx.model.scan.cpu_kernels import kernels


class _Scan(torch.autograd.Function):
    """The kernels as one differentiable step; float32 in, float32 out."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
        z: Tensor | None, delta_bias: Tensor | None, softplus: bool, reverse: tuple[bool, ...],
    ) -> Tensor:  # fmt: skip
        y, states = _run(u, delta, A, B, C, D, z, delta_bias, softplus, reverse, keep=True)
        ctx.save_for_backward(u, delta, A, B, C, D, z, delta_bias, states)
        ctx.softplus, ctx.reverse = softplus, reverse
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        u, delta, A, B, C, D, z, delta_bias, states = ctx.saved_tensors
        (dy,) = grads
        (N, I, L), K, G = u.shape, A.shape[1], B.shape[1]  # noqa: E741
        blocks, shares = states.shape[0] // G, _shares(N, L, K)
        du, ddelta = torch.empty_like(u), torch.empty_like(delta)
        dz = u.new_empty(0, 0, 0) if z is None else torch.empty_like(z)
        dA, dD, dbias = u.new_empty(shares, I, K), u.new_empty(shares, I), u.new_empty(shares, I)
        dB, dC = (u.new_empty(blocks, N, G, L, K).transpose(3, 4) for _ in range(2))
        share(
            kernels()[1], shares * len(states),
            *_arguments(u, delta, A, B, C, D, z, delta_bias, ctx.softplus, ctx.reverse),
            states, dy, du, ddelta, dA, dB, dC, dD, dz, dbias,
        )  # fmt: skip
        return (
            du,
            ddelta,
            dA.sum(0),
            dB[0] if blocks == 1 else dB.sum(0),
            dC[0] if blocks == 1 else dC.sum(0),
            None if D is None else dD.sum(0),
            None if z is None else dz,
            None if delta_bias is None else dbias.sum(0),
            None,
            None,
        )


def _arguments(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None,
    delta_bias: Tensor | None, softplus: bool, reverse: tuple[bool, ...],
) -> tuple[Any, ...]:  # fmt: skip
    """What both kernels start with; an absent skip or bias is zeros, an absent gate is a flag."""
    zeros = u.new_zeros(u.shape[1])
    skip, bias = zeros if D is None else D, zeros if delta_bias is None else delta_bias
    gate = u.new_empty(0, 0, 0) if z is None else z
    backwards, shares = torch.tensor(reverse), _shares(len(u), u.shape[2], A.shape[1])
    return u, delta, A, B, C, skip, gate, bias, softplus, z is not None, backwards, shares


def _shares(N: int, L: int, K: int) -> int:
    """How many tasks share the sequences: each has sums of size (I, K), fewer than (N, I, L)."""
    return min(N, GROUPS, max(1, N * L // K))


def _run(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None,
    delta_bias: Tensor | None, softplus: bool, reverse: tuple[bool, ...], keep: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The output, and the states before each chunk but the first: (G * J, N, T, K, W)."""
    (N, I, L), K, G = u.shape, A.shape[1], len(reverse)  # noqa: E741
    y = u.new_empty(N, L, I).transpose(1, 2)  # the layout of the linear map that follows
    blocks = G * -(-I // G // LANES)
    states = u.new_empty(blocks, N if keep else 0, -(-L // CHUNK) - 1, K, LANES)
    arguments = _arguments(u, delta, A, B, C, D, z, delta_bias, softplus, reverse)
    share(kernels()[0], arguments[-1] * blocks, *arguments, y, states)
    return y, states


def _check(u: Tensor, A: Tensor, groups: int, others: dict[str, Tensor | None]) -> None:
    """Refuse what the kernels, which check no bounds, would read wrongly."""
    check_axes(u, A)
    I = u.shape[1]  # noqa: E741
    if groups < 1 or I % groups:
        raise ValueError(f"reverse names {groups} groups, into which {I} channels cannot be cut")
    for name, value in {"u": u, "A": A, **others}.items():
        if value is None:
            continue
        if value.device.type != "cpu":
            raise ValueError(f"the cpu scan got {name} on {value.device}: set runtime.scan to auto")
    check("cpu", u, A, groups, others)


def _float(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.float()


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    softplus: bool = False,
    reverse: tuple[bool, ...] = (False,),
) -> Tensor:
    """See ``s2tx.model.scan.reference.selective_scan``: same arguments, same meaning.

    Arrays of any strides are read in place. Half-precision inputs are computed in float32. The
    first call on a machine compiles for some seconds.

    Raises:
        TypeError: an input is in a type wider than float32, or no floating point.
        ValueError: an input has the wrong shape, or is not on the CPU.
    """
    others = {"delta": delta, "B": B, "C": C, "D": D, "z": z, "delta_bias": delta_bias}
    _check(u, A, len(reverse), others)
    inputs = (
        u.float(), delta.float(), A.float(), B.float(), C.float(),
        _float(D), _float(z), _float(delta_bias),
    )  # fmt: skip
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs):
        y: Tensor = _Scan.apply(*inputs, softplus, reverse)  # type: ignore[no-untyped-call]
    else:
        y = _run(*inputs, softplus, reverse, keep=False)[0]
    return y.to(u.dtype)
