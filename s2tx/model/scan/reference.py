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
    reverse: tuple[bool, ...] = (False,),
) -> Tensor:
    """Run ``h[l] = exp(delta[l] A) h[l-1] + delta[l] B[l] u[l]`` and read ``y[l] = C[l] h[l]``.

    The recurrence of Mamba (arXiv 2312.00752, algorithm 2, zero-order hold for A and Euler for B,
    as in its released code). The state is float32 at least, whatever the inputs. The channels form
    G equal groups, one after another; each has its own B and C and its own direction: a reversed
    group runs from the last step to the first, with ``h[l+1]`` in the place of ``h[l-1]``.

    Args:
        u: (N, I, L) inputs; N sequences, I channels, L steps.
        delta: (N, I, L) step sizes, before ``delta_bias`` and softplus.
        A: (I, K) decay, negative; K is the state's size.
        B: (N, G, K, L) input projection.
        C: (N, G, K, L) output projection.
        D: (I,) skip connection, or None.
        z: (N, I, L) gate, passed through SiLU, or None.
        delta_bias: (I,) added to ``delta``, or None.
        softplus: whether softplus is applied to ``delta``.
        reverse: for each of the G groups, whether it runs against time.

    Returns:
        (N, I, L) in the type of ``u``.
    """
    dtype = torch.promote_types(u.dtype, torch.float32)
    (N, I, L), G = u.shape, len(reverse)  # noqa: E741
    x, dt = u.to(dtype), delta.to(dtype)
    if delta_bias is not None:
        dt = dt + delta_bias.to(dtype)[:, None]
    if softplus:
        dt = F.softplus(dt)

    # In the order of the scan and time first, so that a step is one contiguous slice: (L, N, G, J),
    # J channels in each group.
    dt_LNGJ = _in_order(dt.reshape(N, G, I // G, L), reverse).permute(3, 0, 1, 2)
    x_LNGJ = _in_order(x.reshape(N, G, I // G, L), reverse).permute(3, 0, 1, 2)
    B_LNGK = _in_order(B.to(dtype), reverse).permute(3, 0, 1, 2)
    decay = torch.exp(dt_LNGJ.unsqueeze(-1) * A.to(dtype).reshape(G, I // G, -1))
    drive = (dt_LNGJ * x_LNGJ).unsqueeze(-1) * B_LNGK.unsqueeze(3)

    state = torch.zeros_like(drive[0])
    states = []
    for decay_l, drive_l in zip(decay.unbind(0), drive.unbind(0), strict=True):
        state = torch.addcmul(drive_l, decay_l, state)
        states.append(state)
    C_NGKL = _in_order(C.to(dtype), reverse)
    y_NGJL = torch.einsum("lngjk,ngkl->ngjl", torch.stack(states), C_NGKL)
    y = _in_order(y_NGJL, reverse).flatten(1, 2)

    if D is not None:
        y = y + x * D.to(dtype)[:, None]
    if z is not None:
        y = y * F.silu(z.to(dtype))
    return y.to(u.dtype)


def _in_order(x_NGJL: Tensor, reverse: tuple[bool, ...]) -> Tensor:
    """Flip the steps of each reversed group; twice is not at all."""
    if not any(reverse):
        return x_NGJL
    parts = zip(x_NGJL.unbind(1), reverse, strict=True)
    return torch.stack([x.flip(-1) if back else x for x, back in parts], dim=1)
