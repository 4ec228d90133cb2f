"""The sublayers for the CPU: each one compiled step, forward and backward.

A sublayer keeps nothing for its backward pass but its input and the seed of its dropout.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from s2tx.model.compiled import GROUPS, share
from s2tx.model.sublayers import (
    AttentionWeights,
    FeedForwardWeights,
    Sublayers,
    attention_kernels,
    dropout_kernels,
    feed_forward_kernels,
)

_Chance = tuple[np.ndarray[Any, np.dtype[np.uint32]], np.uint32, np.float32]


def _chance(rate: float) -> _Chance:
    """What a kernel needs for dropout: a seed from torch's generator, the threshold, the scale."""
    if rate == 0:
        return np.zeros(2, np.uint32), np.uint32(0), np.float32(1)
    if not 0 < rate < 1:
        raise ValueError(f"the rate of dropout is {rate}: give 0 or more, and less than 1")
    seed = torch.randint(2**32, (2,)).numpy().astype(np.uint32)
    return seed, np.uint32(rate * 2**32), np.float32(1 / (1 - rate))


def _float32(name: str, *tensors: Tensor | None) -> None:
    for tensor in tensors:
        if tensor is not None and (tensor.dtype != torch.float32 or tensor.device.type != "cpu"):
            raise TypeError(
                f"the compiled {name} takes float32 on the CPU and got {tensor.dtype} on "
                f"{tensor.device}: set runtime.layers to reference"
            )


def _partial(groups: int, *parameters: Tensor) -> list[Tensor]:
    """Zeros for each group's share of the parameters' gradients."""
    return [parameter.new_zeros(groups, *parameter.shape) for parameter in parameters]


def _present(x: Tensor, parameters: Iterable[Tensor | None]) -> list[Tensor]:
    """For a kernel, which takes what is absent as empty."""
    return [x.new_empty(0) if each is None else each.contiguous() for each in parameters]


def _sums(parts: list[Tensor], parameters: Iterable[Tensor | None]) -> list[Tensor | None]:
    """The parameters' gradients from each group's share; None of what is absent."""
    pairs = zip(parts, parameters, strict=True)
    return [None if parameter is None else part.sum(0) for part, parameter in pairs]


