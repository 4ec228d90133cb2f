"""What a Mamba block does to a sequence: one meaning, two implementations, one place that chooses.

``reference`` is plain torch around any scan; ``cpu`` is one compiled step, scan and all.
"""

from __future__ import annotations

import functools
from typing import NamedTuple, Protocol

from torch import Tensor

from s2tx.model.scan import SelectiveScan


class MixerWeights(NamedTuple):
    """The parameters of G blocks, stacked; E width, I inner width, K state, R rank, J taps.

    Attributes:
        in_proj: (G, 2 I, E), the branch that is scanned first, then its gate.
        conv: (G, I, J), the last tap for the step itself.
        conv_bias: (G, I).
        x_proj: (G, R + 2 K, I): to the step size's low rank, to B, to C.
        dt_proj: (G, I, R).
        dt_bias: (G, I).
        A: (G, I, K), negative.
        D: (G, I).
        out_proj: (G, E, I).
    """

    in_proj: Tensor
    conv: Tensor
    conv_bias: Tensor
    x_proj: Tensor
    dt_proj: Tensor
    dt_bias: Tensor
    A: Tensor
    D: Tensor
    out_proj: Tensor


PASSED = -1e4  # added to a raw step size: its softplus is 0, and the state stays what it is


class Mixer(Protocol):
    """See ``reference.mix``."""

    def __call__(
        self,
        x_NLE: Tensor,
        weights: MixerWeights,
        reverse: tuple[bool, ...],
        passed_NL: Tensor | None = None,
    ) -> Tensor: ...


def around(scan: SelectiveScan) -> Mixer:
    """The mixer that goes with a scan."""
    from s2tx.model.mixer import reference

    if getattr(scan, "__module__", None) == "s2tx.model.scan.cpu":
        from s2tx.model.mixer import cpu

        return cpu.mix
    return functools.partial(reference.mix, scan)
