"""The window's own season: taken off before the network, put back on its forecast.

Where CycleNet (arXiv 2409.18479) learns one cycle for the whole series, this one is the mean of
each phase over the look-back, so it needs no clock, follows the series, and is exact for a pure
cycle.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


class Season:
    """Subtract the mean of each phase; add it to the steps that follow. It keeps nothing.

    Args:
        steps: of a season; None to pass values through.
    """

    def __init__(self, steps: int | None) -> None:
        self.steps = steps

    def __call__(
        self, x_BLD: Tensor, observed_BLD: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Take the season off.

        Args:
            x_BLD: normalised values, 0 where missing.
            observed_BLD: bool, true where a value was observed; None if all were.

        Returns:
            The rest, 0 where a value is missing, and the season (B, steps, D), whose first step is
            that of the first one after the window. A phase never observed has mean 0.
        """
        if self.steps is None:
            return x_BLD, None
        L = x_BLD.shape[1]
        seen = x_BLD.new_ones(1, L, 1) if observed_BLD is None else observed_BLD.to(x_BLD)
        season = self._by_phase(x_BLD) / self._by_phase(seen).clamp(min=1)
        rest = x_BLD - season.repeat(1, -(-L // self.steps), 1)[:, -L:]
        if observed_BLD is not None:
            rest = rest.masked_fill(~observed_BLD, 0.0)
        return rest, season

    def _by_phase(self, x_BLD: Tensor) -> Tensor:
        """The sum of each phase, (B, steps, D); the newest step is of the last one."""
        assert self.steps is not None
        B, L, D = x_BLD.shape
        whole = F.pad(x_BLD, (0, 0, -L % self.steps, 0))
        return whole.view(B, -1, self.steps, D).sum(dim=1)

    def inverse(self, y_BHD: Tensor, season: Tensor | None) -> Tensor:
        """Put the season back on the H steps after the window."""
        if season is None:
            return y_BHD
        horizon = y_BHD.shape[1]
        return y_BHD + season.repeat(1, -(-horizon // season.shape[1]), 1)[:, :horizon]
