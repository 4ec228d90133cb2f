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

from s2tx.model.compiled import CONTRACT, REORDER, compiled, inlined
from s2tx.model.compiled.elementary import ONE, ZERO, sigmoid, softplus_of

LANES = 32  # channels of a block: enough that what is done once a step and state weighs little
CHUNK = 32  # steps between two stored states

# --- The decay ----------------------------------------------------------------------------------
# Most of the time goes here, so exp is 2**x of an x that was scaled by 1 / log(2) with A, and it
# goes without the care of ``elementary.exp``: an error of 1 ulp in x weighs more anyway. A decay
# under 2**-127 is 0 and one over 2**127.5 is inf.

_LOG2_E, _LN2 = np.float32(1 / np.log(2)), np.float32(np.log(2))
_LOW, _HIGH = np.float32(-127), np.float32(128)
_ROUND = np.float32(3 * 2**22 + 127)  # adding it leaves round(x) + 127 in the low bits
# 2**r = 1 + r (P1 + r (P2 + ...)) to 2e-9 over [-1/2, 1/2].
_P1, _P2, _P3 = (
    np.float32(0.6931472028568068),
    np.float32(0.24022647913),
    np.float32(0.055503324671),
)
_P4, _P5, _P6 = np.float32(0.0096184373634), np.float32(0.0013398876093), np.float32(1.535336407e-4)


@inlined(fastmath=CONTRACT)
def _exp2(x: Any) -> Any:
    floor = _LOW if x < _LOW else x  # this way round a NaN passes
    bounded = _HIGH if floor > _HIGH else floor
    shifted = bounded + _ROUND
    r = bounded - (shifted - _ROUND)
    p = (((((_P6 * r + _P5) * r + _P4) * r + _P3) * r + _P2) * r + _P1) * r + ONE
    return p * np.int32(np.float32(shifted).view(np.int32) << 23).view(np.float32)


# --- The steps of one chunk ---------------------------------------------------------------------
# Scratch arrays begin with the quantity and end in the lanes: an inner loop is one run over LANES
# neighbours, and what it reads and what it writes are whole ranges apart. The compiler asks for
# that before each loop and falls back to one number at a time where ranges interleave.

_DT, _DRIVE, _Y, _X = 0, 1, 2, 3  # rows of ``step`` (12, CHUNK, LANES)
_G, _RAW, _GATE, _OUT, _SUM_B, _SUM_A, _DX, _DRAW = 4, 5, 6, 7, 8, 9, 10, 11
_A, _H, _DH, _DA = 0, 1, 2, 3  # rows of ``lane`` (4, K, LANES); A is divided by log(2)
_DECAY, _BEFORE = 0, 1  # rows of ``past`` (2, CHUNK, K, LANES), what the reverse pass needs
_B, _C, _DB, _DC = 0, 1, 2, 3  # rows of ``both`` (4, CHUNK, K)


@inlined(fastmath=REORDER)
def _forward_steps(step: Any, lane: Any, both: Any, size: int) -> None:
    """Move the states over ``size`` steps; add what they give to y."""
    for t in range(size):
        for k in range(lane.shape[1]):
            b, c = both[_B, t, k], both[_C, t, k]
            for i in range(LANES):
                decay = _exp2(step[_DT, t, i] * lane[_A, k, i])
                h = decay * lane[_H, k, i] + step[_DRIVE, t, i] * b
                lane[_H, k, i] = h
                step[_Y, t, i] += c * h


@inlined(fastmath=REORDER)
def _forward_steps_kept(step: Any, lane: Any, both: Any, past: Any, size: int) -> None:
    """The same, with what the reverse pass needs, and the gradient of C."""
    for t in range(size):
        for k in range(lane.shape[1]):
            b, c, dc = both[_B, t, k], both[_C, t, k], ZERO
            for i in range(LANES):
                before = lane[_H, k, i]
                decay = _exp2(step[_DT, t, i] * lane[_A, k, i])
                h = decay * before + step[_DRIVE, t, i] * b
                past[_DECAY, t, k, i] = decay
                past[_BEFORE, t, k, i] = before
                lane[_H, k, i] = h
                step[_Y, t, i] += c * h
                dc += step[_G, t, i] * h
            both[_DC, t, k] = dc


