"""Errors of many windows, kept so that any average can be taken later."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from s2tx.data.scaling import Scaler
from s2tx.data.table import Table
from s2tx.training.bundle import Predictor


@dataclass(frozen=True, eq=False)
class Scores:
    """Sums over windows, in the data's own units; standardised by ``scaler`` where a name says so.

    Attributes:
        squared: (H, D) sum of squared errors.
        absolute: (H, D) sum of absolute errors.
        count: (H, D) targets that were observed, hence scored.
        window_mse: (W,) standardised mean squared error of each window; NaN if none was observed.
        window_mae: (W,) standardised mean absolute error of each window.
        scaler: of the train rows of the table that was scored.
    """

    squared: NDArray[np.float64]
    absolute: NDArray[np.float64]
    count: NDArray[np.int64]
    window_mse: NDArray[np.float64]
    window_mae: NDArray[np.float64]
    scaler: Scaler

    @property
    def mse(self) -> float:
        """Standardised mean squared error over every scored target."""
        return float((self.squared / self.scaler.std**2).sum() / self.count.sum())

    @property
    def mae(self) -> float:
        """Standardised mean absolute error over every scored target."""
        return float((self.absolute / self.scaler.std).sum() / self.count.sum())

    def by_step(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Standardised MSE and MAE of each step of the horizon, (H,) each."""
        count = self.count.sum(axis=1)
        mse = (self.squared / self.scaler.std**2).sum(axis=1) / count
        return mse, (self.absolute / self.scaler.std).sum(axis=1) / count

    def by_variate(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """MSE and MAE of each variate in its own units, (D,) each; NaN if never observed."""
        count = np.where(self.count.sum(axis=0) > 0, self.count.sum(axis=0), np.nan)
        return self.squared.sum(axis=0) / count, self.absolute.sum(axis=0) / count


@torch.inference_mode()
def score(
    predictor: Predictor,
    table: Table,
    origins: range,
    scaler: Scaler,
    batch_size: int,
    visible: NDArray[np.bool_] | None = None,
    tail_steps: int = 0,
) -> Scores:
    """Score every window of ``origins``; none is dropped.

    Args:
        predictor: what forecasts, with a scaler of its own.
        table: the data; its missing values are not scored.
        origins: first target rows (see ``Borders.origins``).
        scaler: standardises the errors, the same for every predictor that is compared.
        batch_size: windows computed at once; it does not change the scores.
        visible: (T, D) bool, false where an input is to be hidden.
        tail_steps: newest steps of every look-back to hide.
    """
    windows = predictor.windows(table, visible, tail_steps)
    shape = (predictor.window.horizon, len(scaler.mean))
    squared, absolute = np.zeros(shape), np.zeros(shape)
    count = np.zeros(shape, np.int64)
    window_mse, window_mae = [], []
    for batch_origins in torch.split(torch.tensor(origins), batch_size):
        x_BLD, observed_BLD, y_BHD, target_BHD = windows.batch(batch_origins)
        residual = (predictor.network(x_BLD, observed_BLD).float() - y_BHD).cpu().numpy()
        # The predictor's mean cancels; its deviation brings the residual to the data's own units.
        error = residual.astype(np.float64) * predictor.scaler.std
        scored = np.ones(error.shape, np.bool_) if target_BHD is None else target_BHD.cpu().numpy()
        error[~scored] = 0.0
        squared += (error**2).sum(axis=0)
        absolute += np.abs(error).sum(axis=0)
        count += scored.sum(axis=0)
        targets = scored.sum(axis=(1, 2))
        with np.errstate(invalid="ignore"):
            window_mse.append(((error / scaler.std) ** 2).sum(axis=(1, 2)) / targets)
            window_mae.append(np.abs(error / scaler.std).sum(axis=(1, 2)) / targets)
    return Scores(
        squared, absolute, count, np.concatenate(window_mse), np.concatenate(window_mae), scaler
    )
