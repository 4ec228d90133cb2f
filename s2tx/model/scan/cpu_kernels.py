"""What Numba compiles for the CPU scan: the forward and the backward loop, each fused into one.

Nothing of the size (N, I, L, K) is ever kept. The forward pass stores the state once every
``CHUNK`` steps; the backward pass takes the chunks last to first, and runs each forward again into
a small scratch that stays in the cache.

One task is a few sequences times ``LANES`` channels; the lanes are what the compiler vectorises.
How the work is cut depends on shapes alone, and every sum over tasks runs in a fixed order, so the
same inputs give the same bits whatever the number of threads.

Read it from the bottom: ``kernels``, the two launches, their tasks, the elementary functions.
Letters: N sequences, I channels, L steps, K state.
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

# --- One task: sequences first..last, channels base..base + LANES -------------------------------
# Scratch arrays end in the lanes, so that an inner loop is one run over LANES neighbours; what one
# loop reads and writes shares an array, so that the compiler sees that nothing overlaps. Lanes past
# the last channel hold zeros and are never written out.

_DT, _DRIVE, _Y, _X = 0, 1, 2, 3  # rows of ``step``, the quantities of one step
_G, _RAW, _GATE, _OUT, _SUM_B, _SUM_A, _DX, _DRAW = 4, 5, 6, 7, 8, 9, 10, 11
_A, _H, _DH, _DA = 0, 1, 2, 3  # rows of ``lane``, the quantities of one state index
_DECAY, _BEFORE = 0, 1  # rows of ``past``, what the reverse pass needs of one step


@inlined()
def _load(source: Any, start: int, stop: int, base: int, step: Any, row: int) -> None:
    """Copy ``source[base:, start:stop]`` (channels, steps) into a row of ``step``."""
    for t in range(stop - start):
        for i in range(min(LANES, source.shape[0] - base)):
            step[row, t, i] = source[base + i, start + t]


@inlined()
def _store(step: Any, row: int, start: int, stop: int, base: int, target: Any) -> None:
    for t in range(stop - start):
        for i in range(min(LANES, target.shape[0] - base)):
            target[base + i, start + t] = step[row, t, i]


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
def _vector(source: Any, base: int) -> Any:
    """LANES values of a vector over channels, zeros past its end."""
    lanes = np.zeros(LANES, np.float32)
    for i in range(min(LANES, source.shape[0] - base)):
        lanes[i] = source[base + i]
    return lanes


@inlined(fastmath=REORDER)
def _forward_task(
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any, softplus: bool,
    gated: bool, first: int, last: int, base: int, y: Any, states: Any,
) -> None:  # fmt: skip
    L, K = u.shape[2], A.shape[1]
    step = np.zeros((12, CHUNK, LANES), np.float32)
    flat = step.reshape((12, CHUNK * LANES))
    lane = np.zeros((K, 2, LANES), np.float32)
    for k in range(K):
        for i in range(min(LANES, A.shape[0] - base)):
            lane[k, _A, i] = A[base + i, k]
    skip, offset = _vector(D, base), _vector(bias, base)
    for n in range(first, last):
        lane[:, _H] = ZERO
        for start in range(0, L, CHUNK):
            stop = min(start + CHUNK, L)
            if states.shape[0] > n:
                states[n, base // LANES, start // CHUNK] = lane[:, _H]
            _load(u[n], start, stop, base, step, _X)
            _load(delta[n], start, stop, base, step, _RAW)
            for t in range(stop - start):
                for i in range(LANES):
                    step[_RAW, t, i] += offset[i]
                    step[_Y, t, i] = skip[i] * step[_X, t, i]
            _prepare(flat, (stop - start) * LANES, softplus)
            for t in range(stop - start):
                for k in range(K):
                    b, c = B[n, k, start + t], C[n, k, start + t]
                    for i in range(LANES):
                        decay = exp(step[_DT, t, i] * lane[k, _A, i])
                        h = decay * lane[k, _H, i] + step[_DRIVE, t, i] * b
                        lane[k, _H, i] = h
                        step[_Y, t, i] += c * h
            if gated:
                _load(z[n], start, stop, base, step, _GATE)
                for i in range((stop - start) * LANES):
                    flat[_Y, i] *= flat[_GATE, i] * sigmoid(flat[_GATE, i])
            _store(step, _Y, start, stop, base, y[n])


@inlined(fastmath=REORDER)
def _backward_task(
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any, softplus: bool,
    gated: bool, first: int, last: int, base: int, states: Any, dy: Any,
    du: Any, ddelta: Any, dA: Any, dB: Any, dC: Any, dD: Any, dz: Any, dbias: Any,
) -> None:  # fmt: skip
    L, K = u.shape[2], A.shape[1]
    step = np.zeros((12, CHUNK, LANES), np.float32)
    flat = step.reshape((12, CHUNK * LANES))
    lane = np.zeros((K, 4, LANES), np.float32)
    past = np.empty((CHUNK, K, 2, LANES), np.float32)
    for k in range(K):
        for i in range(min(LANES, A.shape[0] - base)):
            lane[k, _A, i] = A[base + i, k]
    skip, offset = _vector(D, base), _vector(bias, base)
    dskip, doffset = np.zeros(LANES, np.float32), np.zeros(LANES, np.float32)
    for n in range(first, last):
        lane[:, _DH] = ZERO
        for chunk in range((L - 1) // CHUNK, -1, -1):
            start = chunk * CHUNK
            stop = min(start + CHUNK, L)
            lane[:, _H] = states[n, base // LANES, chunk]
            _load(u[n], start, stop, base, step, _X)
            _load(delta[n], start, stop, base, step, _RAW)
            for t in range(stop - start):
                for i in range(LANES):
                    step[_RAW, t, i] += offset[i]
                    step[_Y, t, i] = skip[i] * step[_X, t, i]
            _load(dy[n], start, stop, base, step, _G)
            _prepare(flat, (stop - start) * LANES, softplus)
            if gated:
                _load(z[n], start, stop, base, step, _GATE)
                for i in range((stop - start) * LANES):
                    gate, g = flat[_GATE, i], flat[_G, i]
                    open_ = sigmoid(gate)
                    flat[_G, i] = g * gate * open_
                    flat[_OUT, i] = g * open_ * (ONE + gate * (ONE - open_))

            for t in range(stop - start):
                for k in range(K):
                    b, c, dc = B[n, k, start + t], C[n, k, start + t], ZERO
                    for i in range(LANES):
                        before = lane[k, _H, i]
                        decay = exp(step[_DT, t, i] * lane[k, _A, i])
                        h = decay * before + step[_DRIVE, t, i] * b
                        past[t, k, _DECAY, i] = decay
                        past[t, k, _BEFORE, i] = before
                        lane[k, _H, i] = h
                        step[_Y, t, i] += c * h
                        dc += step[_G, t, i] * h
                    dC[n, k, start + t] = dc

            for t in range(stop - start - 1, -1, -1):
                for i in range(LANES):
                    step[_SUM_A, t, i] = ZERO
                    step[_SUM_B, t, i] = ZERO
                for k in range(K):
                    b, c, db = B[n, k, start + t], C[n, k, start + t], ZERO
                    for i in range(LANES):
                        decay = past[t, k, _DECAY, i]
                        dh = lane[k, _DH, i] + step[_G, t, i] * c
                        dexponent = dh * past[t, k, _BEFORE, i] * decay
                        lane[k, _DH, i] = dh * decay
                        lane[k, _DA, i] += dexponent * step[_DT, t, i]
                        step[_SUM_A, t, i] += dexponent * lane[k, _A, i]
                        step[_SUM_B, t, i] += dh * b
                        db += dh * step[_DRIVE, t, i]
                    dB[n, k, start + t] = db

            for i in range((stop - start) * LANES):
                x, dt, s = flat[_X, i], flat[_DT, i], flat[_SUM_B, i]
                flat[_OUT, i] *= flat[_Y, i]
                flat[_DX, i] = s * dt
                flat[_DRAW, i] = s * x + flat[_SUM_A, i]
            if softplus:
                for i in range((stop - start) * LANES):
                    flat[_DRAW, i] *= sigmoid(flat[_RAW, i])
            for t in range(stop - start):
                for i in range(LANES):
                    step[_DX, t, i] += step[_G, t, i] * skip[i]
                    dskip[i] += step[_G, t, i] * step[_X, t, i]
                    doffset[i] += step[_DRAW, t, i]
            _store(step, _DX, start, stop, base, du[n])
            _store(step, _DRAW, start, stop, base, ddelta[n])
            if gated:
                _store(step, _OUT, start, stop, base, dz[n])
    for i in range(min(LANES, A.shape[0] - base)):
        dD[base + i], dbias[base + i] = dskip[i], doffset[i]
        for k in range(K):
            dA[base + i, k] = lane[k, _DA, i]


# --- The two launches ---------------------------------------------------------------------------


def _forward(
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any, softplus: bool,
    gated: bool, groups: int, y: Any, states: Any,
) -> None:  # fmt: skip
    N, I = u.shape[0], u.shape[1]  # noqa: E741
    blocks = (I + LANES - 1) // LANES
    for task in numba.prange(groups * blocks):
        group, block = task // blocks, task % blocks
        first, last = group * N // groups, (group + 1) * N // groups
        _forward_task(
            u, delta, A, B, C, D, z, bias, softplus, gated, first, last, block * LANES, y, states
        )  # fmt: skip


def _backward(
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any, softplus: bool,
    gated: bool, groups: int, states: Any, dy: Any,
    du: Any, ddelta: Any, dA: Any, dB: Any, dC: Any, dD: Any, dz: Any, dbias: Any,
) -> None:  # fmt: skip
    """``dA``, ``dD``, ``dbias`` have a leading axis of groups, ``dB`` and ``dC`` one of blocks."""
    N, I = u.shape[0], u.shape[1]  # noqa: E741
    blocks = (I + LANES - 1) // LANES
    for task in numba.prange(groups * blocks):
        group, block = task // blocks, task % blocks
        first, last = group * N // groups, (group + 1) * N // groups
        _backward_task(
            u, delta, A, B, C, D, z, bias, softplus, gated, first, last, block * LANES, states,
            dy, du, ddelta, dA[group], dB[block], dC[block], dD[group], dz, dbias[group],
        )  # fmt: skip


@functools.cache
def kernels() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The forward and the backward launch, compiled for arrays of any strides."""
    f, flag, count = numba.float32, numba.boolean, numba.intp
    f1, f2, f3, f4, f5 = f[:], f[:, :], f[:, :, :], f[:, :, :, :], f[:, :, :, :, :]
    inputs = (f3, f3, f2, f3, f3, f1, f3, f1, flag, flag, count)
    grads = (f3, f3, f3, f4, f4, f2, f3, f2)
    parallel: dict[str, Any] = {"parallel": True, "fastmath": REORDER}
    forward = compiled(*inputs, f3, f5, **parallel)(_forward)
    backward = compiled(*inputs, f5, f3, *grads, **parallel)(_backward)
    return forward, backward
