"""The residual sublayers around the scan: one meaning, two implementations, one place that chooses.

A sublayer is a function of tokens and weights: ``reference`` in plain torch for any device and
type, ``cpu`` compiled for the short sequences and narrow heads of this model. As with the scan, the
choice is made once, when a model is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from s2tx.params import RuntimeParams


class AttentionWeights(NamedTuple):
    """Layer norms, projections and biases; E is the width.

    Attributes:
        gain: (E,) of the norm before the queries, and before keys and values without a context;
            None for no norm.
        bias: (E,), or None.
        context_gain: (E,) of the norm of the context; None for no norm, or no context.
        context_bias: (E,), or None.
        query: (E, E).
        query_bias: (E,).
        key_value: (2 E, E), keys first.
        key_value_bias: (2 E,).
        out: (E, E).
        out_bias: (E,).
    """

    gain: Tensor | None
    bias: Tensor | None
    context_gain: Tensor | None
    context_bias: Tensor | None
    query: Tensor
    query_bias: Tensor
    key_value: Tensor
    key_value_bias: Tensor
    out: Tensor
    out_bias: Tensor


class FeedForwardWeights(NamedTuple):
    """Layer norm (E,), (E,), or None; expansion (F, E), (F,); contraction (E, F), (E,)."""

    gain: Tensor | None
    bias: Tensor | None
    expand: Tensor
    expand_bias: Tensor
    contract: Tensor
    contract_bias: Tensor


class Attend(Protocol):
    """See ``reference.attend``."""

    def __call__(
        self,
        x_NQE: Tensor,
        context_NSE: Tensor | None,
        weights: AttentionWeights,
        heads: int,
        window: int | None,
        dropout: float,
        barred_NS: Tensor | None = None,
    ) -> Tensor: ...


class FeedForward(Protocol):
    """See ``reference.feed_forward``."""

    def __call__(self, x: Tensor, weights: FeedForwardWeights, dropout: float) -> Tensor: ...


class Dropout(Protocol):
    """See ``reference.dropout``."""

    def __call__(self, x: Tensor, rate: float) -> Tensor: ...


@dataclass(frozen=True)
class Sublayers:
    """One implementation of all of them."""

    attend: Attend
    feed_forward: FeedForward
    dropout: Dropout


class Sizes(Protocol):
    """What of a network decides which implementation can run it."""

    @property
    def width(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def feed_forward(self) -> int: ...


def resolve(runtime: RuntimeParams, device: torch.device, model: Sizes) -> str:
    """The implementation that ``runtime.layers`` means: ``auto`` is the fastest that works.

    The compiled one computes in float32, so ``bf16-mixed`` takes the reference, whose products go
    to the processor's bfloat16 units.
    """
    if runtime.layers != "auto":
        return runtime.layers
    fits = _misfit(model) is None and runtime.precision == "32-true"
    return "cpu" if device.type == "cpu" and fits else "reference"


def choose(runtime: RuntimeParams, device: torch.device, model: Sizes) -> Sublayers:
    """The sublayers that ``runtime.layers`` means for ``device`` and the sizes of ``model``.

    Raises:
        ImportError: Numba is not installed; the message names the command.
        ValueError: asked for by name, and cannot run on that device, at that precision or size.
    """
    if resolve(runtime, device, model) == "reference":
        from s2tx.model.sublayers import reference

        return reference.SUBLAYERS
    why = _misfit(model)
    if device.type != "cpu":
        why = f"the device is {device}"
    elif runtime.precision != "32-true":
        why = f"runtime.precision is {runtime.precision}"
    if why is not None:
        raise ValueError(f"runtime.layers is cpu, but {why}: set runtime.layers to auto")
    from s2tx.model.sublayers import cpu

    return cpu.SUBLAYERS


def _misfit(model: Sizes) -> str | None:
    """What keeps the compiled sublayers from running ``model``; None if nothing does."""
    head = model.width // model.heads
    if head % 4:
        return f"model.width / model.heads is {head}, no multiple of 4"
    if model.feed_forward % 4:
        return f"model.feed_forward is {model.feed_forward}, no multiple of 4"
    return None
