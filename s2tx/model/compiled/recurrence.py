"""The recurrence of the selective scan over one chunk of steps, for every kernel that has one.

The lanes are channels: what the compiler vectorises. Letters: K state, W channels, a multiple of
``LANES``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from s2tx.model.compiled import CONTRACT, REORDER, inlined
from s2tx.model.compiled.elementary import ONE, ZERO

LANES = 32  # channels of a block: enough that what is done once a step and state weighs little
CHUNK = 32  # steps between two stored states

# --- The decay ----------------------------------------------------------------------------------
# Most of the time goes here, so exp is 2**x of an x that was scaled by 1 / log(2) with A, and it
# goes without the care of ``elementary.exp``: an error of 1 ulp in x weighs more anyway. A decay
# under 2**-127 is 0 and one over 2**127.5 is inf.

LOG2_E, LN2 = np.float32(1 / np.log(2)), np.float32(np.log(2))
_LOW, _HIGH = np.float32(-127), np.float32(128)
_ROUND = np.float32(3 * 2**22 + 127)  # adding it leaves round(x) + 127 in the low bits
# 2**r is 1 + r (P1 + r (P2 + ...)) to 2e-9 over [-1/2, 1/2].
_P1, _P2, _P3 = np.float32(0.693147203), np.float32(0.240226479), np.float32(0.0555033247)
_P4, _P5, _P6 = np.float32(0.00961843736), np.float32(0.00133988761), np.float32(1.53533641e-4)


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
# that before each loop and falls back to one number at a time where ranges interleave, or where an
# index could count from the end of an axis: so lanes are unsigned.

DT, DRIVE, Y, X, G, SUM_B, SUM_A = 0, 1, 2, 3, 4, 5, 6  # rows of ``step`` (..., CHUNK, W)
RAW, GATE, OUT, DX, DRAW, STEP = 7, 8, 9, 10, 11, 12  # of the caller, and how many are taken
RATE, STATE, DSTATE, DRATE = 0, 1, 2, 3  # rows of ``lane`` (4, K, W); RATE is A / log(2)
DECAY, BEFORE = 0, 1  # rows of ``past`` (2, CHUNK, K, LANES), what the reverse pass needs
INTO, OUT_OF, DINTO, DOUT_OF = 0, 1, 2, 3  # rows of ``both`` (4, CHUNK, K): B, C, gradients


@inlined(fastmath=REORDER)
def forward_steps(step: Any, lane: Any, both: Any, base: int, size: int) -> None:
    """Move the states of LANES channels from ``base`` over ``size`` steps; add their share to y."""
    lanes = np.uint64(base)
    for t in range(size):
        for k in range(lane.shape[1]):
            b, c = both[INTO, t, k], both[OUT_OF, t, k]
            for j in range(LANES):
                i = lanes + np.uint64(j)
                decay = _exp2(step[DT, t, i] * lane[RATE, k, i])
                h = decay * lane[STATE, k, i] + step[DRIVE, t, i] * b
                lane[STATE, k, i] = h
                step[Y, t, i] += c * h


@inlined(fastmath=REORDER)
def forward_steps_kept(step: Any, lane: Any, both: Any, past: Any, base: int, size: int) -> None:
    """The same, with what the reverse pass needs; add to the gradient of C."""
    lanes = np.uint64(base)
    for t in range(size):
        for k in range(lane.shape[1]):
            b, c, dc = both[INTO, t, k], both[OUT_OF, t, k], ZERO
            for j in range(LANES):
                i = lanes + np.uint64(j)
                before = lane[STATE, k, i]
                decay = _exp2(step[DT, t, i] * lane[RATE, k, i])
                h = decay * before + step[DRIVE, t, i] * b
                past[DECAY, t, k, j] = decay
                past[BEFORE, t, k, j] = before
                lane[STATE, k, i] = h
                step[Y, t, i] += c * h
                dc += step[G, t, i] * h
            both[DOUT_OF, t, k] += dc


@inlined(fastmath=REORDER)
def reverse_steps(step: Any, lane: Any, both: Any, past: Any, base: int, size: int) -> None:
    """Move the states' gradients back over ``size`` steps.

    Sets SUM_A, the gradient of the step size through the decay, and SUM_B, that of the drive; adds
    to dA and dB.
    """
    lanes = np.uint64(base)
    for t in range(size - 1, -1, -1):
        for j in range(LANES):
            i = lanes + np.uint64(j)
            step[SUM_A, t, i] = ZERO
            step[SUM_B, t, i] = ZERO
        for k in range(lane.shape[1]):
            b, c, db = both[INTO, t, k], both[OUT_OF, t, k], ZERO
            for j in range(LANES):
                i = lanes + np.uint64(j)
                dh = lane[DSTATE, k, i] + step[G, t, i] * c
                dbefore = dh * past[DECAY, t, k, j]
                dexponent = dbefore * past[BEFORE, t, k, j]
                lane[DSTATE, k, i] = dbefore
                lane[DRATE, k, i] += dexponent * step[DT, t, i]
                step[SUM_A, t, i] += dexponent * lane[RATE, k, i]
                step[SUM_B, t, i] += dh * b
                db += dh * step[DRIVE, t, i]
            both[DINTO, t, k] += db