# --- Attention ----------------------------------------------------------------------------------


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, heads: int, reach: int, chance: _Chance, barred: Tensor, x: Tensor,
        context: Tensor | None, *weights: Tensor | None,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(barred, x, context, *weights)
        ctx.settings = heads, reach, chance
        return _run_attention(heads, reach, chance, barred, x, context, *weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        heads, reach, chance = ctx.settings
        barred, x, context, *weights = ctx.saved_tensors
        groups = min(len(x), GROUPS)
        forward_and_backward, *given = _attention(x, context, reach, *weights)
        dx, dcontext = torch.empty_like(x), torch.empty_like(given[1])
        parts = _partial(groups, *given[2:])
        share(
            forward_and_backward[1], groups, *given[:-1], heads, *chance, groups,
            barred, grads[0].contiguous(), dx, dcontext, *parts,
        )  # fmt: skip
        read = None if context is None else dcontext
        return None, None, None, None, dx, read, *_sums(parts, weights)


def _attention(
    x: Tensor, context: Tensor | None, reach: int, *weights: Tensor | None
) -> tuple[Any, ...]:
    """Both kernels, then the input, the context and the weights; what is absent is empty."""
    T = attention_kernels.columns(x.shape[1])
    U = T if context is None else attention_kernels.columns(context.shape[1])
    kernels = attention_kernels.kernels(context is not None, reach, T, U)
    read = x.new_empty(0, 0, 0) if context is None else context
    return kernels, x, read, *_present(x, weights)


def _run_attention(
    heads: int, reach: int, chance: _Chance, barred: Tensor, x: Tensor, context: Tensor | None,
    *weights: Tensor | None,
) -> Tensor:  # fmt: skip
    groups, out = min(len(x), GROUPS), torch.empty_like(x)
    forward_and_backward, *given = _attention(x, context, reach, *weights)
    share(forward_and_backward[0], groups, *given, heads, *chance, groups, barred, out)
    return out


def attend(
    x_NQE: Tensor,
    context_NSE: Tensor | None,
    weights: AttentionWeights,
    heads: int,
    window: int | None,
    dropout: float,
    barred_NS: Tensor | None = None,
) -> Tensor:
    """See ``s2tx.model.sublayers.reference.attend``: same arguments, same meaning.

    Raises:
        TypeError: a tensor is not float32 or not on the CPU.
    """
    _float32("attention", x_NQE, context_NSE, *weights)
    x = x_NQE.contiguous()
    context = None if context_NSE is None else context_NSE.contiguous()
    reach = -1 if window is None or context is not None else window // 2
    barred = torch.empty(0, 0, dtype=torch.bool) if barred_NS is None else barred_NS.contiguous()
    given = heads, reach, _chance(dropout), barred, x, context, *weights
    if torch.is_grad_enabled():
        out: Tensor = _Attend.apply(*given)  # type: ignore[no-untyped-call]
        return out
    return _run_attention(*given)


# --- Feed-forward -------------------------------------------------------------------------------


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, chance: _Chance, x: Tensor, *weights: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, *weights)
        ctx.chance = chance
        return _run_feed_forward(chance, x, *weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        x, *weights = ctx.saved_tensors
        groups, given = _groups(x), _present(x, weights)
        dx = torch.empty_like(x)
        parts = _partial(groups, *given)
        share(
            feed_forward_kernels.kernels()[1], groups, x, *given[:-1], *ctx.chance, groups,
            grads[0].contiguous(), dx, *parts,
        )  # fmt: skip
        return None, dx, *_sums(parts, weights)


def _groups(x: Tensor) -> int:
    return max(min(-(-len(x) // feed_forward_kernels.TILE), GROUPS), 1)


def _run_feed_forward(chance: _Chance, x: Tensor, *weights: Tensor | None) -> Tensor:
    groups, out = _groups(x), torch.empty_like(x)
    given = _present(x, weights)
    share(feed_forward_kernels.kernels()[0], groups, x, *given, *chance, groups, out)
    return out


def feed_forward(x: Tensor, weights: FeedForwardWeights, dropout: float) -> Tensor:
    """See ``s2tx.model.sublayers.reference.feed_forward``: same arguments, same meaning.

    Raises:
        TypeError: a tensor is not float32 or not on the CPU.
    """
    _float32("feed-forward", x, *weights)
    tokens = x.contiguous().view(-1, x.shape[-1])
    chance = _chance(dropout)
    if torch.is_grad_enabled():
        out: Tensor = _FeedForward.apply(chance, tokens, *weights)  # type: ignore[no-untyped-call]
    else:
        out = _run_feed_forward(chance, tokens, *weights)
    return out.view_as(x)


# --- Dropout ------------------------------------------------------------------------------------


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, chance: _Chance, x: Tensor) -> Tensor:
        ctx.chance = chance
        return _drop(chance, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        return None, _drop(ctx.chance, grads[0].contiguous())


def _drop(chance: _Chance, x: Tensor) -> Tensor:
    out = torch.empty_like(x)
    share(dropout_kernels.kernel(), GROUPS, x.view(-1), *chance, GROUPS, out.view(-1))
    return out


def dropout(x: Tensor, rate: float) -> Tensor:
    """See ``s2tx.model.sublayers.reference.dropout``: same arguments, same meaning.

    Raises:
        TypeError: ``x`` is not float32 or not on the CPU.
    """
    if rate == 0:
        return x
    _float32("dropout", x)
    out: Tensor = _Dropout.apply(_chance(rate), x.contiguous())  # type: ignore[no-untyped-call]
    return out


SUBLAYERS = Sublayers(attend, feed_forward, dropout)
