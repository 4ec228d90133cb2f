"""The official CUDA kernel (state-spaces/mamba), where it is installed."""

from __future__ import annotations

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
) -> Tensor:
    """See ``s2tx.model.scan.reference.selective_scan``: same arguments, same meaning."""
    y: Tensor = selective_scan_fn(
        u, delta, A, B, C, D=D, z=z, delta_bias=delta_bias, delta_softplus=softplus
    )
    return y
