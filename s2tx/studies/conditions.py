"""Ways in which the inputs of test windows lose values, and what a model then scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from s2tx.data.missing import Mask, hide
from s2tx.data.split import Borders
from s2tx.data.table import Table
from s2tx.evaluation.evaluate import season_of
from s2tx.evaluation.metrics import score
from s2tx.params import InjectParams, Params
from s2tx.specs import Pattern
from s2tx.studies.fills import Filled, fills
from s2tx.study_params import ConditionParams
from s2tx.training.bundle import Bundle, Predictor


@dataclass(frozen=True)
class Condition:
    """What is missing, and what is put in its place.

    Attributes:
        pattern: see ``s2tx.data.missing.hide``.
        rate: share of readings hidden; without meaning for ``tail``.
        steps: of a run; of ``tail``, the newest so many of each look-back.
        fill: see ``s2tx.studies.fills.fills``.
    """

    pattern: Pattern
    rate: float
    steps: int
    fill: str

    def mask(self, table: Table, seed: int, stream: int = 0) -> Mask:
        """What inputs may show of a table."""
        inject = InjectParams(self.pattern, self.rate, self.steps, seed, train=stream > 0)
        tail = self.steps if self.pattern == "tail" else 0
        return Mask(hide(table.observed, inject, stream=stream), tail)


def conditions(listed: Sequence[ConditionParams]) -> list[Condition]:
    """Every one that section ``study.missing.conditions`` means, in its order."""
    return [
        Condition(each.pattern, rate, steps, fill)
        for each in listed
        for fill in each.fills
        for rate in each.rates
        for steps in each.steps
    ]


def score_under(
    condition: Condition, bundle: Bundle, table: Table, borders: Borders, params: Params
) -> dict[str, float]:
    """MSE and MAE of every test window under one condition; targets complete."""
    window, mask = bundle.window, condition.mask(table, params.study.missing.seed)
    fill = fills(season_of(pd.Timedelta(table.card.step_delta)))[condition.fill]
    network = bundle.network if fill is None else Filled(bundle.network, fill).eval()
    scores = score(
        Predictor(network, window, bundle.scaler, bundle.device),
        table,
        borders.origins("test", window.look_back, window.horizon),
        bundle.scaler,
        params.evaluate.batch_size,
        mask.visible,
        mask.tail_steps,
    )
    return {"mse": scores.mse, "mae": scores.mae}
