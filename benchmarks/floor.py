"""The least that a training step of S2TX has to do, counted from its sizes.

Operations are multiply-adds, counted without recomputation: no schedule needs fewer. Bytes are the
inputs, what the optimiser keeps of the parameters, and for each sublayer its input, written in the
forward pass and read in the backward pass: no schedule that does not run a sublayer's past again
moves fewer. At the machine's best rates of each, measured and not quoted, neither can be beaten;
the larger of the two times is the floor. (It is none where the head alone reads the newest global
token alone, and the last block could leave out the others: they are counted.)

Letters as in ``s2tx/model/s2tx.py`` and ``s2tx/model/mamba.py``.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

from s2tx.model.patching import Patches
from s2tx.params import ModelParams, WindowParams

# Multiply-adds of an element's function, forward and backward, as the kernels write them out.
EXP = 8  # range reduction and a polynomial of degree 5
NORM = 4 + 8
GELU = (EXP + 6) + (EXP + 4)
SILU = (EXP + 3) + 4
SOFTPLUS = (EXP + 8) + 2
DROPOUT = 1 + 1
RESIDUAL = 1 + 1
SOFTMAX = (EXP + 2) + 3
SCAN = (EXP + 4) + 9  # of each step, channel and state


@dataclass(frozen=True)
class Work:
    """What a part of the network has to do in one step.

    Attributes:
        forward: multiply-adds of matrix products, attention and convolutions.
        backward: those of their gradients.
        scan: multiply-adds of the scan, both ways.
        elementwise: all others, both ways.
        saved: numbers kept from the forward to the backward pass.
    """

    forward: int = 0
    backward: int = 0
    scan: int = 0
    elementwise: int = 0
    saved: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, times: int) -> Work:
        return Work(*(times * each for each in astuple(self)))

    @property
    def multiply_adds(self) -> int:
        return self.forward + self.backward + self.scan + self.elementwise


def linear(rows: int, width_in: int, width_out: int, first: bool = False) -> Work:
    """A linear map; the ``first`` one needs no gradient of its input."""
    products = rows * width_in * width_out
    return Work(forward=products, backward=products * (1 if first else 2))


def products_of_attention(sequences: int, pairs: int, width: int, heads: int) -> Work:
    """Scores and what is read, for the pairs that may see each other; softmax over them."""
    products = sequences * pairs * width
    softmax = sequences * pairs * heads * SOFTMAX
    return Work(forward=2 * products, backward=4 * products, elementwise=softmax)


def pairs_of_band(size: int, window: int) -> int:
    """How many pairs of tokens are within ``window // 2`` of each other."""
    reach = window // 2
    return sum(min(place + reach, size - 1) - max(place - reach, 0) + 1 for place in range(size))


def embedding(tokens: int, patch: int, width: int) -> Work:
    """Patches to tokens, with a position and dropout."""
    extra = tokens * width * (RESIDUAL + DROPOUT)
    return linear(tokens, patch, width, first=True) + Work(elementwise=extra)


def self_attention(sequences: int, size: int, window: int | None, width: int, heads: int) -> Work:
    """Norm, four projections, attention inside the window, dropout, residual."""
    tokens = sequences * size
    pairs = size**2 if window is None else pairs_of_band(size, window)
    return (
        linear(tokens, width, 4 * width)
        + products_of_attention(sequences, pairs, width, heads)
        + _around(tokens, width)
    )


def cross_attention(sequences: int, size: int, context: int, width: int, heads: int) -> Work:
    """The same, with keys and values from a context that has a norm of its own."""
    return (
        linear(sequences * size, width, 2 * width)
        + linear(sequences * context, width, 2 * width)
        + products_of_attention(sequences, size * context, width, heads)
        + _around(sequences * size, width)
        + Work(elementwise=sequences * context * width * NORM)
    )


