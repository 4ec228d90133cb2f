"""What a user would put in the place of missing values before a model that knows nothing of them.

Each fill reads one look-back and what of it was observed, nothing later, and leaves no gap.

Letters: B windows, L steps, D variates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from s2tx.model.infill import Infill

Fill = Callable[[Tensor, Tensor], Tensor]  # (B, L, D) values and bool, to (B, L, D) values


def forward(x_BLD: Tensor, observed_BLD: Tensor) -> Tensor:
    """The last observed value; before the first one, that one; 0 if there is none."""
    before, after = _neighbours(observed_BLD)
    return _take(x_BLD, torch.where(before >= 0, before, after), observed_BLD)


def linear(x_BLD: Tensor, observed_BLD: Tensor) -> Tensor:
    """A line between the observed neighbours, level where there is one alone; 0 without any."""
    before, after = _neighbours(observed_BLD)
    last = x_BLD.shape[1] - 1
    only_before, only_after = after > last, before < 0
    before, after = torch.where(only_after, after, before), torch.where(only_before, before, after)
    left = _take(x_BLD, before, observed_BLD)
    right = _take(x_BLD, after, observed_BLD)
    step = torch.arange(last + 1, device=x_BLD.device)[:, None]
    way = (step - before).to(x_BLD) / (after - before).clamp(min=1).to(x_BLD)
    return left + way * (right - left)


def mean(x_BLD: Tensor, observed_BLD: Tensor) -> Tensor:
    """The mean of what was observed of the variate; 0 if nothing was."""
    known = x_BLD.masked_fill(~observed_BLD, 0.0)
    count = observed_BLD.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.where(observed_BLD, known, known.sum(dim=1, keepdim=True) / count)


def seasonal(season: int) -> Fill:
    """The last observed value of the same phase; where there is none before, ``forward``'s."""

    def fill(x_BLD: Tensor, observed_BLD: Tensor) -> Tensor:
        B, L, D = x_BLD.shape
        gap = -L % season
        shape = (B, (L + gap) // season, season, D)
        whole = nn.functional.pad(x_BLD, (0, 0, gap, 0)).view(shape)
        seen = nn.functional.pad(observed_BLD, (0, 0, gap, 0)).view(shape)
        row = torch.arange(shape[1], device=x_BLD.device)[:, None, None]
        newest = torch.where(seen, row, -1).cummax(dim=1).values
        filled = whole.gather(1, newest.clamp(min=0)).view(B, -1, D)[:, gap:]
        known = (newest >= 0).view(B, -1, D)[:, gap:]
        return forward(torch.where(observed_BLD, x_BLD, filled), known)

    return fill


def fills(season: int) -> Mapping[str, Fill | None]:
    """By name; ``mask`` fills nothing: the network is told what is missing."""
    return {
        "mask": None,
        "forward": forward,
        "linear": linear,
        "mean": mean,
        "seasonal": seasonal(season),
        "infill": Infill(season),
    }


class Filled(nn.Module):
    """A network under the contract of the zoo that never sees a gap."""

    def __init__(self, network: nn.Module, fill: Fill) -> None:
        super().__init__()
        self.network, self.fill = network, fill

    def forward(self, x_BLD: Tensor, observed_BLD: Tensor | None = None) -> Tensor:
        """(B, L, D) to (B, H, D)."""
        if observed_BLD is not None:
            x_BLD = self.fill(x_BLD, observed_BLD)
        y_BHD: Tensor = self.network(x_BLD, None)
        return y_BHD


def _neighbours(observed_BLD: Tensor) -> tuple[Tensor, Tensor]:
    """Of each step, the last observed one up to it (or -1) and the next from it on (or L)."""
    L = observed_BLD.shape[1]
    step = torch.arange(L, device=observed_BLD.device)[:, None]
    before = torch.where(observed_BLD, step, -1).cummax(dim=1).values
    after = torch.where(observed_BLD, step, L).flip(1).cummin(dim=1).values.flip(1)
    return before, after


def _take(x_BLD: Tensor, step_BLD: Tensor, observed_BLD: Tensor) -> Tensor:
    """The values at given steps; 0 for a variate with nothing observed."""
    taken = x_BLD.gather(1, step_BLD.clamp(0, x_BLD.shape[1] - 1))
    return taken.masked_fill(~observed_BLD.any(dim=1, keepdim=True), 0.0)
