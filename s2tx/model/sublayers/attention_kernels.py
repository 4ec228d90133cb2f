"""What Numba compiles for the attention sublayer: one sequence at a time, in the cache.

Nothing is kept for the backward pass but the inputs, from which it computes the rest again. Heads
are narrow and sequences short, so a row of scores is one key against all queries: softmax needs no
sum across a register. Inside a local window of ``2 reach + 1`` tokens only those are computed: row
r holds the scores against the key ``r - reach`` tokens away.

Letters: N sequences, Q queries, S keys, E width, H heads, P width of a head, T columns of the tile
of queries, U of that of keys; T and U are constants of a compiled kernel.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from s2tx.model.compiled import LANES, REORDER, compiled, inlined
from s2tx.model.compiled.elementary import LN_2, LOG2_E, ONE, ZERO, exp2_below
from s2tx.model.compiled.tiles import (
    add_dots,
    add_normalise_gradient,
    add_product,
    add_sums,
    drop,
    fill,
    fill_rows,
    load,
    normalise,
    set_product,
    store,
)

_FLOOR = np.float32(-3e38)


def columns(tokens: int) -> int:
    """Columns of a tile that holds so many tokens: whole registers."""
    return -(-tokens // LANES) * LANES


# --- One head: rows of scores -------------------------------------------------------------------


@inlined(fastmath=REORDER)
def _score(
    query: Any, key: Any, hidden: Any, rows: Any, total: Any, used: int, masked: bool, reach: int,
    T: int,
) -> None:  # fmt: skip
    """Unnormalised shares of one head's keys.

    Args:
        query: (P, T), scaled so that a share is a power of two.
        key: (P, U), or (P, T + 2 reach) in a window.
        hidden: (R, T), added to the scores in a window, and elsewhere if ``masked``.
        rows: (R, T), of which the first ``used`` become shares and the others 0.
        total: (2, T); row 0 becomes 1 / the sum of the shares, row 1 is scratch.
        used: keys, or 2 reach + 1.
        masked: whether some keys are not read.
        reach: -1 for no window.
        T: columns.
    """
    if reach < 0:
        set_product(key.T, query, rows, T)
        if masked:
            for r in range(used):
                for t in range(T):
                    rows[r, t] += hidden[r, t]
        for r in range(used, rows.shape[0]):
            for t in range(T):
                rows[r, t] = ZERO
    else:
        for r in range(used):
            for t in range(T):
                rows[r, t] = hidden[r, t]
        for p in range(query.shape[0]):
            for r in range(used):
                for t in range(T):
                    rows[r, t] += query[p, t] * key[p, t + r]
    for t in range(T):
        total[0, t] = ZERO
        total[1, t] = rows[0, t]
    for r in range(1, used):
        for t in range(T):
            total[1, t] = max(total[1, t], rows[r, t])
    for r in range(used):
        for t in range(T):
            rows[r, t] = exp2_below(rows[r, t] - total[1, t])
            total[0, t] += rows[r, t]
    for t in range(T):
        total[0, t] = ONE / total[0, t]


@inlined(fastmath=REORDER)
def _scale_columns(tile: Any, factor: Any, T: int) -> None:
    for e in range(tile.shape[0]):
        for t in range(T):
            tile[e, t] *= factor[t]


@inlined(fastmath=REORDER)
def _read(value: Any, rows: Any, read: Any, reach: int, T: int) -> None:
    """The values of one head, weighted by unnormalised shares, to (P, T)."""
    fill(read, T)
    if reach < 0:
        add_product(value, rows, read, T)
        return
    for p in range(value.shape[0]):
        for r in range(2 * reach + 1):
            for t in range(T):
                read[p, t] += rows[r, t] * value[p, t + r]


@inlined(fastmath=REORDER)
def _read_gradient(
    value: Any, rows: Any, dread: Any, dvalue: Any, drows: Any, reach: int, T: int
) -> None:
    """From that of what was read, add the gradient of the values and give that of the shares."""
    if reach < 0:
        set_product(value.T, dread, drows, T)
        add_dots(dread, rows, dvalue, T)
        return
    fill(drows, T)
    for p in range(value.shape[0]):
        for r in range(2 * reach + 1):
            for t in range(T):
                drows[r, t] += dread[p, t] * value[p, t + r]
            for t in range(T):
                dvalue[p, t + r] += dread[p, t] * rows[r, t]


@inlined(fastmath=REORDER)
def _softmax_gradient(rows: Any, drows: Any, total: Any, used: int, T: int) -> None:
    """The gradient of the scores in place of that of the shares, which was divided by their sum."""
    for t in range(T):
        total[1, t] = ZERO
    for r in range(used):
        for t in range(T):
            total[1, t] += rows[r, t] * drows[r, t]
    for t in range(T):
        total[1, t] *= total[0, t]
    for r in range(used):
        for t in range(T):
            drows[r, t] = rows[r, t] * (drows[r, t] - total[1, t])
    for r in range(used, rows.shape[0]):
        for t in range(T):
            drows[r, t] = ZERO


@inlined(fastmath=REORDER)
def _score_gradient(
    query: Any, key: Any, drows: Any, dquery: Any, dkey: Any, reach: int, T: int
) -> None:
    """From that of the scores, add the gradients of the queries and of the keys."""
    if reach < 0:
        add_product(key, drows, dquery, T)
        add_dots(query, drows, dkey, T)
        return
    for p in range(query.shape[0]):
        for r in range(2 * reach + 1):
            for t in range(T):
                dquery[p, t] += drows[r, t] * key[p, t + r]
            for t in range(T):
                dkey[p, t + r] += drows[r, t] * query[p, t]


@inlined()
def _hide(hidden: Any, barred: Any, size: int, cross: bool, reach: int, T: int) -> None:
    """What is added to the scores: nothing, or so much below 0 that the key is not seen.

    ``barred`` (size,) is true at keys that nobody reads but the token itself; or it is empty.
    """
    for r in range(hidden.shape[0]):
        for t in range(T):
            s = r if reach < 0 else t + r - reach
            seen = 0 <= s < size
            if seen and barred.size > 0 and barred[s]:
                seen = not cross and s == t
            hidden[r, t] = ZERO if seen else _FLOOR


# --- One launch, for given tiles ----------------------------------------------------------------


@inlined()
def _widen(tile: Any, seen: Any, reach: int, T: int) -> None:
    """Keys and values (2 E, T) with ``reach`` columns of zeros on either side."""
    if reach > 0:
        for e in range(tile.shape[0]):
            for t in range(T):
                seen[e, t + reach] = tile[e, t]


@inlined()
def _narrow(seen: Any, tile: Any, reach: int, T: int) -> None:
    if reach > 0:
        for e in range(tile.shape[0]):
            for t in range(T):
                tile[e, t] = seen[e, t + reach]


@inlined(fastmath=REORDER)
def _scale(tile: Any, factor: Any, T: int) -> None:
    for e in range(tile.shape[0]):
        for t in range(T):
            tile[e, t] *= factor


def _launches(
    cross: bool, reach: int, T: int, U: int
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Forward and backward for tiles of T queries and U keys; see ``kernels``."""
    height = U if reach < 0 else 2 * reach + 1
    margin = max(reach, 0)

    def forward(
        x: Any, context: Any, gain: Any, bias: Any, gain_c: Any, bias_c: Any, Wq: Any, bq: Any,
        Wkv: Any, bkv: Any, Wo: Any, bo: Any, heads: int, seed: Any, threshold: Any,
        scale: Any, groups: int, barred: Any, out: Any, first: int, last: int,
    ) -> None:  # fmt: skip
        N, Q, E = x.shape
        S = context.shape[1] if cross else Q
        P = E // heads
        used = S if reach < 0 else height
        factor = ONE / np.sqrt(np.float32(P))
        for g in range(first, last):
            tile = np.empty((5, E, T), np.float32)
            residual, unit, normed, query, read = tile[0], tile[1], tile[2], tile[3], tile[4]
            source = np.empty((3, E, U), np.float32)
            key_value = np.empty((2 * E, U), np.float32)
            seen = key_value if margin == 0 else np.zeros((2 * E, U + 2 * margin), np.float32)
            rate = np.empty((3, T), np.float32)
            rate_c = np.empty((3, U), np.float32)
            rows = np.empty((height, T), np.float32)
            total = np.empty((2, T), np.float32)
            hidden = np.empty((height, T), np.float32)
            masked = barred.shape[0] > 0
            _hide(hidden, barred[:0].ravel(), S, cross, reach, T)
            for n in range(g * N // groups, (g + 1) * N // groups):
                if masked:
                    _hide(hidden, barred[n], S, cross, reach, T)
                load(x[n], residual, T)
                normalise(residual, gain, bias, unit, rate, normed, T)
                fill_rows(query, bq, T)
                add_product(Wq, normed, query, T)
                _scale(query, factor * LOG2_E, T)
                fill_rows(key_value, bkv, U)
                if cross:
                    load(context[n], source[0], U)
                    normalise(source[0], gain_c, bias_c, source[1], rate_c, source[2], U)
                    add_product(Wkv, source[2], key_value, U)
                else:
                    add_product(Wkv, normed, key_value, U)
                _widen(key_value, seen, margin, U)
                for h in range(heads):
                    a, b = h * P, (h + 1) * P
                    _score(query[a:b], seen[a:b], hidden, rows, total, used, masked, reach, T)
                    _read(seen[E + a : E + b], rows, read[a:b], reach, T)
                    _scale_columns(read[a:b], total[0], T)
                fill_rows(unit, bo, T)
                add_product(Wo, read, unit, T)
                if threshold > 0:
                    drop(unit, n * Q, E, seed, threshold, scale, T)
                for e in range(E):
                    for t in range(T):
                        residual[e, t] += unit[e, t]
                store(residual, out[n])

    def backward(
        x: Any, context: Any, gain: Any, bias: Any, gain_c: Any, bias_c: Any, Wq: Any, bq: Any,
        Wkv: Any, bkv: Any, Wo: Any, heads: int, seed: Any, threshold: Any,
        scale: Any, groups: int, barred: Any, dout: Any, dx: Any, dcontext: Any, dgain: Any,
        dbias: Any, dgain_c: Any, dbias_c: Any, dWq: Any, dbq: Any, dWkv: Any, dbkv: Any,
        dWo: Any, dbo: Any, first: int, last: int,
    ) -> None:  # fmt: skip
        N, Q, E = x.shape
        S = context.shape[1] if cross else Q
        P = E // heads
        used = S if reach < 0 else height
        factor = ONE / np.sqrt(np.float32(P))
        for g in range(first, last):
            tile = np.empty((8, E, T), np.float32)
            dresidual, unit, normed, query = tile[0], tile[1], tile[2], tile[3]
            read, dread, dquery, d = tile[4], tile[5], tile[6], tile[7]
            source = np.empty((3, E, U), np.float32)
            key_value = np.empty((2 * E, U), np.float32)
            seen = key_value if margin == 0 else np.zeros((2 * E, U + 2 * margin), np.float32)
            dkey_value = np.empty((2 * E, U), np.float32)
            dseen = dkey_value if margin == 0 else np.empty_like(seen)
            rate = np.empty((3, T), np.float32)
            rate_c = np.empty((3, U), np.float32)
            rows = np.empty((height, T), np.float32)
            total = np.empty((2, T), np.float32)
            hidden = np.empty((height, T), np.float32)
            masked = barred.shape[0] > 0
            _hide(hidden, barred[:0].ravel(), S, cross, reach, T)
            drows = np.empty((height, T), np.float32)
            for n in range(g * N // groups, (g + 1) * N // groups):
                if masked:
                    _hide(hidden, barred[n], S, cross, reach, T)
                load(x[n], d, T)
                normalise(d, gain, bias, unit, rate, normed, T)
                fill_rows(query, bq, T)
                add_product(Wq, normed, query, T)
                _scale(query, factor * LOG2_E, T)
                fill_rows(key_value, bkv, U)
                if cross:
                    load(context[n], source[0], U)
                    normalise(source[0], gain_c, bias_c, source[1], rate_c, source[2], U)
                    add_product(Wkv, source[2], key_value, U)
                else:
                    add_product(Wkv, normed, key_value, U)
                _widen(key_value, seen, margin, U)

                load(dout[n], dresidual, T)
                load(dout[n], d, T)
                if threshold > 0:
                    drop(d, n * Q, E, seed, threshold, scale, T)
                add_sums(d, dbo[g], T)
                set_product(Wo.T, d, dread, T)
                fill(dquery, T)
                fill(dseen, U + 2 * margin)
                for h in range(heads):
                    a, b = h * P, (h + 1) * P
                    key, value = seen[a:b], seen[E + a : E + b]
                    dkey, dvalue = dseen[a:b], dseen[E + a : E + b]
                    _score(query[a:b], key, hidden, rows, total, used, masked, reach, T)
                    _read(value, rows, read[a:b], reach, T)
                    _scale_columns(read[a:b], total[0], T)
                    _scale_columns(dread[a:b], total[0], T)
                    _read_gradient(value, rows, dread[a:b], dvalue, drows, reach, T)
                    _softmax_gradient(rows, drows, total, used, T)
                    _score_gradient(query[a:b], key, drows, dquery[a:b], dkey, reach, T)
                _narrow(dseen, dkey_value, margin, U)
                add_dots(d, read, dWo[g], T)
                _scale(dquery, factor, T)
                _scale(dkey_value[:E], LN_2, U)
                add_dots(dquery, normed, dWq[g], T)
                add_sums(dquery, dbq[g], T)
                add_sums(dkey_value, dbkv[g], U)
                set_product(Wq.T, dquery, d, T)
                if cross:
                    add_dots(dkey_value, source[2], dWkv[g], U)
                    set_product(Wkv.T, dkey_value, source[2], U)
                    fill(source[0], U)
                    add_normalise_gradient(
                        source[2],
                        gain_c,
                        source[1],
                        rate_c,
                        dgain_c[g],
                        dbias_c[g],
                        source[0],
                        U,
                    )
                    store(source[0], dcontext[n])
                else:
                    add_dots(dkey_value, normed, dWkv[g], U)
                    add_product(Wkv.T, dkey_value, d, U)
                add_normalise_gradient(d, gain, unit, rate, dgain[g], dbias[g], dresidual, T)
                store(dresidual, dx[n])

    return forward, backward


@functools.cache
def kernels(
    cross: bool, reach: int, T: int, U: int
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The forward and the backward launch.

    Args:
        cross: whether keys come from a context; without one, what is given for it is not read.
        reach: tokens that a query sees on either side of itself, or -1 for all.
        T: columns of a tile of queries.
        U: columns of a tile of keys; T where there is no context.
    """
    f, word, count = numba.float32, numba.uint32, numba.intp
    f1, f2, f3 = f[::1], f[:, ::1], f[:, :, ::1]
    weights = f3, f3, *(f1,) * 4, *(f2, f1) * 2, f2
    rest = count, word[::1], word, f, count, numba.boolean[:, ::1]
    grads = (f3, f3, *(f2,) * 4, *(f3, f2) * 3)
    forward, backward = _launches(cross, reach, T, U)
    return (
        compiled(*weights, f1, *rest, f3, count, count, nogil=True, fastmath=REORDER)(forward),
        compiled(*weights, *rest, f3, *grads, count, count, nogil=True, fastmath=REORDER)(backward),
    )
