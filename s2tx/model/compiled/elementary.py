"""exp and its kin, written out: a call into the C library would stop a loop's vectorising.

Every constant is a float32: a Python number would turn the arithmetic into float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from s2tx.model.compiled import CONTRACT, inlined

ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
_INF = np.float32(np.inf)
LOG2_E, LN_2 = np.float32(1.44269504), np.float32(0.69314718)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_ROUND = np.float32(12582912)  # 1.5 * 2**23: adding it leaves a rounded integer in the low bits
_FLOOR = np.float32(-125)  # of powers of two
_LOW, _HIGH = np.float32(-86.6), np.float32(88.72283)  # exp is 0 below, inf above
# Cephes' expf, doubled: the exponent goes in one too small, so the largest results do not overflow.
_E5, _E4 = np.float32(2 * 1.9875691500e-4), np.float32(2 * 1.3981999507e-3)
_E3, _E2 = np.float32(2 * 8.3334519073e-3), np.float32(2 * 4.1665795894e-2)
_E1, _E0 = np.float32(2 * 1.6666665459e-1), np.float32(2 * 5.0000001201e-1)
# log(1 + e) = 2 atanh(s) with s = e / (2 + e) <= 1/3: the odd powers' 1 / (2 i + 1).
_L1, _L2, _L3, _L4 = np.float32(1 / 3), np.float32(1 / 5), np.float32(1 / 7), np.float32(1 / 9)
_L5, _L6, _L7 = np.float32(1 / 11), np.float32(1 / 13), np.float32(1 / 15)


@inlined(fastmath=CONTRACT)
def exp(x: Any) -> Any:
    """exp within 1 ulp; results under 2.5e-38 are 0."""
    floor = _LOW if x < _LOW else x  # this way round a NaN passes
    bounded = _HIGH if floor > _HIGH else floor
    shifted = bounded * LOG2_E + _ROUND
    n = shifted - _ROUND
    r = bounded - n * _LN2_HIGH - n * _LN2_LOW
    p = ((((_E5 * r + _E4) * r + _E3) * r + _E2) * r + _E1) * r + _E0
    exponent = (np.float32(shifted).view(np.int32) << 23) + (126 << 23)
    y = (p * (r * r) + TWO * r + TWO) * np.int32(exponent).view(np.float32)
    y = ZERO if x < _LOW else y
    return _INF if x > _HIGH else y


@inlined(fastmath=CONTRACT)
def exp2_below(x: Any) -> Any:
    """2**x for x <= 0, within 2 ulp; results under 2.4e-38 are 2.4e-38."""
    bounded = max(x, _FLOOR)
    shifted = bounded + _ROUND
    r = (bounded - (shifted - _ROUND)) * LN_2
    p = ((((_E5 * r + _E4) * r + _E3) * r + _E2) * r + _E1) * r + _E0
    exponent = (np.float32(shifted).view(np.int32) << 23) + (126 << 23)
    return (p * (r * r) + TWO * r + TWO) * np.int32(exponent).view(np.float32)


@inlined(fastmath=CONTRACT)
def softplus_of(x: Any) -> Any:
    """log(1 + exp(x)), exact to a few ulp on both tails."""
    e = exp(-x if x > ZERO else x)
    s = e / (TWO + e)
    w = s * s
    p = ((((((_L7 * w + _L6) * w + _L5) * w + _L4) * w + _L3) * w + _L2) * w + _L1) * w + ONE
    return (x if x > ZERO else ZERO) + TWO * s * p


@inlined(fastmath=CONTRACT)
def sigmoid(x: Any) -> Any:
    e = exp(-x if x > ZERO else x)
    return (ONE if x > ZERO else e) / (ONE + e)


# erf by Abramowitz and Stegun 7.1.26, within 1.5e-7: one division and one exp.
_P = np.float32(0.3275911 * np.sqrt(0.5))
_A1, _A2, _A3 = np.float32(0.254829592), np.float32(-0.284496736), np.float32(1.421413741)
_A4, _A5 = np.float32(-1.453152027), np.float32(1.061405429)
_DENSITY = np.float32(1 / np.sqrt(2 * np.pi))


@inlined(fastmath=CONTRACT)
def gaussian(x: Any) -> Any:
    """The standard normal's cumulative probability at x, and x times its density."""
    peak = exp(-HALF * x * x)
    t = ONE / (ONE + _P * abs(x))
    tail = HALF * t * ((((_A5 * t + _A4) * t + _A3) * t + _A2) * t + _A1) * peak
    return (ONE - tail if x > ZERO else tail), x * peak * _DENSITY
