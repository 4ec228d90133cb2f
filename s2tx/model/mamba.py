"""Mamba, one direction and both at once.

Parameter names and shapes are those of ``mamba_ssm.Mamba``, so a state dict of either loads in the
other. Letters: N sequences, L steps, E width, I inner width (``expand * E``), K state, R rank of
the step size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2tx.model.attention import Dropout, FeedForward
from s2tx.model.scan import SelectiveScan
from s2tx.model.sublayers import Sublayers

_DT_MIN, _DT_MAX, _DT_FLOOR = 1e-3, 1e-1, 1e-4


class Mamba(nn.Module):
    """The selective state-space block of arXiv 2312.00752, section 3.4.

    Args:
        width: E.
        state: K.
        conv: taps of the causal depthwise convolution.
        expand: I / E.
        scan: the selective scan to run.
    """

    def __init__(self, width: int, state: int, conv: int, expand: int, scan: SelectiveScan) -> None:
        super().__init__()
        inner, self.rank, self.state = expand * width, math.ceil(width / 16), state
        self.scan = scan
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, conv, groups=inner, padding=conv - 1)
        self.x_proj = nn.Linear(inner, self.rank + 2 * state, bias=False)
        self.dt_proj = nn.Linear(self.rank, inner)
        self.A_log = nn.Parameter(torch.log(torch.arange(1.0, state + 1)).repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)
        self._reset_step_size()

    @torch.no_grad()
    def _reset_step_size(self) -> None:
        """Step sizes start log-uniform in [1e-3, 1e-1], so that some channels remember long."""
        nn.init.uniform_(self.dt_proj.weight, -(self.rank**-0.5), self.rank**-0.5)
        span = math.log(_DT_MAX) - math.log(_DT_MIN)
        dt = torch.exp(torch.rand_like(self.dt_proj.bias) * span + math.log(_DT_MIN))
        dt = dt.clamp(min=_DT_FLOOR)
        self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # inverse of softplus

    def forward(self, x_NLE: Tensor) -> Tensor:
        """(N, L, E) to (N, L, E); step l reads steps 0..l only."""
        return mix(x_NLE, [self], (False,))


def mix(x_NLE: Tensor, blocks: Sequence[Mamba], reverse: tuple[bool, ...]) -> Tensor:
    """The sum of G blocks that read one sequence, each in its own direction, with one scan.

    Args:
        x_NLE: (N, L, E).
        blocks: G of one size.
        reverse: for each of them, whether it reads from the last step to the first.

    Returns:
        (N, L, E).
    """
    N, L, _ = x_NLE.shape
    G, rank, state = len(blocks), blocks[0].rank, blocks[0].state
    inward = [block.in_proj.weight.chunk(2) for block in blocks]
    W_in = torch.cat([of_x for of_x, _ in inward] + [of_z for _, of_z in inward])
    x_NJL, z_NJL = F.linear(x_NLE, W_in).transpose(1, 2).chunk(2, dim=1)  # J = G * I
    pairs = zip(x_NJL.chunk(G, dim=1), blocks, reverse, strict=True)
    u_NJL = F.silu(torch.cat([_convolve(x, block.conv1d, back) for x, block, back in pairs], dim=1))
    W_x = torch.stack([block.x_proj.weight for block in blocks])
    W_dt = torch.stack([block.dt_proj.weight for block in blocks])
    projected = W_x @ u_NJL.view(N, G, -1, L)
    dt_NGRL, B_NGKL, C_NGKL = torch.split(projected, [rank, state, state], dim=2)
    y_NJL = blocks[0].scan(
        u_NJL,
        (W_dt @ dt_NGRL).flatten(1, 2),
        -torch.exp(torch.cat([block.A_log for block in blocks])),
        B_NGKL,
        C_NGKL,
        torch.cat([block.D for block in blocks]),
        z_NJL,
        torch.cat([block.dt_proj.bias for block in blocks]),
        softplus=True,
        reverse=reverse,
    )
    return F.linear(
        y_NJL.transpose(1, 2), torch.cat([block.out_proj.weight for block in blocks], dim=1)
    )


def _convolve(x_NIL: Tensor, conv: nn.Conv1d, back: bool) -> Tensor:
    """The depthwise convolution over a step and those before it, or after it where ``back``."""
    taps, L = conv.weight.shape[-1], x_NIL.shape[-1]
    weight = conv.weight.flip(-1) if back else conv.weight
    wide = F.conv1d(x_NIL, weight, conv.bias, padding=taps - 1, groups=len(weight))
    return wide[..., taps - 1 :] if back else wide[..., :L]


class BidirectionalMamba(nn.Module):
    """Pre-norm residual block: Mamba in each direction with its own weights, then feed-forward.

    Args:
        bidirectional: if false, only the direction of time (an ablation).
    """

    def __init__(
        self,
        width: int,
        state: int,
        conv: int,
        expand: int,
        feed_forward: int,
        dropout: float,
        bidirectional: bool,
        scan: SelectiveScan,
        sublayers: Sublayers,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.forth = Mamba(width, state, conv, expand, scan)
        self.reverse = Mamba(width, state, conv, expand, scan) if bidirectional else None
        self.feed_forward = FeedForward(width, feed_forward, dropout, sublayers)
        self.dropout = Dropout(dropout, sublayers)

    def forward(self, x_NLE: Tensor) -> Tensor:
        """(N, L, E) to (N, L, E)."""
        normed = self.norm(x_NLE)
        if self.reverse is None:
            mixed = self.forth(normed)
        else:
            mixed = mix(normed, [self.forth, self.reverse], (False, True))
        out: Tensor = self.feed_forward(x_NLE + self.dropout(mixed))
        return out
