"""The selective scan for the CPU: forward and backward fused into two loops that Numba compiles.

Nothing of the size (N, I, L, K) is ever kept. The forward pass stores the state once every
``CHUNK`` steps; the backward pass starts from those, last chunk first, and runs each chunk forward
again into a small scratch that stays in the cache.

One task is a few sequences times ``LANES`` channels; the lanes are what the compiler vectorises.
How the work is cut depends on shapes alone and every sum over tasks runs in a fixed order, so the
same inputs give the same bits whatever the number of threads.

Letters: N sequences, I channels, L steps, K state, G groups of sequences, J blocks of channels,
W lanes of a block.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

try:
    import numba
except ImportError as error:
    raise ImportError(
        "runtime.scan is cpu, which needs numba: pip install numba, or set runtime.scan to reference"
    ) from error

LANES = 16  # one AVX-512 register, two of AVX2, four of NEON
CHUNK = 32  # steps between two stored states
GROUPS = 64  # at most so many groups of sequences, each with its own partial sums

Floats = NDArray[np.float32]

# Every launch holds it: not each of Numba's threading layers takes calls from two threads at once.
_LAUNCH = threading.Lock()

# Reordered sums and fused multiply-adds only: infinities and NaNs keep their meaning.
_REORDER = {"contract", "reassoc", "nsz"}


def _compile(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """``function`` compiled at its first call; kept on disk where the disk can be written to."""
    try:
        compiled = numba.njit(error_model="numpy", cache=True, **options)(function)
    except RuntimeError:  # no folder to keep it in
        compiled = numba.njit(error_model="numpy", **options)(function)
    return compiled  # type: ignore[no-any-return]


# --- Elementary functions -----------------------------------------------------------------------
# Written out, because a call into the C library would stop the compiler from vectorising the loop.

_LOG2_E = np.float32(1.44269504)
_LN_2_HIGH, _LN_2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_ROUND = np.float32(12582912.0)  # 1.5 * 2**23: adding it rounds to an integer, in the low bits
_EXP_LOW, _EXP_HIGH = np.float32(-86.6), np.float32(88.72283)  # 0 below, inf above
_INF, _HALF, _ONE, _TWO = np.float32(np.inf), np.float32(0.5), np.float32(1), np.float32(2)
_ZERO, _THRESHOLD = np.float32(0), np.float32(20)
# Twice the coefficients of Cephes' expf: the exponent is put in one too small, so that the largest
# results do not overflow on the way.
_E5, _E4, _E3 = np.float32(2 * 1.9875691500e-4), np.float32(2 * 1.3981999507e-3), np.float32(
    2 * 8.3334519073e-3
)
_E2, _E1, _E0 = np.float32(2 * 4.1665795894e-2), np.float32(2 * 1.6666665459e-1), np.float32(
    2 * 5.0000001201e-1
)


def _exp_python(x):
    low = _EXP_LOW if x < _EXP_LOW else x  # this way round, a NaN passes
    clamped = _EXP_HIGH if low > _EXP_HIGH else low
    shifted = clamped * _LOG2_E + _ROUND
    n = shifted - _ROUND
    r = clamped - n * _LN_2_HIGH - n * _LN_2_LOW
    p = ((((_E5 * r + _E4) * r + _E3) * r + _E2) * r + _E1) * r + _E0
    scale = np.int32((shifted.view(np.int32) << 23) + np.int32(126 << 23)).view(np.float32)
    y = (p * (r * r) + _TWO * r + _TWO) * scale
    y = _ZERO if x < _EXP_LOW else y
    return _INF if x > _EXP_HIGH else y

_exp = _compile(_exp_python, fastmath={"contract"})
