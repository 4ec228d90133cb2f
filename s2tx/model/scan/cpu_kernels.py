"""What Numba compiles for the CPU scan: the forward and the backward loop, each fused into one.

Nothing of the size (N, I, L, K) is ever kept. The forward pass stores the state once every
``CHUNK`` steps; the backward pass takes the chunks last to first, and runs each forward again into
a small scratch that stays in the cache.

One task is a few sequences, a share, times a block of up to ``LANES`` channels of one group; the
lanes are what the compiler vectorises. A group that runs against time is read and written from its
last step to its first. How the work is cut depends on shapes alone, and every sum over tasks runs
in a fixed order, so the same inputs give the same bits whatever the number of threads.

Read it from the bottom: ``kernels``, the two launches, their tasks, the steps of one chunk.
Letters: N sequences, I channels, L steps, K state, G groups of channels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from s2tx.model.compiled import REORDER, compiled, inlined
from s2tx.model.compiled.elementary import ONE, ZERO, sigmoid, softplus_of
from s2tx.model.compiled.recurrence import (
    CHUNK,
    DINTO,
    DOUT_OF,
    DRATE,
    DRAW,
    DRIVE,
    DSTATE,
    DT,
    DX,
    GATE,
    INTO,
    LANES,
    LN2,
    LOG2_E,
    OUT,
    OUT_OF,
    RATE,
    RAW,
    STATE,
    STEP,
    SUM_A,
    SUM_B,
    G,
    X,
    Y,
    forward_steps,
    forward_steps_kept,
    reverse_steps,
)


@inlined(fastmath=REORDER)
def _prepare(step: Any, skip: Any, offset: Any, size: int, softplus: bool) -> None:
    """From x and raw step sizes: the step sizes, the drive, and y's first term."""
    W = step.shape[2]
    for t in range(size):
        for i in range(W):
            step[RAW, t, i] += offset[i]
            step[Y, t, i] = skip[i] * step[X, t, i]
    for t in range(size):
        if softplus:
            for i in range(W):
                step[DT, t, i] = softplus_of(step[RAW, t, i])
        else:
            for i in range(W):
                step[DT, t, i] = step[RAW, t, i]
        for i in range(W):
            step[DRIVE, t, i] = step[DT, t, i] * step[X, t, i]


# --- One task: sequences first..last, channels base..base + width of a group --------------------
# Lanes past ``width`` hold zeros and are never written out. Step t of a chunk stands at
# ``origin + t * way``.


@inlined()
def _load(
    source: Any, origin: int, way: int, size: int, base: int, width: int, step: Any, row: int
) -> None:
    """Copy ``size`` steps of ``source[base:base + width]`` (channels, steps) into ``step[row]``."""
    low = min(origin, origin + (size - 1) * way)
    part = source[base : base + width, low : low + size]
    for t in range(size):
        s = t if way > 0 else size - 1 - t
        if part.strides[0] == 4:  # tells the compiler
            for i in range(width):
                step[row, s, i] = part[i, t]
        else:
            for i in range(width):
                step[row, s, i] = part[i, t]


@inlined()
def _store(
    step: Any, row: int, origin: int, way: int, size: int, base: int, width: int, target: Any
) -> None:
    low = min(origin, origin + (size - 1) * way)
    part = target[base : base + width, low : low + size]
    for t in range(size):
        s = t if way > 0 else size - 1 - t
        if part.strides[0] == 4:
            for i in range(width):
                part[i, t] = step[row, s, i]
        else:
            for i in range(width):
                part[i, t] = step[row, s, i]


@inlined()
def _load_both(B: Any, C: Any, origin: int, way: int, size: int, both: Any) -> None:
    """Copy ``size`` steps of B and C (K, steps)."""
    for t in range(size):
        for k in range(both.shape[2]):
            both[INTO, t, k] = B[k, origin + t * way]
            both[OUT_OF, t, k] = C[k, origin + t * way]


@inlined()
def _vector(source: Any, base: int, width: int, W: int) -> Any:
    """``width`` values of a vector over channels, and zeros up to W."""
    lanes = np.zeros(W, np.float32)
    for i in range(width):
        lanes[i] = source[base + i]
    return lanes


