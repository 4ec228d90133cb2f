"""Mamba, one direction and both.

Parameter names and shapes are those of ``mamba_ssm.Mamba``, so a state dict of either loads in the
other. Letters: N sequences, L steps, E width, I inner width (``expand * E``), K state, R rank of
the step size.
"""

from __future__ import annotations

import math

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
        length = x_NLE.shape[1]
        x_NIL, z_NIL = self.in_proj(x_NLE).transpose(1, 2).chunk(2, dim=1)
        x_NIL = F.silu(self.conv1d(x_NIL)[..., :length])
        dt, B_NLK, C_NLK = self.x_proj(x_NIL.transpose(1, 2)).split(
            [self.rank, self.state, self.state], dim=-1
        )
        y_NIL = self.scan(
            x_NIL,
            F.linear(dt, self.dt_proj.weight).transpose(1, 2),
            -torch.exp(self.A_log),
            B_NLK.transpose(1, 2).unsqueeze(1),
            C_NLK.transpose(1, 2).unsqueeze(1),
            self.D,
            z_NIL,
            self.dt_proj.bias,
            softplus=True,
        )
        out: Tensor = self.out_proj(y_NIL.transpose(1, 2))
        return out


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
        mixed = self.forth(normed)
        if self.reverse is not None:
            mixed = mixed + self.reverse(normed.flip(1)).flip(1)
        out: Tensor = self.feed_forward(x_NLE + self.dropout(mixed))
        return out
