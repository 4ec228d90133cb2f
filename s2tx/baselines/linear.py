"""DLinear (Zeng et al., AAAI 2023, arXiv 2205.13504), shared across variates."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class DLinear(nn.Module):
    """A moving average and what is left of it, each through one linear map from L to H steps.

    Args:
        look_back: L.
        horizon: H.
        kernel: steps of the moving average, odd.
    """

    def __init__(self, look_back: int, horizon: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.trend = nn.Linear(look_back, horizon)
        self.remainder = nn.Linear(look_back, horizon)
        for layer in (self.trend, self.remainder):
            # As published: both maps start as the mean of the window.
            nn.init.constant_(layer.weight, 1 / look_back)

    def forward(self, x_BLD: Tensor, observed_BLD: Tensor | None = None) -> Tensor:
        """(B, L, D) standardised values to (B, H, D); what is missing counts as the train mean."""
        if observed_BLD is not None:
            x_BLD = x_BLD.masked_fill(~observed_BLD, 0.0)
        x_BDL = x_BLD.transpose(1, 2)
        reach = self.kernel // 2
        padded = F.pad(x_BDL, (reach, reach), mode="replicate")
        trend = F.avg_pool1d(padded, self.kernel, stride=1)
        y_BDH: Tensor = self.trend(trend) + self.remainder(x_BDL - trend)
        return y_BDH.transpose(1, 2)
