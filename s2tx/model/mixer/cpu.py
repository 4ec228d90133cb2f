"""The Mamba mixer for the CPU: the kernels of ``cpu_kernels`` as one differentiable step.

It keeps nothing for its backward pass but its input and a state a chunk. Letters: N sequences,
L steps, G directions, E width, I inner width, K state, R rank of the step size, T chunks of steps
but the first.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from s2tx.model.compiled import share
from s2tx.model.compiled.recurrence import CHUNK, LANES
from s2tx.model.mixer import PASSED, MixerWeights
from s2tx.model.mixer.cpu_kernels import QUAD, STRIP, kernels

SHARES = 16  # at most so many tasks a direction, each with its own sums for all weights


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, reverse: tuple[bool, ...], rank: int, passed: Tensor, x: Tensor, *weights: Tensor
    ) -> Tensor:
        out, states = _run(reverse, rank, passed, x, *weights, keep=True)
        ctx.save_for_backward(passed, x, states, *weights)
        ctx.reverse, ctx.rank = reverse, rank
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        passed, x, states, *weights = ctx.saved_tensors
        G, shares = len(ctx.reverse), min(len(x), SHARES)
        dx = x.new_empty(G, *x.shape)
        sums = [weight.new_zeros(shares, *weight.shape) for weight in weights]
        W_in, _, _, W_x, W_dt, _, _, _, W_out = weights
        turned = (W.transpose(1, 2).contiguous() for W in (W_in, W_x, W_dt, W_out))
        share(
            kernels()[1], G * shares, x, *weights, torch.tensor(ctx.reverse), ctx.rank, shares,
            passed, states, grads[0].contiguous(), *turned, dx, *sums,
        )  # fmt: skip
        return None, None, None, dx.sum(0), *(each.sum(0) for each in sums)


def _run(
    reverse: tuple[bool, ...], rank: int, passed: Tensor, x: Tensor, *weights: Tensor, keep: bool
) -> tuple[Tensor, Tensor]:
    """The output, and the states before each chunk but the first: (G, N, T, K, I)."""
    (N, L, _), G, shares = x.shape, len(reverse), min(len(x), SHARES)
    _, I, K = weights[6].shape  # noqa: E741
    out = x.new_empty(G, *x.shape)
    states = x.new_empty(G, N if keep else 0, max(-(-L // CHUNK) - 1, 0), K, I)
    share(
        kernels()[0], G * shares, x, *weights, torch.tensor(reverse), rank, shares, passed, out,
        states,
    )  # fmt: skip
    return out.sum(0), states


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def _padded(x: Tensor, *sizes: int) -> Tensor:
    """Zeros behind the last axes of ``x``, up to ``sizes``; contiguous."""
    gaps = [
        g for have, want in zip(x.shape[::-1], sizes[::-1], strict=False) for g in (0, want - have)
    ]
    return (F.pad(x, gaps) if any(gaps) else x).contiguous()


def mix(
    x_NLE: Tensor,
    weights: MixerWeights,
    reverse: tuple[bool, ...],
    passed_NL: Tensor | None = None,
) -> Tensor:
    """See ``s2tx.model.mixer.reference.mix`` with the scan ``cpu``: same arguments, same meaning.

    Half-precision inputs are computed in float32. The first call on a machine compiles for half a
    minute.

    Raises:
        TypeError: an input is in a type wider than float32, or no floating point.
        ValueError: an input is not on the CPU, or the convolution has too many taps.
    """
    for value in (x_NLE, *weights):
        if value.device.type != "cpu":
            raise ValueError(
                f"the cpu scan got a tensor on {value.device}: set runtime.scan to auto"
            )
        if value.dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise TypeError(
                f"the cpu scan computes in float32 and got {value.dtype}: "
                f"set runtime.scan to reference"
            )
    if weights.conv.shape[2] > CHUNK:
        raise ValueError(f"model.conv is {weights.conv.shape[2]}, over {CHUNK} taps: set it lower")
    W_in, taps, tap_bias, W_x, W_dt, dt_bias, A, D, W_out = (w.float() for w in weights)
    (G, I, K), (E, R) = A.shape, (W_in.shape[2], W_dt.shape[2])  # noqa: E741
    wide_E, wide_I, wide_R = _up(E, STRIP), _up(I, LANES), _up(R, STRIP)
    wide_P = _up(wide_R + 2 * K, STRIP)
    of_dt, of_BC = torch.split(W_x.transpose(1, 2), [R, 2 * K], dim=2)
    arranged = (
        _padded(W_in.view(G, 2, I, E), wide_I, wide_E).flatten(1, 2).transpose(1, 2).contiguous(),
        _padded(taps.transpose(1, 2), wide_I),
        _padded(tap_bias, wide_I),
        _padded(torch.cat([F.pad(of_dt, (0, wide_R - R)), of_BC], dim=2), wide_I, wide_P),
        _padded(W_dt.transpose(1, 2), wide_R, wide_I),
        _padded(dt_bias, wide_I),
        _padded(A, wide_I, K),
        _padded(D, wide_I),
        _padded(W_out.transpose(1, 2), wide_I, wide_E),
    )
    x, rank = x_NLE.float(), _up(R, QUAD)
    passed = torch.empty(0, 0)
    if passed_NL is not None:
        x = x.masked_fill(passed_NL.unsqueeze(-1), 0.0)
        passed = PASSED * passed_NL.float()
    x, passed = x.contiguous(), passed.contiguous()
    if torch.is_grad_enabled() and any(value.requires_grad for value in (x, *arranged)):
        out: Tensor = _Mix.apply(reverse, rank, passed, x, *arranged)  # type: ignore[no-untyped-call]
    else:
        out = _run(reverse, rank, passed, x, *arranged, keep=False)[0]
    return out.to(x_NLE.dtype)
