"""Small matrices in the cache: a row a feature, a column a token.

Tokens lie side by side, so that every loop over them runs on whole registers, whatever the width of
the model: products, norms and softmax need no sum across a register. ``T``, the columns of a tile,
is a constant where a kernel is compiled; rows come in multiples of ``ROWS``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from s2tx.model.compiled import REORDER, inlined
from s2tx.model.compiled.elementary import ONE, ZERO

ROWS = 4
EPS = np.float32(1e-5)  # of a layer norm


@inlined()
def load(source: Any, tile: Any, T: int) -> None:
    """Tokens (n, E) into a tile (E, T), zeros behind the last."""
    n, E = source.shape
    for t in range(n):
        for e in range(E):
            tile[e, t] = source[t, e]
    for e in range(E):
        for t in range(n, T):
            tile[e, t] = ZERO


@inlined()
def store(tile: Any, target: Any) -> None:
    """A tile (E, T) to tokens (n, E)."""
    n, E = target.shape
    for t in range(n):
        for e in range(E):
            target[t, e] = tile[e, t]


@inlined()
def fill_rows(tile: Any, values: Any, T: int) -> None:
    """A bias: row e is filled with ``values[e]``."""
    for e in range(tile.shape[0]):
        for t in range(T):
            tile[e, t] = values[e]


@inlined()
def fill(tile: Any, T: int) -> None:
    """Zeros."""
    for e in range(tile.shape[0]):
        for t in range(T):
            tile[e, t] = ZERO


@inlined(fastmath=REORDER)
def add_product(a: Any, b: Any, c: Any, T: int) -> None:
    """``c[m, t] += sum over k of a[m, k] b[k, t]``; M and K are multiples of ``ROWS``."""
    M, K = a.shape
    for m in range(0, M, 4):
        for k in range(0, K, 4):
            p0, p1, p2, p3 = a[m, k], a[m, k + 1], a[m, k + 2], a[m, k + 3]
            q0, q1, q2, q3 = a[m + 1, k], a[m + 1, k + 1], a[m + 1, k + 2], a[m + 1, k + 3]
            r0, r1, r2, r3 = a[m + 2, k], a[m + 2, k + 1], a[m + 2, k + 2], a[m + 2, k + 3]
            s0, s1, s2, s3 = a[m + 3, k], a[m + 3, k + 1], a[m + 3, k + 2], a[m + 3, k + 3]
            for t in range(T):
                b0, b1, b2, b3 = b[k, t], b[k + 1, t], b[k + 2, t], b[k + 3, t]
                c[m, t] += p0 * b0 + p1 * b1 + p2 * b2 + p3 * b3
                c[m + 1, t] += q0 * b0 + q1 * b1 + q2 * b2 + q3 * b3
                c[m + 2, t] += r0 * b0 + r1 * b1 + r2 * b2 + r3 * b3
                c[m + 3, t] += s0 * b0 + s1 * b1 + s2 * b2 + s3 * b3


@inlined(fastmath=REORDER)
def set_product(a: Any, b: Any, c: Any, T: int) -> None:
    """``c[m, t] = sum over k < 4 of a[m, k] b[k, t]``, then ``add_product`` for the other k."""
    M, K = a.shape
    for m in range(0, M, 4):
        p0, p1, p2, p3 = a[m, 0], a[m, 1], a[m, 2], a[m, 3]
        q0, q1, q2, q3 = a[m + 1, 0], a[m + 1, 1], a[m + 1, 2], a[m + 1, 3]
        r0, r1, r2, r3 = a[m + 2, 0], a[m + 2, 1], a[m + 2, 2], a[m + 2, 3]
        s0, s1, s2, s3 = a[m + 3, 0], a[m + 3, 1], a[m + 3, 2], a[m + 3, 3]
        for t in range(T):
            b0, b1, b2, b3 = b[0, t], b[1, t], b[2, t], b[3, t]
            c[m, t] = p0 * b0 + p1 * b1 + p2 * b2 + p3 * b3
            c[m + 1, t] = q0 * b0 + q1 * b1 + q2 * b2 + q3 * b3
            c[m + 2, t] = r0 * b0 + r1 * b1 + r2 * b2 + r3 * b3
            c[m + 3, t] = s0 * b0 + s1 * b1 + s2 * b2 + s3 * b3
    if K > 4:
        add_product(a[:, 4:], b[4:], c, T)


@inlined(fastmath=REORDER)
def add_dots(a: Any, b: Any, c: Any, T: int) -> None:
    """``c[m, k] += sum over t of a[m, t] b[k, t]``; M and K are multiples of ``ROWS``."""
    for m in range(0, a.shape[0], 2):
        for k in range(0, b.shape[0], 4):
            p0 = p1 = p2 = p3 = q0 = q1 = q2 = q3 = ZERO
            for t in range(T):
                x, y = a[m, t], a[m + 1, t]
                b0, b1, b2, b3 = b[k, t], b[k + 1, t], b[k + 2, t], b[k + 3, t]
                p0, p1, p2, p3 = p0 + x * b0, p1 + x * b1, p2 + x * b2, p3 + x * b3
                q0, q1, q2, q3 = q0 + y * b0, q1 + y * b1, q2 + y * b2, q3 + y * b3
            c[m, k] += p0
            c[m, k + 1] += p1
            c[m, k + 2] += p2
            c[m, k + 3] += p3
            c[m + 1, k] += q0
            c[m + 1, k + 1] += q1
            c[m + 1, k + 2] += q2
            c[m + 1, k + 3] += q3


@inlined(fastmath=REORDER)
def add_sums(a: Any, c: Any, T: int) -> None:
    """``c[m] += sum over t of a[m, t]``: the gradient of a bias."""
    for m in range(a.shape[0]):
        total = ZERO
        for t in range(T):
            total += a[m, t]
        c[m] += total


@inlined(fastmath=REORDER)
def normalise(x: Any, gain: Any, bias: Any, unit: Any, rate: Any, normed: Any, T: int) -> None:
    """Layer norm of every token, or nothing but a copy.

    Args:
        x: (E, T).
        gain: (E,), or empty for no norm.
        bias: (E,).
        unit: (E, T), set to ``(x - mean) / deviation``, if there is a norm.
        rate: (3, T) scratch; row 0 is set to 1 / deviation, if there is a norm.
        normed: (E, T), set to ``unit * gain + bias``.
        T: columns.
    """
    E = x.shape[0]
    if gain.size == 0:
        for e in range(E):
            for t in range(T):
                normed[e, t] = x[e, t]
        return
    share = ONE / np.float32(E)
    for t in range(T):
        rate[0, t] = ZERO
        rate[1, t] = ZERO
    for e in range(E):
        for t in range(T):
            rate[1, t] += x[e, t]
    for e in range(E):
        for t in range(T):
            d = x[e, t] - rate[1, t] * share
            rate[0, t] += d * d
            unit[e, t] = d
    for t in range(T):
        rate[0, t] = ONE / np.sqrt(rate[0, t] * share + EPS)
    for e in range(E):
        g, b = gain[e], bias[e]
        for t in range(T):
            unit[e, t] *= rate[0, t]
            normed[e, t] = unit[e, t] * g + b


@inlined(fastmath=REORDER)
def add_normalise_gradient(
    dnormed: Any, gain: Any, unit: Any, rate: Any, dgain: Any, dbias: Any, dx: Any, T: int
) -> None:
    """Add the gradients of ``normalise``; ``dnormed`` and rows 1 and 2 of ``rate`` are scratch."""
    E = unit.shape[0]
    if gain.size == 0:
        for e in range(E):
            for t in range(T):
                dx[e, t] += dnormed[e, t]
        return
    share = ONE / np.float32(E)
    for t in range(T):
        rate[1, t] = ZERO
        rate[2, t] = ZERO
    for e in range(E):
        g, total, weighted = gain[e], ZERO, ZERO
        for t in range(T):
            d = dnormed[e, t]
            total += d
            weighted += d * unit[e, t]
            d *= g
            rate[2, t] += d
            rate[1, t] += d * unit[e, t]
            dnormed[e, t] = d
        dbias[e] += total
        dgain[e] += weighted
    for e in range(E):
        for t in range(T):
            centred = dnormed[e, t] - share * (rate[2, t] + unit[e, t] * rate[1, t])
            dx[e, t] += rate[0, t] * centred


# --- Dropout ------------------------------------------------------------------------------------
# A mask is never stored: whether element i lives is a hash of i and the seed (Wellons' lowbias32
# with the second half of the seed mixed in), which the backward pass asks for again.

_STEP, _MIX_A, _MIX_B = np.uint32(0x9E3779B9), np.uint32(0x7FEB352D), np.uint32(0x846CA68B)


@inlined()
def survives(i: Any, seed: Any, threshold: Any) -> Any:
    """Whether element ``i`` (uint32) is kept, which happens at a rate of 1 - threshold / 2**32."""
    x = np.uint32(np.uint32(i * _STEP) + seed[0])
    x = np.uint32((x ^ (x >> np.uint32(16))) * _MIX_A) ^ seed[1]
    x = np.uint32((x ^ (x >> np.uint32(15))) * _MIX_B)
    return (x ^ (x >> np.uint32(16))) >= threshold


@inlined()
def drop(tile: Any, first: int, E: int, seed: Any, threshold: Any, scale: Any, T: int) -> None:
    """Dropout of a tile (E, T) whose column 0 is token ``first``: zero, or times ``scale``."""
    for e in range(E):
        start = np.uint32(first * E + e)
        for t in range(T):
            i = np.uint32(start + np.uint32(np.uint32(t) * np.uint32(E)))
            tile[e, t] *= scale if survives(i, seed, threshold) else ZERO
