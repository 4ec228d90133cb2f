"""The evaluate stage: every test window, the model beside what it must beat, and the receipt."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from s2tx import fingerprint as identity
from s2tx import zoo
from s2tx.data.missing import Mask, hide, read_mask
from s2tx.data.scaling import Scaler
from s2tx.data.season import season_of as season_of
from s2tx.data.split import PARTS, Borders, find_borders
from s2tx.data.table import Table
from s2tx.evaluation import plots
from s2tx.evaluation.metrics import Scores, score
from s2tx.evaluation.naive import naive_forecasts, season_steps
from s2tx.params import Params, as_dict
from s2tx.paths import Project, write_text
from s2tx.training.bundle import Bundle, Predictor, weights_hash
from s2tx.training.runtime import start


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The scores of every model on the same windows.

    Attributes:
        clean: model to scores, with the inputs as they are.
        missing: the same with the injected mask over the inputs (never over the targets).
        curve: the same at each missing rate, from 0 (``clean``) upwards.
        borders: of the split.
    """

    clean: dict[str, Scores]
    missing: dict[str, Scores]
    curve: dict[float, dict[str, Scores]]
    borders: Borders

    @property
    def windows(self) -> int:
        """How many were scored, the same for every model."""
        return len(next(iter(self.clean.values())).window_mse)


def masks_by_rate(table: Table, mask: Mask, params: Params) -> dict[float, Mask]:
    """What inputs may show at each of ``evaluate.missing_rates``.

    All are drawn as inject drew ``mask``, from its seed: a higher rate hides what a lower one
    hides, and more, so that the curve shows the rate and not the luck of the draw. Where ``mask``
    hides the newest steps of a look-back, a rate is a share of the look-back.
    """
    look_back = params.window.look_back if mask.tail_steps else 0
    return {
        rate: Mask(hide(table.observed, replace(params.inject, rate=rate)), round(rate * look_back))
        for rate in params.evaluate.missing_rates
    }


def evaluate(
    table: Table, mask: Mask, bundle: Bundle, baseline: Bundle, params: Params
) -> Evaluation:
    """Score the model, its baseline and the naive forecasts on every test window."""
    window, size = params.window, params.evaluate.batch_size
    borders = find_borders(len(table.times), table.card, params.data, window)
    scaler = Scaler.fit(table.values[: borders.train])
    origins = borders.origins("test", window.look_back, window.horizon)
    models: dict[str, Predictor] = {
        bundle.spec.name: bundle,
        baseline.spec.name: baseline,
        **naive_forecasts(table, window, scaler, bundle.device, params),
    }

    def scores(seen: Mask) -> dict[str, Scores]:
        return {
            name: score(model, table, origins, scaler, size, seen.visible, seen.tail_steps)
            for name, model in models.items()
        }

    clean = scores(Mask(table.observed, 0))
    missing = scores(mask)
    curve = {  # the injected mask is as a rule one of them
        rate: missing if _same(seen, mask) else scores(seen)
        for rate, seen in masks_by_rate(table, mask, params).items()
    }
    return Evaluation(clean, missing, {0.0: clean, **curve}, borders)


def _same(one: Mask, other: Mask) -> bool:
    same = np.array_equal(one.visible, other.visible)
    return same and one.tail_steps == other.tail_steps


def run_evaluate(project: Project, params: Params) -> dict[str, Any]:
    """Write metrics, receipt, tables of scores and plots; returns the metrics."""
    table, mask = Table.read(project.table), read_mask(project.evaluate_mask)
    device = start(params.runtime).device
    bundle = Bundle.load(project.model, params.runtime, device)
    baseline = Bundle.load(project.baseline, params.runtime, device)
    evaluation = evaluate(table, mask, bundle, baseline, params)
    metrics = _metrics(evaluation)
    frames = plots.frames(evaluation, table.card)
    project.plots.mkdir(parents=True, exist_ok=True)
    for name, frame in frames.items():
        frame.to_csv(project.plots / f"{name}.csv", index=False)
    plots.draw(project.plots, frames, bundle, table)
    write_text(project.metrics, _json(metrics))
    write_text(project.receipt, _json(_receipt(project, params, table, bundle, evaluation)))
    return metrics


def _metrics(evaluation: Evaluation) -> dict[str, Any]:
    def summary(scores: dict[str, Scores]) -> dict[str, Any]:
        return {name: {"mse": each.mse, "mae": each.mae} for name, each in scores.items()}

    return {
        "windows": evaluation.windows,
        "test": summary(evaluation.clean),
        "test_missing": summary(evaluation.missing),
        "missing_rates": list(evaluation.curve),
        "missing_curve": {
            model: {
                "mse": [scores[model].mse for scores in evaluation.curve.values()],
                "mae": [scores[model].mae for scores in evaluation.curve.values()],
            }
            for model in evaluation.clean
        },
    }


def _receipt(
    project: Project, params: Params, table: Table, bundle: Bundle, evaluation: Evaluation
) -> dict[str, Any]:
    """Everything a reader needs to believe, or repeat, the figures."""
    borders = evaluation.borders
    parts = {part: borders.rows(part) for part in PARTS}
    return {
        "data": {"name": table.card.name, "sha256": table.card.sha256, "rows": len(table.times)},
        "split": {part: [rows.start, rows.stop] for part, rows in parts.items()},
        "window": as_dict(params.window),
        "windows_scored": evaluation.windows,
        "stride": 1,
        "season_steps": season_steps(table, params.window, params),
        "scaler": "mean and population deviation of the observed train rows",
        "checkpoint_chosen_by": {
            "best": "validation MSE",
            "last": "nothing: the last epoch is kept",
        }[params.train.select],
        "missing": as_dict(params.inject) | {"rates": list(evaluation.curve)},
        "seeds": {
            "train": params.train.seed,
            "baseline": params.baseline.train.seed,
            "inject": params.inject.seed,
        },
        "fingerprint": bundle.fingerprint,
        "weights_sha256": weights_hash(project.model),
        "params_sha256": identity.of_file(project.params),
        "code": identity.git_commit(project.root),
        "runtime": as_dict(params.runtime)
        | {"device": bundle.device.type}
        | zoo.backends(params.model, params.runtime, bundle.device),
        "machine": identity.machine(),
    }


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
