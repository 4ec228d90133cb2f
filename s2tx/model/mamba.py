"""Mamba, one direction and both at once.

Parameter names and shapes are those of ``mamba_ssm.Mamba``, so a state dict of either loads in the
other. Letters: N sequences, L steps, E width, I inner width (``expand * E``), K state, R rank of
the step size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from s2tx.model.attention import Dropout, FeedForward
from s2tx.model.mixer import MixerWeights, around
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
        inner, rank = expand * width, math.ceil(width / 16)
        self.mixer = around(scan)
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, conv, groups=inner, padding=conv - 1)
        self.x_proj = nn.Linear(inner, rank + 2 * state, bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.log(torch.arange(1.0, state + 1)).repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)
        self._reset_step_size()

    @torch.no_grad()
    def _reset_step_size(self) -> None:
        """Step sizes start log-uniform in [1e-3, 1e-1], so that some channels remember long."""
        rank = self.dt_proj.in_features
        nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
        span = math.log(_DT_MAX) - math.log(_DT_MIN)
        dt = torch.exp(torch.rand_like(self.dt_proj.bias) * span + math.log(_DT_MIN))
        dt = dt.clamp(min=_DT_FLOOR)
        self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # inverse of softplus

    def forward(self, x_NLE: Tensor) -> Tensor:
        """(N, L, E) to (N, L, E); step l reads steps 0..l only."""
        return mix(x_NLE, [self], (False,))

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """The parameters, in the order of ``MixerWeights``."""
        return (
            self.in_proj.weight,
            self.conv1d.weight.squeeze(1),
            cast(Tensor, self.conv1d.bias),
            self.x_proj.weight,
            self.dt_proj.weight,
            self.dt_proj.bias,
            -torch.exp(self.A_log),
            self.D,
            self.out_proj.weight,
        )


def mix(
    x_NLE: Tensor,
    blocks: Sequence[Mamba],
    reverse: tuple[bool, ...],
    passed_NL: Tensor | None = None,
) -> Tensor:
    """The sum of blocks that read one sequence, each in its own direction, in one pass.

    Args:
        x_NLE: (N, L, E).
        blocks: of one size.
        reverse: for each of them, whether it reads from the last step to the first.
        passed_NL: bool, true at steps that are passed by: see ``mixer.reference.mix``.

    Returns:
        (N, L, E).
    """
    stacks = (torch.stack(each) for each in zip(*(block.weights for block in blocks), strict=True))
    return blocks[0].mixer(x_NLE, MixerWeights(*stacks), reverse, passed_NL)


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

    def forward(self, x_NLE: Tensor, passed_NL: Tensor | None = None) -> Tensor:
        """(N, L, E) to (N, L, E); steps where ``passed_NL`` is true tell no other step anything."""
        both = [self.forth] if self.reverse is None else [self.forth, self.reverse]
        mixed = mix(self.norm(x_NLE), both, (False, True)[: len(both)], passed_NL)
        out: Tensor = self.feed_forward(x_NLE + self.dropout(mixed))
        return out
