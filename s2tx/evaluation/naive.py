"""The forecasts that need no training, as what a trained model must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from s2tx.baselines.naive import SeasonalNaive
from s2tx.data.season import season_of
from s2tx.data.table import Table
from s2tx.params import Params, WindowParams
from s2tx.training.bundle import Predictor

if TYPE_CHECKING:
    import torch

    from s2tx.data.scaling import Scaler


def naive_forecasts(
    table: Table, window: WindowParams, scaler: Scaler, device: torch.device, params: Params
) -> dict[str, Predictor]:
    """Repeating the last season and repeating the last value, by name."""
    seasons = {"seasonal_naive": season_steps(table, window, params), "repeat_last": 1}
    return {
        name: Predictor(SeasonalNaive(steps, window.horizon), window, scaler, device)
        for name, steps in seasons.items()
    }


def season_steps(table: Table, window: WindowParams, params: Params) -> int:
    """Steps that seasonal-naive repeats: it reads no more than a model of this window."""
    season = params.evaluate.season or season_of(table.card.step_delta)
    return min(season, window.look_back)
