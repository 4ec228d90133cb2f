"""Forecasts that need no training: the last value, and the last season."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SeasonalNaive(nn.Module):
    """Repeat the newest season of each variate; a season of one step is repeat-last.

    Where a step of that season is missing, the newest observed value of the same phase stands in,
    and where the phase was never observed, the newest observed value; 0 (the train mean) if there
    is none.

    Args:
        season: steps.
        horizon: H.
    """

    def __init__(self, season: int, horizon: int) -> None:
        super().__init__()
        self.season = season
        self.horizon = horizon

    def forward(self, x_BLD: Tensor, observed_BLD: Tensor | None = None) -> Tensor:
        """(B, L, D) standardised values and what of them was observed, to (B, H, D)."""
        season = min(self.season, x_BLD.shape[1])
        last = x_BLD[:, -season:]
        if observed_BLD is not None:
            newest, _ = _newest_by_phase(x_BLD, observed_BLD, 1)
            phase, found = _newest_by_phase(x_BLD, observed_BLD, season)
            last = torch.where(found, phase, newest)
        repeats = -(-self.horizon // season)
        return last.repeat(1, repeats, 1)[:, : self.horizon]


def _newest_by_phase(x_BLD: Tensor, observed_BLD: Tensor, season: int) -> tuple[Tensor, Tensor]:
    """The newest observed value of each phase, (B, season, D), 0 where none; and where one is."""
    B, L, D = x_BLD.shape
    whole = L - L % season
    x = x_BLD[:, -whole:].reshape(B, -1, season, D)
    seen = observed_BLD[:, -whole:].reshape(B, -1, season, D)
    age = torch.arange(1, x.shape[1] + 1, device=x.device)[:, None, None] * seen
    value = x.gather(1, age.argmax(dim=1, keepdim=True)).squeeze(1)
    found = seen.any(dim=1)
    return value.masked_fill(~found, 0.0), found
