"""The Mamba mixer in plain torch, around any scan.

Letters: N sequences, L steps, E width, G directions, I inner width, J = G * I, K state, R rank.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from s2tx.model.mixer import PASSED, MixerWeights
from s2tx.model.scan import SelectiveScan


def mix(
    scan: SelectiveScan,
    x_NLE: Tensor,
    weights: MixerWeights,
    reverse: tuple[bool, ...],
    passed_NL: Tensor | None = None,
) -> Tensor:
    """The sum of G Mamba blocks that read one sequence, each in its own direction, with one scan.

    Args:
        scan: run once for all directions.
        x_NLE: (N, L, E).
        weights: of the G blocks.
        reverse: for each of them, whether it reads from the last step to the first.
        passed_NL: bool, true at steps that are passed by: they read as zeros, leave the state as
            it is and give zeros. None to stop at all.

    Returns:
        (N, L, E).
    """
    w, N, L = weights, *x_NLE.shape[:2]
    G, I, K = w.A.shape  # noqa: E741
    if passed_NL is not None:
        x_NLE = x_NLE.masked_fill(passed_NL.unsqueeze(-1), 0.0)
    inward = w.in_proj.unflatten(1, (2, I)).transpose(0, 1).flatten(0, 2)  # type: ignore[no-untyped-call]
    x_NJL, z_NJL = F.linear(x_NLE, inward).transpose(1, 2).chunk(2, dim=1)
    parts = zip(x_NJL.chunk(G, dim=1), w.conv, w.conv_bias, reverse, strict=True)
    u_NJL = F.silu(torch.cat([_convolve(*part) for part in parts], dim=1))
    projected = w.x_proj @ u_NJL.view(N, G, I, L)
    dt_NGRL, B_NGKL, C_NGKL = torch.split(projected, [w.dt_proj.shape[2], K, K], dim=2)
    raw_NJL = (w.dt_proj @ dt_NGRL).flatten(1, 2)
    if passed_NL is not None:
        raw_NJL = raw_NJL + PASSED * passed_NL.unsqueeze(1).to(raw_NJL)
    y_NJL = scan(
        u_NJL,
        raw_NJL,
        w.A.flatten(0, 1),
        B_NGKL,
        C_NGKL,
        w.D.flatten(),
        z_NJL,
        w.dt_bias.flatten(),
        softplus=True,
        reverse=reverse,
    )
    return F.linear(y_NJL.transpose(1, 2), w.out_proj.transpose(0, 1).flatten(1))


def _convolve(x_NIL: Tensor, taps_IJ: Tensor, bias_I: Tensor, back: bool) -> Tensor:
    """The depthwise convolution over a step and those before it, or after it where ``back``."""
    (I, J), L = taps_IJ.shape, x_NIL.shape[-1]  # noqa: E741
    taps = taps_IJ.flip(-1) if back else taps_IJ
    wide = F.conv1d(x_NIL, taps.unsqueeze(1), bias_I, padding=J - 1, groups=I)
    return wide[..., J - 1 :] if back else wide[..., :L]