@inlined(fastmath=REORDER)
def _reverse_steps(step: Any, lane: Any, both: Any, past: Any, size: int) -> None:
    """Move the states' gradients back over ``size`` steps: SUM_A, SUM_B, dA and dB."""
    for t in range(size - 1, -1, -1):
        for i in range(LANES):
            step[_SUM_A, t, i] = ZERO
            step[_SUM_B, t, i] = ZERO
        for k in range(lane.shape[1]):
            b, c, db = both[_B, t, k], both[_C, t, k], ZERO
            for i in range(LANES):
                dh = lane[_DH, k, i] + step[_G, t, i] * c
                dbefore = dh * past[_DECAY, t, k, i]
                dexponent = dbefore * past[_BEFORE, t, k, i]
                lane[_DH, k, i] = dbefore
                lane[_DA, k, i] += dexponent * step[_DT, t, i]
                step[_SUM_A, t, i] += dexponent * lane[_A, k, i]
                step[_SUM_B, t, i] += dh * b
                db += dh * step[_DRIVE, t, i]
            both[_DB, t, k] = db


@inlined(fastmath=REORDER)
def _prepare(step: Any, skip: Any, offset: Any, size: int, softplus: bool) -> None:
    """From x and raw step sizes: the step sizes, the drive, and y's first term."""
    for t in range(size):
        for i in range(LANES):
            step[_RAW, t, i] += offset[i]
            step[_Y, t, i] = skip[i] * step[_X, t, i]
    for t in range(size):
        if softplus:
            for i in range(LANES):
                step[_DT, t, i] = softplus_of(step[_RAW, t, i])
        else:
            for i in range(LANES):
                step[_DT, t, i] = step[_RAW, t, i]
        for i in range(LANES):
            step[_DRIVE, t, i] = step[_DT, t, i] * step[_X, t, i]


# --- One task: sequences first..last, channels base..base + width of a group --------------------
# Lanes past ``width`` hold zeros and are never written out. Step t of a chunk stands at
# ``origin + t * way``.


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


