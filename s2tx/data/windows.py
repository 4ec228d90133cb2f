"""Samples as views of one tensor that lies on the device, drawn by index."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Batch(NamedTuple):
    """B samples.

    Attributes:
        x_BLD: standardised inputs, 0 where missing.
        observed_BLD: bool, true where an input was observed; None if all were.
        y_BHD: standardised targets, 0 where missing.
        target_BHD: bool, true where a target was observed; None if all were.
    """

    x_BLD: Tensor
    observed_BLD: Tensor | None
    y_BHD: Tensor
    target_BHD: Tensor | None


class Windows:
    """All windows of one series.

    Args:
        values: (T, D) standardised, NaN where missing. Targets are never filled, nor hidden.
        look_back: L.
        horizon: H.
        device: where the series is kept.
        visible: (T, D) bool, false where an observed value is to be hidden from the inputs (an
            injected mask); None to hide nothing.
        tail_steps: newest steps of every look-back to hide from the inputs.
    """

    def __init__(
        self,
        values: NDArray[Any],
        look_back: int,
        horizon: int,
        device: torch.device,
        visible: NDArray[np.bool_] | None = None,
        tail_steps: int = 0,
    ) -> None:
        self.look_back = look_back
        observed = ~np.isnan(values)
        seen = observed if visible is None else observed & visible
        span = look_back + horizon
        filled = np.where(observed, values, 0.0).astype(np.float32)
        self._values = torch.from_numpy(filled).to(device).unfold(0, span, 1)
        self._targets = self._view(observed, span, device)
        self._inputs = self._view(seen, span, device)
        self._tail = tail_steps
        self.device = device

    @staticmethod
    def _view(mask: NDArray[np.bool_], span: int, device: torch.device) -> Tensor | None:
        if mask.all():
            return None
        return torch.from_numpy(mask).to(device).unfold(0, span, 1)

    def batch(self, origins: Tensor) -> Batch:
        """The samples whose first target rows are ``origins`` (B,), on any device."""
        start = origins.to(self.device) - self.look_back
        series_BTD = self._values[start].transpose(1, 2)
        x_BLD, y_BHD = series_BTD[:, : self.look_back], series_BTD[:, self.look_back :]
        observed_BLD = target_BHD = None
        if self._inputs is not None or self._tail:
            observed_BLD = (
                torch.ones_like(x_BLD, dtype=torch.bool)
                if self._inputs is None
                else self._inputs[start].transpose(1, 2)[:, : self.look_back].clone()
            )
            if self._tail:
                observed_BLD[:, -self._tail :] = False
            x_BLD = x_BLD.masked_fill(~observed_BLD, 0.0)
        if self._targets is not None:
            target_BHD = self._targets[start].transpose(1, 2)[:, self.look_back :]
        return Batch(x_BLD, observed_BLD, y_BHD, target_BHD)
