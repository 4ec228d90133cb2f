"""The selective scan in plain torch: short, differentiable, and exact in float64."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


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
    """Run ``h[l] = exp(delta[l] A) h[l-1] + delta[l] B[l] u[l]`` and read ``y[l] = C[l] h[l]``.

    The recurrence of Mamba (arXiv 2312.00752, algorithm 2, zero-order hold for A and Euler for B,
    as in its released code). The state is float32 at least, whatever the inputs.

    Args:
        u: (N, I, L) inputs; N sequences, I channels, L steps.
        delta: (N, I, L) step sizes, before ``delta_bias`` and softplus.
        A: (I, K) decay, negative; K is the state's size.
        B: (N, K, L) input projection.
        C: (N, K, L) output projection.
        D: (I,) skip connection, or None.
        z: (N, I, L) gate, passed through SiLU, or None.
        delta_bias: (I,) added to ``delta``, or None.
        softplus: whether softplus is applied to ``delta``.

    Returns:
        (N, I, L) in the type of ``u``.
    """
    dtype = torch.promote_types(u.dtype, torch.float32)
    x, dt = u.to(dtype), delta.to(dtype)
    if delta_bias is not None:
        dt = dt + delta_bias.to(dtype)[:, None]
    if softplus:
        dt = F.softplus(dt)

    # Time first, so that a step is one contiguous slice: (L, N, I, K).
    dt_LNI = dt.permute(2, 0, 1)
    decay = torch.exp(dt_LNI.unsqueeze(-1) * A.to(dtype))
    drive = (dt_LNI * x.permute(2, 0, 1)).unsqueeze(-1) * B.to(dtype).permute(2, 0, 1).unsqueeze(2)

    state = torch.zeros_like(drive[0])
    states = []
    for decay_l, drive_l in zip(decay.unbind(0), drive.unbind(0), strict=True):
        state = torch.addcmul(drive_l, decay_l, state)
        states.append(state)
    y = torch.einsum("lnik,nkl->nil", torch.stack(states), C.to(dtype))

    if D is not None:
        y = y + x * D.to(dtype)[:, None]
    if z is not None:
        y = y * F.silu(z.to(dtype))
    return y.to(u.dtype)
