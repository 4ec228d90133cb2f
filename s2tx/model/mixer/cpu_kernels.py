"""What Numba compiles for a whole Mamba mixer: ``CHUNK`` steps of one sequence at a time, in cache.

Everything between the tokens that come in and those that go out stays in scratch that a chunk
fills and leaves: the two branches, the convolution, the projections, the scan. Channels lie side by
side, so that products, convolution and scan all run on whole registers. What is kept for the
backward pass is the state before each chunk but the first; the rest is computed again from the
tokens, last chunk to first.

One task is a share of the sequences in one direction. A direction that runs against time differs
only in where a step is read and written. Sums over tasks run in a fixed order.

Read it from the bottom: ``kernels``, the two launches, their tasks, the parts of a chunk.
Letters: N sequences, L steps, G directions, E width, I inner width, K state, P outputs of x_proj
(R of the step size, then B, then C), J taps; T = CHUNK. E and P come in multiples of ``STRIP``, I
in multiples of ``LANES``, padded with zeros.
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

# A loop over channels has a length that the compiler does not know: it would lay out a short one
# number by number, and not in registers.
STRIP = 16  # channels of a register
QUAD = 4  # rows, and terms of a sum, that a product takes at once
PRE, SLOPE = STEP, STEP + 1  # more rows of ``step``: the convolution, the slope of SiLU behind it

# --- The parts of a chunk -----------------------------------------------------------------------


@inlined(fastmath=REORDER)
def _add_product(a: Any, b: Any, c: Any, rows: int, terms: int, columns: int) -> None:
    """``c[m, n] += sum over k of a[m, k] b[k, n]``; rows and terms come in QUADs."""
    for m in range(0, rows, QUAD):
        for k in range(0, terms, QUAD):
            p0, p1, p2, p3 = a[m, k], a[m, k + 1], a[m, k + 2], a[m, k + 3]
            q0, q1, q2, q3 = a[m + 1, k], a[m + 1, k + 1], a[m + 1, k + 2], a[m + 1, k + 3]
            r0, r1, r2, r3 = a[m + 2, k], a[m + 2, k + 1], a[m + 2, k + 2], a[m + 2, k + 3]
            s0, s1, s2, s3 = a[m + 3, k], a[m + 3, k + 1], a[m + 3, k + 2], a[m + 3, k + 3]
            for n in range(columns):
                b0, b1, b2, b3 = b[k, n], b[k + 1, n], b[k + 2, n], b[k + 3, n]
                c[m, n] += p0 * b0 + p1 * b1 + p2 * b2 + p3 * b3
                c[m + 1, n] += q0 * b0 + q1 * b1 + q2 * b2 + q3 * b3
                c[m + 2, n] += r0 * b0 + r1 * b1 + r2 * b2 + r3 * b3
                c[m + 3, n] += s0 * b0 + s1 * b1 + s2 * b2 + s3 * b3


@inlined()
def _load(x: Any, start: int, way: int, tile: Any, before: int) -> None:
    """Tokens ``start - before`` and on, in the order of the direction; zeros outside."""
    L, E = x.shape
    tile[:] = ZERO
    for row in range(tile.shape[0]):
        p = start - before + row
        if 0 <= p < L:
            at = p if way > 0 else L - 1 - p
            for e in range(E):
                tile[row, e] = x[at, e]


@inlined()
def _load_passed(passed: Any, n: int, start: int, way: int, later: Any) -> None:
    """What is added to the raw step sizes of a chunk of sequence ``n``; ``passed`` may be empty."""
    if passed.shape[0] == 0:
        return
    L = passed.shape[1]
    for t in range(min(CHUNK, L - start)):
        later[t] = passed[n, start + t if way > 0 else L - 1 - start - t]


@inlined()
def _store(tile: Any, start: int, size: int, way: int, target: Any) -> None:
    L, E = target.shape
    for t in range(size):
        at = start + t if way > 0 else L - 1 - start - t
        for e in range(E):
            target[at, e] = tile[t, e]


@inlined(fastmath=REORDER)
def _project(
    tokens: Any, W_in: Any, taps: Any, tap_bias: Any, W_x: Any, W_dt: Any, dt_bias: Any, D: Any,
    rank: int, later: Any, branches: Any, step: Any, projected: Any, both: Any,
) -> None:  # fmt: skip
    """From a chunk's tokens, and the few before it, to all that the scan of the chunk reads."""
    I, E, K = D.size, tokens.shape[1], both.shape[2]  # noqa: E741
    before, J = tokens.shape[0] - CHUNK, taps.shape[0]
    branches[:] = ZERO
    _add_product(tokens, W_in, branches, tokens.shape[0], E, 2 * I)
    for t in range(CHUNK):
        for i in range(I):
            step[PRE, t, i] = tap_bias[i]
            step[GATE, t, i] = branches[before + t, I + i]
        for j in range(J):
            for i in range(I):
                step[PRE, t, i] += taps[j, i] * branches[before + t + j - (J - 1), i]
        for i in range(I):
            pre = step[PRE, t, i]
            open_ = sigmoid(pre)
            step[X, t, i] = pre * open_
            step[SLOPE, t, i] = open_ * (ONE + pre * (ONE - open_))
            step[RAW, t, i] = dt_bias[i] + later[t]
    projected[:] = ZERO
    _add_product(step[X], W_x, projected, CHUNK, I, projected.shape[1])
    _add_product(projected, W_dt, step[RAW], CHUNK, rank, I)
    R = W_dt.shape[0]
    for t in range(CHUNK):
        for k in range(K):
            both[INTO, t, k] = projected[t, R + k]
            both[OUT_OF, t, k] = projected[t, R + K + k]
    for t in range(CHUNK):
        for i in range(I):
            dt, x = softplus_of(step[RAW, t, i]), step[X, t, i]
            step[DT, t, i] = dt
            step[DRIVE, t, i] = dt * x
            step[Y, t, i] = D[i] * x