@inlined(fastmath=REORDER)
def _forward_task(
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any, softplus: bool,
    gated: bool, first: int, last: int, group: int, base: int, width: int, back: bool,
    y: Any, states: Any,
) -> None:  # fmt: skip
    L, K, W, way = u.shape[2], A.shape[1], states.shape[3], -1 if back else 1
    step = np.zeros((STEP, CHUNK, W), np.float32)
    lane = np.zeros((4, K, W), np.float32)
    both = np.empty((4, CHUNK, K), np.float32)
    for k in range(K):
        for i in range(width):
            lane[RATE, k, i] = A[base + i, k] * LOG2_E
    skip, offset = _vector(D, base, width, W), _vector(bias, base, width, W)
    for n in range(first, last):
        lane[STATE] = ZERO
        for start in range(0, L, CHUNK):
            size = min(CHUNK, L - start)
            origin = L - 1 - start if back else start
            if start > 0 and states.shape[0] > n:
                states[n, start // CHUNK - 1] = lane[STATE]
            _load(u[n], origin, way, size, base, width, step, X)
            _load(delta[n], origin, way, size, base, width, step, RAW)
            _load_both(B[n, group], C[n, group], origin, way, size, both)
            _prepare(step, skip, offset, size, softplus)
            forward_steps(step, lane, both, 0, size)
            if gated:
                _load(z[n], origin, way, size, base, width, step, GATE)
                for t in range(size):
                    for i in range(W):
                        gate = step[GATE, t, i]
                        step[Y, t, i] *= gate * sigmoid(gate)
            _store(step, Y, origin, way, size, base, width, y[n])


@inlined(fastmath=REORDER)
def _backward_task(
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any, softplus: bool,
    gated: bool, first: int, last: int, group: int, base: int, width: int, back: bool,
    states: Any, dy: Any, du: Any, ddelta: Any, dA: Any, dB: Any, dC: Any, dD: Any, dz: Any,
    dbias: Any,
) -> None:  # fmt: skip
    L, K, W, way = u.shape[2], A.shape[1], states.shape[3], -1 if back else 1
    step = np.zeros((STEP, CHUNK, W), np.float32)
    lane = np.zeros((4, K, W), np.float32)
    both = np.empty((4, CHUNK, K), np.float32)
    past = np.empty((2, CHUNK, K, W), np.float32)
    for k in range(K):
        for i in range(width):
            lane[RATE, k, i] = A[base + i, k] * LOG2_E
    skip, offset = _vector(D, base, width, W), _vector(bias, base, width, W)
    dskip, doffset = np.zeros(W, np.float32), np.zeros(W, np.float32)
    for n in range(first, last):
        lane[DSTATE] = ZERO
        for chunk in range((L - 1) // CHUNK, -1, -1):
            start = chunk * CHUNK
            size = min(CHUNK, L - start)
            origin = L - 1 - start if back else start
            if chunk > 0:
                lane[STATE] = states[n, chunk - 1]
            else:
                lane[STATE] = ZERO
            _load(u[n], origin, way, size, base, width, step, X)
            _load(delta[n], origin, way, size, base, width, step, RAW)
            _load(dy[n], origin, way, size, base, width, step, G)
            _load_both(B[n, group], C[n, group], origin, way, size, both)
            _prepare(step, skip, offset, size, softplus)
            if gated:
                _load(z[n], origin, way, size, base, width, step, GATE)
                for t in range(size):
                    for i in range(W):
                        gate, g = step[GATE, t, i], step[G, t, i]
                        open_ = sigmoid(gate)
                        step[G, t, i] = g * gate * open_
                        step[OUT, t, i] = g * open_ * (ONE + gate * (ONE - open_))
            both[DINTO:] = ZERO
            forward_steps_kept(step, lane, both, past, 0, size)
            reverse_steps(step, lane, both, past, 0, size)
            for t in range(size):
                for k in range(K):
                    dB[n, group, k, origin + t * way] = both[DINTO, t, k]
                    dC[n, group, k, origin + t * way] = both[DOUT_OF, t, k]
            for t in range(size):
                for i in range(W):
                    x, dt, s = step[X, t, i], step[DT, t, i], step[SUM_B, t, i]
                    step[OUT, t, i] *= step[Y, t, i]
                    step[DX, t, i] = s * dt + step[G, t, i] * skip[i]
                    step[DRAW, t, i] = s * x + step[SUM_A, t, i] * LN2
                if softplus:
                    for i in range(W):
                        step[DRAW, t, i] *= sigmoid(step[RAW, t, i])
                for i in range(W):
                    dskip[i] += step[G, t, i] * step[X, t, i]
                    doffset[i] += step[DRAW, t, i]
            _store(step, DX, origin, way, size, base, width, du[n])
            _store(step, DRAW, origin, way, size, base, width, ddelta[n])
            if gated:
                _store(step, OUT, origin, way, size, base, width, dz[n])
    for i in range(width):
        dD[base + i], dbias[base + i] = dskip[i], doffset[i]
        for k in range(K):
            dA[base + i, k] = lane[DRATE, k, i]


# --- The two launches ---------------------------------------------------------------------------


@inlined()
def _block(block: int, groups: int, channels: int) -> tuple[int, int, int]:
    """Of a block of channels, its group, its first channel and its width."""
    size = channels // groups
    each = (size + LANES - 1) // LANES
    group, first = block // each, block % each * LANES
    return group, group * size + first, min(LANES, size - first)


def _forward(
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any, softplus: bool,
    gated: bool, reverse: Any, shares: int, y: Any, states: Any, begin: int, end: int,
) -> None:  # fmt: skip
    N, I, blocks = u.shape[0], u.shape[1], states.shape[0]  # noqa: E741
    for task in range(begin, end):
        share, block = task // blocks, task % blocks
        first, last = share * N // shares, (share + 1) * N // shares
        group, base, width = _block(block, reverse.shape[0], I)
        _forward_task(
            u, delta, A, B, C, D, z, bias, softplus, gated, first, last, group, base, width,
            reverse[group], y, states[block],
        )  # fmt: skip


def _backward(
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any, softplus: bool,
    gated: bool, reverse: Any, shares: int, states: Any, dy: Any, du: Any, ddelta: Any, dA: Any,
    dB: Any, dC: Any, dD: Any, dz: Any, dbias: Any, begin: int, end: int,
) -> None:  # fmt: skip
    """``dA``, ``dD``, ``dbias`` have a leading axis of shares, ``dB`` and ``dC`` one of the blocks
    of a group."""
    N, I, blocks = u.shape[0], u.shape[1], states.shape[0]  # noqa: E741
    for task in range(begin, end):
        share, block = task // blocks, task % blocks
        part = block % dB.shape[0]
        first, last = share * N // shares, (share + 1) * N // shares
        group, base, width = _block(block, reverse.shape[0], I)
        _backward_task(
            u, delta, A, B, C, D, z, bias, softplus, gated, first, last, group, base, width,
            reverse[group], states[block], dy, du, ddelta, dA[share], dB[part], dC[part],
            dD[share], dz, dbias[share],
        )  # fmt: skip


@functools.cache
def kernels() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The forward and the backward launch, compiled for arrays of any strides."""
    f, flag, count = numba.float32, numba.boolean, numba.intp
    f1, f2, f3, f4, f5 = f[:], f[:, :], f[:, :, :], f[:, :, :, :], f[:, :, :, :, :]
    inputs = (f3, f3, f2, f4, f4, f1, f3, f1, flag, flag, flag[:], count)
    grads = (f3, f3, f3, f5, f5, f2, f3, f2)
    tasks: tuple[Any, ...] = (count, count)
    options: dict[str, Any] = {"nogil": True, "fastmath": REORDER}
    forward = compiled(*inputs, f3, f5, *tasks, **options)(_forward)
    backward = compiled(*inputs, f5, f3, *grads, *tasks, **options)(_backward)
    return forward, backward
