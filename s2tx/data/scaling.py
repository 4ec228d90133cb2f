"""Standardisation by the train rows, the field's unit of error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Scaler:
    """Subtract the mean and divide by the population deviation, variate by variate.

    Attributes:
        mean: (D,) in the data's own units.
        std: (D,) in the data's own units; 1 where a variate does not vary.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    @classmethod
    def fit(cls, values: NDArray[np.float64]) -> Scaler:
        """Fit on (T, D) rows, ignoring what is missing; a variate never seen keeps its units."""
        observed = ~np.isnan(values)
        count = np.maximum(observed.sum(axis=0), 1)
        mean = np.where(observed, values, 0.0).sum(axis=0) / count
        std = np.sqrt((np.where(observed, values - mean, 0.0) ** 2).sum(axis=0) / count)
        return cls(mean, np.where(std > 0, std, 1.0))

    def transform(self, values: NDArray[Any]) -> NDArray[Any]:
        """(..., D) own units to standardised; what is missing stays missing."""
        return (values - self.mean) / self.std

    def inverse(self, values: NDArray[Any]) -> NDArray[Any]:
        """(..., D) standardised to own units."""
        return values * self.std + self.mean
