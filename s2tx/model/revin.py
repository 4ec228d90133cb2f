"""Reversible instance normalisation (Kim et al., ICLR 2022) that ignores what is missing."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Stats(NamedTuple):
    """Mean and deviation of the observed values, each (B, 1, D)."""

    mean: Tensor
    std: Tensor


class RevIN:
    """Per window and variate: subtract the mean, divide by the deviation; undo on the output.

    Without affine parameters, as in SST and S2TX; it keeps nothing between calls.

    Args:
        enabled: if false, pass values through (the ``revin`` switch).
        masked: if false, a missing value counts as an observed 0 (the ``masked_revin`` switch).
        eps: added to the variance.
    """

    def __init__(self, enabled: bool = True, masked: bool = True, eps: float = 1e-5) -> None:
        self.enabled, self.masked = enabled, masked
        self.eps = eps

    def __call__(self, x_BLD: Tensor, observed_BLD: Tensor | None = None) -> tuple[Tensor, Stats]:
        """Normalise a window.

        Args:
            x_BLD: values, finite everywhere; what stands at a missing place is not read.
            observed_BLD: bool, true where a value was observed; None if all were.

        Returns:
            The normalised window, 0 (the observed mean) where a value is missing, and its
            statistics. A variate with nothing observed has mean 0 and deviation 1.
        """
        if observed_BLD is not None:
            x_BLD = x_BLD.masked_fill(~observed_BLD, 0.0)
        if not self.masked:
            observed_BLD = None
        if not self.enabled:
            return x_BLD, Stats(x_BLD.new_zeros(()), x_BLD.new_ones(()))
        if observed_BLD is None:
            count: Tensor | int = x_BLD.shape[1]
            mean = x_BLD.sum(dim=1, keepdim=True) / count
            centred = x_BLD - mean
        else:
            count = observed_BLD.sum(dim=1, keepdim=True).clamp(min=1)
            mean = x_BLD.sum(dim=1, keepdim=True) / count
            centred = (x_BLD - mean).masked_fill(~observed_BLD, 0.0)
        std = torch.sqrt(centred.square().sum(dim=1, keepdim=True) / count + self.eps)
        if observed_BLD is not None:
            std = torch.where(observed_BLD.any(dim=1, keepdim=True), std, torch.ones_like(std))
        return centred / std, Stats(mean, std)

    def inverse(self, y_BHD: Tensor, stats: Stats) -> Tensor:
        """Bring a normalised forecast back to the units of the window that gave ``stats``."""
        return y_BHD * stats.std + stats.mean
