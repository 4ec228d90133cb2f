"""What Numba compiles for dropout alone: it is its own backward pass."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from s2tx.model.compiled import compiled
from s2tx.model.compiled.elementary import ZERO
from s2tx.model.compiled.tiles import survives


def _drop(
    x: Any, seed: Any, threshold: Any, scale: Any, groups: int, out: Any, first: int, last: int
) -> None:
    n = x.size
    for i in range(first * n // groups, last * n // groups):
        out[i] = x[i] * (scale if survives(np.uint32(i), seed, threshold) else ZERO)


@functools.cache
def kernel() -> Callable[..., Any]:
    """The launch over flat arrays."""
    f, word, count = numba.float32, numba.uint32, numba.intp
    inputs = (f[::1], word[::1], word, f, count, f[::1], count, count)
    return compiled(*inputs, nogil=True)(_drop)