@inlined()
def _lanes(A: Any) -> Any:
    """The lanes of a task, with the rates in place."""
    I, K = A.shape  # noqa: E741
    lane = np.zeros((4, K, I), np.float32)
    for k in range(K):
        for i in range(I):
            lane[RATE, k, i] = A[i, k] * LOG2_E
    return lane


@inlined()
def _before(taps: Any) -> Any:
    """Rows of tokens before a chunk: what the convolution reads, in a QUAD."""
    return (taps.shape[0] - 1 + QUAD - 1) // QUAD * QUAD


# --- The tasks: sequences first..last in one direction ------------------------------------------


@inlined(fastmath=REORDER)
def _forward_task(
    x: Any, W_in: Any, taps: Any, tap_bias: Any, W_x: Any, W_dt: Any, dt_bias: Any, A: Any, D: Any,
    W_out: Any, rank: int, first: int, last: int, way: int, passed: Any, out: Any, states: Any,
) -> None:  # fmt: skip
    L = x.shape[1]
    (I, E), K, P, before = W_out.shape, A.shape[1], W_x.shape[1], _before(taps)  # noqa: E741
    tokens = np.zeros((before + CHUNK, E), np.float32)
    branches = np.zeros((before + CHUNK, 2 * I), np.float32)
    projected = np.zeros((CHUNK, P), np.float32)
    both = np.zeros((4, CHUNK, K), np.float32)
    step = np.zeros((STEP + 2, CHUNK, I), np.float32)
    mixed = np.zeros((CHUNK, E), np.float32)
    lane = _lanes(A)
    later = np.zeros(CHUNK, np.float32)
    for n in range(first, last):
        lane[STATE] = ZERO
        for start in range(0, L, CHUNK):
            size = min(CHUNK, L - start)
            if start > 0 and states.shape[0] > n:
                states[n, start // CHUNK - 1] = lane[STATE]
            _load(x[n], start, way, tokens, before)
            _load_passed(passed, n, start, way, later)
            _project(
                tokens, W_in, taps, tap_bias, W_x, W_dt, dt_bias, D, rank, later, branches, step,
                projected, both,
            )  # fmt: skip
            for base in range(0, I, LANES):
                forward_steps(step, lane, both, base, size)
            for t in range(CHUNK):
                for i in range(I):
                    gate = step[GATE, t, i]
                    step[Y, t, i] *= gate * sigmoid(gate)
            mixed[:] = ZERO
            _add_product(step[Y], W_out, mixed, CHUNK, I, E)
            _store(mixed, start, size, way, out[n])


@inlined(fastmath=REORDER)
def _backward_task(
    x: Any, W_in: Any, taps: Any, tap_bias: Any, W_x: Any, W_dt: Any, dt_bias: Any, A: Any, D: Any,
    W_out: Any, rank: int, first: int, last: int, way: int, passed: Any, states: Any, dout: Any,
    V_in: Any, V_x: Any, V_dt: Any, V_out: Any, dx: Any, dW_in: Any, dtaps: Any, dtap_bias: Any,
    dW_x: Any, dW_dt: Any, ddt_bias: Any, dA: Any, dD: Any, dW_out: Any,
) -> None:  # fmt: skip
    """``V`` are the transposed ``W``; the parameters' gradients are added to."""
    L = x.shape[1]
    (I, E), K, P, R = W_out.shape, A.shape[1], W_x.shape[1], W_dt.shape[0]  # noqa: E741
    J, before = taps.shape[0], _before(taps)
    tokens = np.zeros((before + CHUNK, E), np.float32)
    branches = np.zeros((before + CHUNK, 2 * I), np.float32)
    projected = np.zeros((CHUNK, P), np.float32)
    both = np.zeros((4, CHUNK, K), np.float32)
    step = np.zeros((STEP + 2, CHUNK, I), np.float32)
    past = np.zeros((2, CHUNK, K, LANES), np.float32)
    dmixed = np.zeros((CHUNK, E), np.float32)
    dtokens = np.zeros((CHUNK, E), np.float32)
    dprojected = np.zeros((CHUNK, P), np.float32)
    dbranches = np.zeros((CHUNK, 2 * I), np.float32)
    dpre = np.zeros((CHUNK + J - 1, I), np.float32)  # of the chunk, and of the steps behind it
    lane = _lanes(A)
    later = np.zeros(CHUNK, np.float32)
    for n in range(first, last):
        lane[DSTATE] = ZERO
        dpre[:] = ZERO
        for chunk in range((L - 1) // CHUNK, -1, -1):
            start = chunk * CHUNK
            size = min(CHUNK, L - start)
            if chunk > 0:
                lane[STATE] = states[n, chunk - 1]
            else:
                lane[STATE] = ZERO
            _load(x[n], start, way, tokens, before)
            _load_passed(passed, n, start, way, later)
            _project(
                tokens, W_in, taps, tap_bias, W_x, W_dt, dt_bias, D, rank, later, branches, step,
                projected, both,
            )  # fmt: skip
            _load(dout[n], start, way, dmixed, 0)
            step[G] = ZERO
            _add_product(dmixed, V_out, step[G], CHUNK, E, I)
            both[DINTO:] = ZERO
            step[SUM_B : SUM_A + 1] = ZERO  # past ``size`` too
            for t in range(CHUNK):
                for i in range(I):
                    gate, g = step[GATE, t, i], step[G, t, i]
                    open_ = sigmoid(gate)
                    step[GATE, t, i] = gate * open_
                    step[G, t, i] = g * gate * open_
                    step[OUT, t, i] = g * open_ * (ONE + gate * (ONE - open_))
            for base in range(0, I, LANES):
                forward_steps_kept(step, lane, both, past, base, size)
                reverse_steps(step, lane, both, past, base, size)
            for t in range(CHUNK):
                for i in range(I):
                    x_, dt, s, g = step[X, t, i], step[DT, t, i], step[SUM_B, t, i], step[G, t, i]
                    draw = (s * x_ + step[SUM_A, t, i] * LN2) * sigmoid(step[RAW, t, i])
                    dbranches[t, I + i] = step[OUT, t, i] * step[Y, t, i]
                    step[Y, t, i] *= step[GATE, t, i]
                    step[DX, t, i] = s * dt + g * D[i]
                    step[DRAW, t, i] = draw
                    dD[i] += g * x_
                    ddt_bias[i] += draw
            _add_product(step[Y].T, dmixed, dW_out, I, CHUNK, E)
            dprojected[:] = ZERO
            _add_product(step[DRAW], V_dt, dprojected, CHUNK, I, R)
            for t in range(CHUNK):
                for k in range(K):
                    dprojected[t, R + k] = both[DINTO, t, k]
                    dprojected[t, R + K + k] = both[DOUT_OF, t, k]
            _add_product(projected.T, step[DRAW], dW_dt, rank, CHUNK, I)
            _add_product(step[X].T, dprojected, dW_x, I, CHUNK, P)
            _add_product(dprojected, V_x, step[DX], CHUNK, P, I)
            dpre[CHUNK:] = dpre[: J - 1].copy()
            for t in range(CHUNK):
                for i in range(I):
                    d = step[DX, t, i] * step[SLOPE, t, i]
                    dpre[t, i] = d
                    dtap_bias[i] += d
                    dbranches[t, i] = ZERO
            for j in range(J):
                for t in range(CHUNK):
                    for i in range(I):
                        dtaps[j, i] += dpre[t, i] * branches[before + t + j - (J - 1), i]
                        dbranches[t, i] += taps[j, i] * dpre[t + J - 1 - j, i]
            _add_product(tokens[before:].T, dbranches, dW_in, E, CHUNK, 2 * I)
            dtokens[:] = ZERO
            _add_product(dbranches, V_in, dtokens, CHUNK, 2 * I, E)
            _store(dtokens, start, size, way, dx[n])
    for k in range(K):
        for i in range(I):
            dA[i, k] += lane[DRATE, k, i]


# --- The launches: tasks begin..end -------------------------------------------------------------


def _forward(
    x: Any, W_in: Any, taps: Any, tap_bias: Any, W_x: Any, W_dt: Any, dt_bias: Any, A: Any, D: Any,
    W_out: Any, reverse: Any, rank: int, shares: int, passed: Any, out: Any, states: Any,
    begin: int, end: int,
) -> None:  # fmt: skip
    N = x.shape[0]
    for task in range(begin, end):
        g, share = task // shares, task % shares
        way = -1 if reverse[g] else 1
        _forward_task(
            x, W_in[g], taps[g], tap_bias[g], W_x[g], W_dt[g], dt_bias[g], A[g], D[g], W_out[g],
            rank, share * N // shares, (share + 1) * N // shares, way,
            passed, out[g], states[g],
        )  # fmt: skip


def _backward(
    x: Any, W_in: Any, taps: Any, tap_bias: Any, W_x: Any, W_dt: Any, dt_bias: Any, A: Any, D: Any,
    W_out: Any, reverse: Any, rank: int, shares: int, passed: Any, states: Any, dout: Any,
    V_in: Any, V_x: Any, V_dt: Any, V_out: Any, dx: Any, dW_in: Any, dtaps: Any, dtap_bias: Any,
    dW_x: Any, dW_dt: Any, ddt_bias: Any, dA: Any, dD: Any, dW_out: Any, begin: int, end: int,
) -> None:  # fmt: skip
    """The parameters' gradients come as zeros with a leading axis of shares."""
    N = x.shape[0]
    for task in range(begin, end):
        g, share = task // shares, task % shares
        way = -1 if reverse[g] else 1
        _backward_task(
            x, W_in[g], taps[g], tap_bias[g], W_x[g], W_dt[g], dt_bias[g], A[g], D[g], W_out[g],
            rank, share * N // shares, (share + 1) * N // shares, way,
            passed, states[g], dout, V_in[g], V_x[g], V_dt[g], V_out[g], dx[g], dW_in[share, g],
            dtaps[share, g], dtap_bias[share, g], dW_x[share, g], dW_dt[share, g],
            ddt_bias[share, g], dA[share, g], dD[share, g], dW_out[share, g],
        )  # fmt: skip


@functools.cache
def kernels() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The forward and the backward launch, for contiguous arrays."""
    f, flag, count = numba.float32, numba.boolean, numba.intp
    f2, f3, f4, f5 = f[:, ::1], f[:, :, ::1], f[:, :, :, ::1], f[:, :, :, :, ::1]
    inputs = (f3, f3, f3, f2, f3, f3, f2, f3, f2, f3, flag[::1], count, count, f2)
    grads = (f4, f4, f4, f3, f4, f4, f3, f4, f3, f4)
    options: dict[str, Any] = {"nogil": True, "fastmath": REORDER}
    forward = compiled(*inputs, f4, f5, count, count, **options)(_forward)
    backward = compiled(*inputs, f5, f3, f3, f3, f3, f3, *grads, count, count, **options)(_backward)
    return forward, backward