@inlined()
def _load_both(B: Any, C: Any, origin: int, way: int, size: int, both: Any) -> None:
    """Copy ``size`` steps of B and C (K, steps)."""
    for t in range(size):
        for k in range(both.shape[2]):
            both[_B, t, k] = B[k, origin + t * way]
            both[_C, t, k] = C[k, origin + t * way]


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
    lane = np.zeros((4, K, LANES), np.float32)
    both = np.empty((4, CHUNK, K), np.float32)
    for k in range(K):
        for i in range(width):
            lane[_A, k, i] = A[base + i, k] * _LOG2_E
    skip, offset = _vector(D, base, width), _vector(bias, base, width)
    for n in range(first, last):
        lane[_H] = ZERO
        for start in range(0, L, CHUNK):
            size = min(CHUNK, L - start)
            origin = L - 1 - start if back else start
            if start > 0 and states.shape[0] > n:
                states[n, start // CHUNK - 1] = lane[_H]
            _load(u[n], origin, way, size, base, width, step, _X)
            _load(delta[n], origin, way, size, base, width, step, _RAW)
            _load_both(B[n, group], C[n, group], origin, way, size, both)
            _prepare(step, skip, offset, size, softplus)
            _forward_steps(step, lane, both, size)
            if gated:
                _load(z[n], origin, way, size, base, width, step, _GATE)
                for t in range(size):
                    for i in range(LANES):
                        gate = step[_GATE, t, i]
                        step[_Y, t, i] *= gate * sigmoid(gate)
            _store(step, _Y, origin, way, size, base, width, y[n])


@inlined(fastmath=REORDER)
def _backward_task(
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any, softplus: bool,
    gated: bool, first: int, last: int, group: int, base: int, width: int, back: bool,
    states: Any, dy: Any, du: Any, ddelta: Any, dA: Any, dB: Any, dC: Any, dD: Any, dz: Any,
    dbias: Any,
) -> None:  # fmt: skip
    L, K, way = u.shape[2], A.shape[1], -1 if back else 1
    step = np.zeros((12, CHUNK, LANES), np.float32)
    lane = np.zeros((4, K, LANES), np.float32)
    both = np.empty((4, CHUNK, K), np.float32)
    past = np.empty((2, CHUNK, K, LANES), np.float32)
    for k in range(K):
        for i in range(width):
            lane[_A, k, i] = A[base + i, k] * _LOG2_E
    skip, offset = _vector(D, base, width), _vector(bias, base, width)
    dskip, doffset = np.zeros(LANES, np.float32), np.zeros(LANES, np.float32)
    for n in range(first, last):
        lane[_DH] = ZERO
        for chunk in range((L - 1) // CHUNK, -1, -1):
            start = chunk * CHUNK
            size = min(CHUNK, L - start)
            origin = L - 1 - start if back else start
            if chunk > 0:
                lane[_H] = states[n, chunk - 1]
            else:
                lane[_H] = ZERO
            _load(u[n], origin, way, size, base, width, step, _X)
            _load(delta[n], origin, way, size, base, width, step, _RAW)
            _load(dy[n], origin, way, size, base, width, step, _G)
            _load_both(B[n, group], C[n, group], origin, way, size, both)
            _prepare(step, skip, offset, size, softplus)
            if gated:
                _load(z[n], origin, way, size, base, width, step, _GATE)
                for t in range(size):
                    for i in range(LANES):
                        gate, g = step[_GATE, t, i], step[_G, t, i]
                        open_ = sigmoid(gate)
                        step[_G, t, i] = g * gate * open_
                        step[_OUT, t, i] = g * open_ * (ONE + gate * (ONE - open_))
            _forward_steps_kept(step, lane, both, past, size)
            _reverse_steps(step, lane, both, past, size)
            for t in range(size):
                for k in range(K):
                    dB[n, group, k, origin + t * way] = both[_DB, t, k]
                    dC[n, group, k, origin + t * way] = both[_DC, t, k]
            for t in range(size):
                for i in range(LANES):
                    x, dt, s = step[_X, t, i], step[_DT, t, i], step[_SUM_B, t, i]
                    step[_OUT, t, i] *= step[_Y, t, i]
                    step[_DX, t, i] = s * dt + step[_G, t, i] * skip[i]
                    step[_DRAW, t, i] = s * x + step[_SUM_A, t, i] * _LN2
                if softplus:
                    for i in range(LANES):
                        step[_DRAW, t, i] *= sigmoid(step[_RAW, t, i])
                for i in range(LANES):
                    dskip[i] += step[_G, t, i] * step[_X, t, i]
                    doffset[i] += step[_DRAW, t, i]
            _store(step, _DX, origin, way, size, base, width, du[n])
            _store(step, _DRAW, origin, way, size, base, width, ddelta[n])
            if gated:
                _store(step, _OUT, origin, way, size, base, width, dz[n])
    for i in range(width):
        dD[base + i], dbias[base + i] = dskip[i], doffset[i]
        for k in range(K):
            dA[base + i, k] = lane[_DA, k, i]


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
    """``dA``, ``dD``, ``dbias`` have a leading axis of shares, ``dB`` and ``dC`` one of the blocks
    of a group."""
    N, I, blocks = u.shape[0], u.shape[1], states.shape[0]  # noqa: E741
    for task in numba.prange(shares * blocks):
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
    parallel: dict[str, Any] = {"parallel": True, "fastmath": REORDER}
    forward = compiled(*inputs, f3, f5, **parallel)(_forward)
    backward = compiled(*inputs, f5, f3, *grads, **parallel)(_backward)
    return forward, backward
