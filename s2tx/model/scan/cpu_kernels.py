"""What Numba compiles for the CPU scan: the forward and the backward loop, each fused into one.

Nothing of the size (N, I, L, K) is ever kept. The forward pass stores the state once every
``CHUNK`` steps; the backward pass takes the chunks last to first, and runs each forward again into
a small scratch that stays in the cache.

One task is a few sequences, a share, times a block of up to ``LANES`` channels of one group; the
lanes are what the compiler vectorises. A group that runs against time is read and written from its
last step to its first. How the work is cut depends on shapes alone, and every sum over tasks runs
in a fixed order, so the same inputs give the same bits whatever the number of threads.

Read it from the bottom: ``kernels``, the two launches, their tasks, the elementary functions.
Letters: N sequences, I channels, L steps, K state, G groups of channels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from s2tx.model.compiled import LANES, REORDER, compiled, inlined
from s2tx.model.compiled.elementary import ONE, ZERO, exp, sigmoid, softplus_of

CHUNK = 32  # steps between two stored states

# --- One task: sequences first..last, channels base..base + width of a group --------------------
# Scratch arrays end in the lanes, so that an inner loop is one run over LANES neighbours; what one
# loop reads and writes shares an array, so that the compiler sees that nothing overlaps. Lanes past
# ``width`` hold zeros and are never written out. Step t of a chunk stands at ``origin + t * way``.

_DT, _DRIVE, _Y, _X = 0, 1, 2, 3  # rows of ``step``, the quantities of one step
_G, _RAW, _GATE, _OUT, _SUM_B, _SUM_A, _DX, _DRAW = 4, 5, 6, 7, 8, 9, 10, 11
_A, _H, _DH, _DA = 0, 1, 2, 3  # rows of ``lane``, the quantities of one state index
_DECAY, _BEFORE = 0, 1  # rows of ``past``, what the reverse pass needs of one step


@inlined()
def _load(
    source: Any, origin: int, way: int, size: int, base: int, width: int, step: Any, row: int
) -> None:
    """Copy ``size`` steps of ``source[base:base + width]`` (channels, steps) into ``step[row]``."""
    for t in range(size):
        for i in range(width):
            step[row, t, i] = source[base + i, origin + t * way]


@inlined()
def _store(
    step: Any, row: int, origin: int, way: int, size: int, base: int, width: int, target: Any
) -> None:
    for t in range(size):
        for i in range(width):
            target[base + i, origin + t * way] = step[row, t, i]


@inlined(fastmath=REORDER)
def _prepare(flat: Any, size: int, softplus: bool) -> None:
    """From raw step sizes and x, the step sizes and the drive."""
    if softplus:
        for i in range(size):
            flat[_DT, i] = softplus_of(flat[_RAW, i])
    else:
        for i in range(size):
            flat[_DT, i] = flat[_RAW, i]
    for i in range(size):
        flat[_DRIVE, i] = flat[_DT, i] * flat[_X, i]


@inlined()
def _vector(source: Any, base: int, width: int) -> Any:
    """``width`` values of a vector over channels, and zeros up to LANES."""
    lanes = np.zeros(LANES, np.float32)
    for i in range(width):
        lanes[i] = source[base + i]
    return lanes


@inlined(fastmath=REORDER)
def _forward_task(
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any, softplus: bool,
    gated: bool, first: int, last: int, group: int, base: int, width: int, back: bool,
    y: Any, states: Any,
) -> None:  # fmt: skip
    L, K, way = u.shape[2], A.shape[1], -1 if back else 1
    step = np.zeros((12, CHUNK, LANES), np.float32)
    flat = step.reshape((12, CHUNK * LANES))
    lane = np.zeros((K, 2, LANES), np.float32)
    for k in range(K):
        for i in range(width):
            lane[k, _A, i] = A[base + i, k]
    skip, offset = _vector(D, base, width), _vector(bias, base, width)
    for n in range(first, last):
        lane[:, _H] = ZERO
        for start in range(0, L, CHUNK):
            size = min(CHUNK, L - start)
            origin = L - 1 - start if back else start
            if states.shape[0] > n:
                states[n, start // CHUNK] = lane[:, _H]
            _load(u[n], origin, way, size, base, width, step, _X)
            _load(delta[n], origin, way, size, base, width, step, _RAW)
            for t in range(size):
                for i in range(LANES):
                    step[_RAW, t, i] += offset[i]
                    step[_Y, t, i] = skip[i] * step[_X, t, i]
            _prepare(flat, size * LANES, softplus)
            for t in range(size):
                for k in range(K):
                    b, c = B[n, group, k, origin + t * way], C[n, group, k, origin + t * way]
                    for i in range(LANES):
                        decay = exp(step[_DT, t, i] * lane[k, _A, i])
                        h = decay * lane[k, _H, i] + step[_DRIVE, t, i] * b
                        lane[k, _H, i] = h
                        step[_Y, t, i] += c * h
            if gated:
                _load(z[n], origin, way, size, base, width, step, _GATE)
                for i in range(size * LANES):
                    flat[_Y, i] *= flat[_GATE, i] * sigmoid(flat[_GATE, i])
            _store(step, _Y, origin, way, size, base, width, y[n])


@inlined(fastmath=REORDER)
def _backward_task(
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any, softplus: bool,
    gated: bool, first: int, last: int, group: int, base: int, width: int, back: bool,
    states: Any, dy: Any,
    du: Any, ddelta: Any, dA: Any, dB: Any, dC: Any, dD: Any, dz: Any, dbias: Any,
) -> None:  # fmt: skip
    L, K, way = u.shape[2], A.shape[1], -1 if back else 1
    step = np.zeros((12, CHUNK, LANES), np.float32)
    flat = step.reshape((12, CHUNK * LANES))
    lane = np.zeros((K, 4, LANES), np.float32)
    past = np.empty((CHUNK, K, 2, LANES), np.float32)
    for k in range(K):
        for i in range(width):
            lane[k, _A, i] = A[base + i, k]
    skip, offset = _vector(D, base, width), _vector(bias, base, width)
    dskip, doffset = np.zeros(LANES, np.float32), np.zeros(LANES, np.float32)
    for n in range(first, last):
        lane[:, _DH] = ZERO
        for chunk in range((L - 1) // CHUNK, -1, -1):
            start = chunk * CHUNK
            size = min(CHUNK, L - start)
            origin = L - 1 - start if back else start
            lane[:, _H] = states[n, chunk]
            _load(u[n], origin, way, size, base, width, step, _X)
            _load(delta[n], origin, way, size, base, width, step, _RAW)
            for t in range(size):
                for i in range(LANES):
                    step[_RAW, t, i] += offset[i]
                    step[_Y, t, i] = skip[i] * step[_X, t, i]
            _load(dy[n], origin, way, size, base, width, step, _G)
            _prepare(flat, size * LANES, softplus)
            if gated:
                _load(z[n], origin, way, size, base, width, step, _GATE)
                for i in range(size * LANES):
                    gate, g = flat[_GATE, i], flat[_G, i]
                    open_ = sigmoid(gate)
                    flat[_G, i] = g * gate * open_
                    flat[_OUT, i] = g * open_ * (ONE + gate * (ONE - open_))

            for t in range(size):
                for k in range(K):
                    at = origin + t * way
                    b, c, dc = B[n, group, k, at], C[n, group, k, at], ZERO
                    for i in range(LANES):
                        before = lane[k, _H, i]
                        decay = exp(step[_DT, t, i] * lane[k, _A, i])
                        h = decay * before + step[_DRIVE, t, i] * b
                        past[t, k, _DECAY, i] = decay
                        past[t, k, _BEFORE, i] = before
                        lane[k, _H, i] = h
                        step[_Y, t, i] += c * h
                        dc += step[_G, t, i] * h
                    dC[n, k, at] = dc

            for t in range(size - 1, -1, -1):
                for i in range(LANES):
                    step[_SUM_A, t, i] = ZERO
                    step[_SUM_B, t, i] = ZERO
                for k in range(K):
                    at = origin + t * way
                    b, c, db = B[n, group, k, at], C[n, group, k, at], ZERO
                    for i in range(LANES):
                        decay = past[t, k, _DECAY, i]
                        dh = lane[k, _DH, i] + step[_G, t, i] * c
                        dexponent = dh * past[t, k, _BEFORE, i] * decay
                        lane[k, _DH, i] = dh * decay
                        lane[k, _DA, i] += dexponent * step[_DT, t, i]
                        step[_SUM_A, t, i] += dexponent * lane[k, _A, i]
                        step[_SUM_B, t, i] += dh * b
                        db += dh * step[_DRIVE, t, i]
                    dB[n, k, at] = db

            for i in range(size * LANES):
                x, dt, s = flat[_X, i], flat[_DT, i], flat[_SUM_B, i]
                flat[_OUT, i] *= flat[_Y, i]
                flat[_DX, i] = s * dt
                flat[_DRAW, i] = s * x + flat[_SUM_A, i]
            if softplus:
                for i in range(size * LANES):
                    flat[_DRAW, i] *= sigmoid(flat[_RAW, i])
            for t in range(size):
                for i in range(LANES):
                    step[_DX, t, i] += step[_G, t, i] * skip[i]
                    dskip[i] += step[_G, t, i] * step[_X, t, i]
                    doffset[i] += step[_DRAW, t, i]
            _store(step, _DX, origin, way, size, base, width, du[n])
            _store(step, _DRAW, origin, way, size, base, width, ddelta[n])
            if gated:
                _store(step, _OUT, origin, way, size, base, width, dz[n])
    for i in range(width):
        dD[base + i], dbias[base + i] = dskip[i], doffset[i]
        for k in range(K):
            dA[base + i, k] = lane[k, _DA, i]


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
    gated: bool, reverse: Any, shares: int, y: Any, states: Any,
) -> None:  # fmt: skip
    N, I, blocks = u.shape[0], u.shape[1], states.shape[0]  # noqa: E741
    for task in numba.prange(shares * blocks):
        share, block = task // blocks, task % blocks
        first, last = share * N // shares, (share + 1) * N // shares
        group, base, width = _block(block, reverse.shape[0], I)
        _forward_task(
            u, delta, A, B, C, D, z, bias, softplus, gated, first, last, group, base, width,
            reverse[group], y, states[block],
        )  # fmt: skip


def _backward(
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any, softplus: bool,
    gated: bool, reverse: Any, shares: int, states: Any, dy: Any,
    du: Any, ddelta: Any, dA: Any, dB: Any, dC: Any, dD: Any, dz: Any, dbias: Any,
) -> None:  # fmt: skip
    """``dA``, ``dD``, ``dbias`` have a leading axis of shares, ``dB`` and ``dC`` one of blocks."""
    N, I, blocks = u.shape[0], u.shape[1], states.shape[0]  # noqa: E741
    for task in numba.prange(shares * blocks):
        share, block = task // blocks, task % blocks
        first, last = share * N // shares, (share + 1) * N // shares
        group, base, width = _block(block, reverse.shape[0], I)
        _backward_task(
            u, delta, A, B, C, D, z, bias, softplus, gated, first, last, group, base, width,
            reverse[group], states[block], dy, du, ddelta, dA[share], dB[block], dC[block],
            dD[share], dz, dbias[share],
        )  # fmt: skip


@functools.cache
def kernels() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The forward and the backward launch, compiled for arrays of any strides."""
    f, flag, count = numba.float32, numba.boolean, numba.intp
    f1, f2, f3, f4, f5 = f[:], f[:, :], f[:, :, :], f[:, :, :, :], f[:, :, :, :, :]
    inputs = (f3, f3, f2, f4, f4, f1, f3, f1, flag, flag, flag[:], count)
    grads = (f3, f3, f3, f4, f4, f2, f3, f2)
    parallel: dict[str, Any] = {"parallel": True, "fastmath": REORDER}
    forward = compiled(*inputs, f3, f5, **parallel)(_forward)
    backward = compiled(*inputs, f5, f3, *grads, **parallel)(_backward)
    return forward, backward
