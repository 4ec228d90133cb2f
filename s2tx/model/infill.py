"""Estimates in the place of missing values, from what was observed in the same window alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Chosen on validation windows of ETTh1, for weights that were trained on complete data.
SEASONS_APART = 0.7  # weight of the same phase, a season further away
STEPS_APART = 0.9  # weight of an observed value, a step further away
DOUBT = 0.2  # of observed values' weights: how much an estimate keeps to its season


class Infill:
    """A missing step is its season, and what the steps beside it have over theirs.

    The season of a step is the mean of the observed values of its phase, the nearest weighing most;
    then what was observed around a gap over its own season is carried into the gap, and fades with
    the distance. The first is a seasonal decomposition that follows the series, the second simple
    kriging of its remainder under an exponential covariance (Cressie, Statistics for Spatial Data,
    1993, section 3.2.1, without the products of neighbours). Nothing is trained, and an estimate is
    linear in what was observed, so scale and shift pass through.

    Args:
        season: steps; None for the mean of the window in the place of a season.
    """

    def __init__(self, season: int | None) -> None:
        self.season = season

    def __call__(self, x_BLD: Tensor, observed_BLD: Tensor) -> Tensor:
        """Fill a window.

        Args:
            x_BLD: values; what stands at a missing place is not read.
            observed_BLD: bool, true where a value was observed.

        Returns:
            (B, L, D), observed values as they are; 0 for a variate with nothing observed.
        """
        seen_BLD = observed_BLD.to(x_BLD)
        known_BLD = x_BLD.masked_fill(~observed_BLD, 0.0)
        season_BLD = self._season(known_BLD, seen_BLD)
        rest_BLD = (known_BLD - season_BLD) * seen_BLD
        near_LL = _weights(x_BLD.shape[1], STEPS_APART, x_BLD)
        carried_BLD = (near_LL @ rest_BLD) / (near_LL @ seen_BLD + DOUBT)
        return torch.where(observed_BLD, x_BLD, season_BLD + carried_BLD)

    def _season(self, known_BLD: Tensor, seen_BLD: Tensor) -> Tensor:
        """The season at every step; where a phase was never observed, the observed mean."""
        count = seen_BLD.sum(dim=1, keepdim=True).clamp(min=1)
        mean = known_BLD.sum(dim=1, keepdim=True) / count
        if self.season is None:
            return mean.expand_as(known_BLD)
        B, L, D = known_BLD.shape
        gap = -L % self.season

        def smooth(each_BLD: Tensor) -> Tensor:
            """The weighted sum of each phase around each season."""
            phases = F.pad(each_BLD, (0, 0, gap, 0)).view(B, -1, self.season or 1, D)
            rows = phases.flatten(2)
            smoothed: Tensor = _weights(rows.shape[1], SEASONS_APART, rows) @ rows
            return smoothed.view(B, -1, D)[:, gap:]

        weight = smooth(seen_BLD)
        return torch.where(weight > 0, smooth(known_BLD) / weight.clamp(min=1e-9), mean)


def _weights(size: int, apart: float, like: Tensor) -> Tensor:
    """(size, size), ``apart`` to the power of the distance, in the type of ``like``."""
    place = torch.arange(size, device=like.device)
    return (apart ** (place[:, None] - place[None, :]).abs()).to(like)