def feed_forward(tokens: int, width: int, hidden: int) -> Work:
    """Norm, two maps with GELU between them, dropout, residual."""
    return (
        linear(tokens, width, hidden)
        + linear(tokens, hidden, width)
        + _around(tokens, width)
        + Work(elementwise=tokens * hidden * GELU)
    )


def mamba(tokens: int, width: int, state: int, conv: int, expand: int, directions: int) -> Work:
    """Norm, Mamba in each direction, dropout, residual."""
    inner, rank = expand * width, math.ceil(width / 16)
    one = (
        linear(tokens, width, 2 * inner)
        + linear(tokens, inner, rank + 2 * state)
        + linear(tokens, rank, inner)
        + linear(tokens, inner, width)
        + Work(forward=tokens * inner * conv, backward=2 * tokens * inner * conv)
        + Work(scan=tokens * inner * state * SCAN)
        + Work(elementwise=tokens * inner * (2 * SILU + SOFTPLUS))
    )
    return one * directions + _around(tokens, width)


def _around(tokens: int, width: int) -> Work:
    """What every residual sublayer has around it; its input is kept for the backward pass."""
    size = tokens * width
    return Work(elementwise=size * (NORM + DROPOUT + RESIDUAL), saved=size)


def parts(
    params: ModelParams, window: WindowParams, batch: int, n_variates: int
) -> dict[str, Work]:
    """The network's parts, in the order of its forward pass."""
    sequences, width, heads = batch * n_variates, params.width, params.heads
    local = Patches.by_stride(window.short_look_back, params.local_patch, params.local_stride)
    if params.global_stride is not None:
        coarse = Patches.by_stride(window.look_back, params.global_patch, params.global_stride)
    else:
        assert params.global_patches is not None
        coarse = Patches.by_count(window.look_back, params.global_patch, params.global_patches)
    has_global = params.cross_attention or params.head_context
    context = coarse.count if has_global else 0
    fine, all_context = sequences * local.count, sequences * context
    seen = params.window if params.local_window else None
    tokens = context if params.head_tokens == "all" else 1
    read = (local.count + (tokens if params.head_context else 0)) * width
    found = {
        "patches to tokens": embedding(fine, local.patch, width)
        + embedding(all_context, coarse.patch, width),
        "Mamba": mamba(
            all_context, width, params.state, params.conv, params.expand, 1 + params.bidirectional
        )
        * params.m_layers,
        "feed-forward, global": feed_forward(all_context, width, params.feed_forward)
        * params.m_layers,
        "attention, local": self_attention(sequences, local.count, seen, width, heads)
        * params.n_layers,
        "attention, cross": cross_attention(sequences, local.count, context, width, heads)
        * (params.n_layers * params.cross_attention),
        "feed-forward, local": feed_forward(fine, width, params.feed_forward) * params.n_layers,
        "norms and head": linear(sequences, read, window.horizon)
        + Work(elementwise=(fine + all_context) * width * NORM, saved=sequences * read),
        "linear member": linear(sequences, window.look_back, window.horizon, first=True)
        * params.linear_member,
    }
    return {name: work for name, work in found.items() if work.multiply_adds}


def bytes_moved(
    works: dict[str, Work], n_parameters: int, window: WindowParams, batch: int, n_variates: int
) -> int:
    """Float32 bytes read or written in one step, at the least.

    Of a parameter: itself, AdamW's two moments and the running average are read and written, its
    gradient written and read.
    """
    data = batch * n_variates * (window.look_back + 2 * window.horizon)
    saved = 2 * sum(work.saved for work in works.values())
    return 4 * (data + 10 * n_parameters + saved)


def floor_seconds(
    multiply_adds: int, moved: int, flops: float, bandwidth: float
) -> dict[str, float]:
    """Seconds at the ceilings: of the operations, of the bytes, and the larger of the two."""
    compute, memory = 2 * multiply_adds / flops, moved / bandwidth
    return {"compute_s": compute, "memory_s": memory, "floor_s": max(compute, memory)}
