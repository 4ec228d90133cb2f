"""What Numba compiles for the feed-forward sublayer: ``TILE`` tokens at a time, in the cache.

Nothing is kept for the backward pass but the input, from which it computes the rest again.
Letters: M tokens, E width, F hidden width, T tokens of a tile.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from s2tx.model.compiled import REORDER, compiled
from s2tx.model.compiled.elementary import gaussian
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

TILE = 128
BLOCK = 32  # rows of the hidden layer that are in the making at a time


def _forward(
    x: Any, gain: Any, bias: Any, W1: Any, b1: Any, W2: Any, b2: Any, seed: Any, threshold: Any,
    scale: Any, groups: int, out: Any, first: int, last: int,
) -> None:  # fmt: skip
    (M, E), F = x.shape, b1.size
    tiles = (M + TILE - 1) // TILE
    tile = np.empty((3, E, TILE), np.float32)
    residual, unit, normed = tile[0], tile[1], tile[2]
    block = np.empty((BLOCK, TILE), np.float32)
    rate = np.empty((3, TILE), np.float32)
    for start in range(first * tiles // groups * TILE, last * tiles // groups * TILE, TILE):
        stop = min(start + TILE, M)
        load(x[start:stop], residual, TILE)
        normalise(residual, gain, bias, unit, rate, normed, TILE)
        fill_rows(unit, b2, TILE)
        for a in range(0, F, BLOCK):
            b = min(a + BLOCK, F)
            hidden = block[: b - a]
            fill_rows(hidden, b1[a:b], TILE)
            add_product(W1[a:b], normed, hidden, TILE)
            for f in range(b - a):
                for t in range(TILE):
                    h = hidden[f, t]
                    hidden[f, t] = h * gaussian(h)[0]
            add_product(W2[:, a:b], hidden, unit, TILE)
        if threshold > 0:
            drop(unit, start, E, seed, threshold, scale, TILE)
        for e in range(E):
            for t in range(TILE):
                residual[e, t] += unit[e, t]
        store(residual, out[start:stop])


def _backward(
    x: Any, gain: Any, bias: Any, W1: Any, b1: Any, W2: Any, seed: Any, threshold: Any,
    scale: Any, groups: int, dout: Any, dx: Any, dgain: Any, dbias: Any, dW1: Any, db1: Any,
    dW2: Any, db2: Any, first: int, last: int,
) -> None:  # fmt: skip
    """The parameters' gradients have a leading axis of groups and come as zeros."""
    (M, E), F = x.shape, b1.size
    tiles = (M + TILE - 1) // TILE
    tile = np.empty((5, E, TILE), np.float32)
    dresidual, unit, normed, dnormed, d = tile[0], tile[1], tile[2], tile[3], tile[4]
    block = np.empty((2, BLOCK, TILE), np.float32)
    rate = np.empty((3, TILE), np.float32)
    for g in range(first, last):
        for start in range(g * tiles // groups * TILE, (g + 1) * tiles // groups * TILE, TILE):
            stop = min(start + TILE, M)
            load(x[start:stop], d, TILE)
            normalise(d, gain, bias, unit, rate, normed, TILE)
            load(dout[start:stop], dresidual, TILE)
            for e in range(E):
                for t in range(TILE):
                    d[e, t] = dresidual[e, t]
            if threshold > 0:
                drop(d, start, E, seed, threshold, scale, TILE)
            add_sums(d, db2[g], TILE)
            fill(dnormed, TILE)
            for a in range(0, F, BLOCK):
                b = min(a + BLOCK, F)
                hidden, dhidden = block[0, : b - a], block[1, : b - a]
                fill_rows(hidden, b1[a:b], TILE)
                add_product(W1[a:b], normed, hidden, TILE)
                set_product(W2[:, a:b].T, d, dhidden, TILE)
                for f in range(b - a):
                    for t in range(TILE):
                        h = hidden[f, t]
                        below, density = gaussian(h)
                        hidden[f, t] = h * below
                        dhidden[f, t] *= below + density
                add_dots(d, hidden, dW2[g, :, a:b], TILE)
                add_dots(dhidden, normed, dW1[g, a:b], TILE)
                add_sums(dhidden, db1[g, a:b], TILE)
                add_product(W1[a:b].T, dhidden, dnormed, TILE)
            add_normalise_gradient(dnormed, gain, unit, rate, dgain[g], dbias[g], dresidual, TILE)
            store(dresidual, dx[start:stop])


@functools.cache
def kernels() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The forward and the backward launch."""
    f, word, count = numba.float32, numba.uint32, numba.intp
    f1, f2, f3 = f[::1], f[:, ::1], f[:, :, ::1]
    weights, rest = (f2, f1, f1, f2, f1, f2), (word[::1], word, f, count)
    grads = (f2, f2, f2, f3, f2, f3, f2)
    return (
        compiled(*weights, f1, *rest, f2, count, count, nogil=True, fastmath=REORDER)(_forward),
        compiled(*weights, *rest, f2, *grads, count, count, nogil=True, fastmath=REORDER)(
            _backward
        ),
    )
