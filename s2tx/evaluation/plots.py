"""Scores as tables for ``dvc plots`` and as pictures for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from s2tx.data.table import Card, Table
from s2tx.evaluation.metrics import Scores
from s2tx.training.bundle import Bundle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from s2tx.evaluation.evaluate import Evaluation

_EXAMPLE_VARIATES = 3


def frames(evaluation: Evaluation, card: Card) -> dict[str, pd.DataFrame]:
    """Long tables of the errors.

    Returns:
        ``horizon``, standardised, by step; ``variates``, in own units, by variate; ``scores``, by
        step and variate, in own units and standardised; ``missing``, standardised, by the share of
        the inputs that was hidden.
    """
    steps, variates, cells = [], [], []
    for model, each in evaluation.clean.items():
        cells.append(_cells(model, each, card))
        mse, mae = each.by_step()
        step = np.arange(1, len(mse) + 1)
        steps.append(pd.DataFrame({"model": model, "step": step, "mse": mse, "mae": mae}))
        mse, mae = each.by_variate()
        columns = {"model": model, "variate": list(card.variates), "mse": mse, "mae": mae}
        variates.append(pd.DataFrame(columns))
    return {
        "horizon": pd.concat(steps),
        "variates": pd.concat(variates),
        "scores": pd.concat(cells),
        "missing": pd.DataFrame(
            {"model": model, "missing": rate, "mse": scores[model].mse, "mae": scores[model].mae}
            for model in evaluation.clean
            for rate, scores in evaluation.curve.items()
        ),
    }


def _cells(model: str, scores: Scores, card: Card) -> pd.DataFrame:
    """One row a step and variate."""
    count_HD = np.where(scores.count > 0, scores.count, np.nan)
    mse_HD, mae_HD = scores.squared / count_HD, scores.absolute / count_HD
    horizon, n_variates = count_HD.shape
    return pd.DataFrame(
        {
            "model": model,
            "step": np.repeat(np.arange(1, horizon + 1), n_variates),
            "variate": np.tile(card.variates, horizon),
            "mse": mse_HD.ravel(),
            "mae": mae_HD.ravel(),
            "standardised_mse": (mse_HD / scores.scaler.std**2).ravel(),
            "standardised_mae": (mae_HD / scores.scaler.std).ravel(),
        }
    )


def draw(folder: Path, tables: Mapping[str, pd.DataFrame], bundle: Bundle, table: Table) -> None:
    """Write ``horizon.png``, ``missing.png`` and ``forecast.png`` into ``folder``."""
    horizon = _lines(tables["horizon"], "step", "step of the horizon")
    _save(horizon, folder / "horizon.png")
    missing = _lines(tables["missing"], "missing", "share of the inputs hidden", marker="o")
    _save(missing, folder / "missing.png")
    _save(_forecast(bundle, table), folder / "forecast.png")


def _figure(rows: int = 1) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(9, 3.2 * rows), layout="constrained")


def _save(figure: Figure, path: Path) -> None:
    # Without the library's version inside, the same scores give the same bytes.
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _lines(rows: pd.DataFrame, along: str, xlabel: str, marker: str | None = None) -> Figure:
    """MSE and MAE over the column ``along``, a line a model."""
    figure = _figure()
    axes = figure.subplots(1, 2)
    for axis, metric in zip(axes, ("mse", "mae"), strict=True):
        for model, each in rows.groupby("model", sort=False):
            axis.plot(each[along], each[metric], label=model, marker=marker)
        axis.set(xlabel=xlabel, ylabel=f"standardised {metric.upper()}")
        axis.grid(alpha=0.3)
    axes[0].legend()
    return figure


def _forecast(bundle: Bundle, table: Table) -> Figure:
    """The last horizon of the table, forecast from the rows before it."""
    horizon = bundle.window.horizon
    forecast = bundle.forecast(table.values[:-horizon])
    shown = slice(-min(3 * horizon, len(table.times)), None)
    names = table.card.variates[-_EXAMPLE_VARIATES:]
    figure = _figure(len(names))
    for axis, name in zip(figure.subplots(len(names), 1, squeeze=False)[:, 0], names, strict=True):
        column = table.card.variates.index(name)
        axis.plot(table.times[shown], table.values[shown, column], label="measured")
        axis.plot(table.times[-horizon:], forecast[:, column], label="forecast")
        axis.set_ylabel(name)
        axis.grid(alpha=0.3)
        axis.legend(loc="upper left")
    return figure
