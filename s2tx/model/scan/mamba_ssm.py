"""The official CUDA kernel (state-spaces/mamba), where it is installed."""

from __future__ import annotations

import torch
from torch import Tensor

try:
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
except ImportError as error:  # it also fails where only its compiled part is absent
    raise ImportError(
        'runtime.scan is mamba_ssm, which is not installed: pip install -e ".[cuda]" '
        "(needs nvcc), or set runtime.scan to auto"
    ) from error


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    softplus: bool = False,
    reverse: tuple[bool, ...] = (False,),
) -> Tensor:
    """See ``s2tx.model.scan.reference.selective_scan``: same arguments, same meaning.

    The kernel knows one direction: what runs against time is flipped before and after.
    """
    u, delta, B, C = (_in_order(x, reverse) for x in (u, delta, B, C))
    z = None if z is None else _in_order(z, reverse)
    y: Tensor = selective_scan_fn(
        u, delta, A, B, C, D=D, z=z, delta_bias=delta_bias, delta_softplus=softplus
    )
    return _in_order(y, reverse)


def _in_order(x: Tensor, reverse: tuple[bool, ...]) -> Tensor:
    """Flip the last axis of each reversed group of axis 1; twice is not at all."""
    if not any(reverse):
        return x
    parts = zip(x.chunk(len(reverse), dim=1), reverse, strict=True)
    return torch.cat([part.flip(-1) if back else part for part, back in parts], dim=1)
