"""Is the challenger better, or only lucky? Both models on the same windows, block by block."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s2tx.data.scaling import Scaler
from s2tx.data.split import find_borders
from s2tx.data.table import Table
from s2tx.errors import InputError, S2TXError
from s2tx.evaluation.bootstrap import block_bootstrap
from s2tx.evaluation.metrics import Scores, score
from s2tx.params import Params, PromoteParams, WindowParams
from s2tx.training.bundle import Bundle


@dataclass(frozen=True)
class Verdict:
    """How two models compare on the same test windows.

    Attributes:
        wins: the challenger is better by the margin, with the confidence asked for.
        champion: its standardised error.
        challenger: its standardised error.
        gain: share by which the challenger's error is lower; negative if it is higher.
        confidence: share of the resamples in which it is better by the margin.
        windows: how many were scored.
    """

    wins: bool
    champion: float
    challenger: float
    gain: float
    confidence: float
    windows: int


def compare(champion: Bundle, challenger: Bundle, table: Table, params: Params) -> Verdict:
    """Score both in this process, on the same windows, in units of the same scaler.

    Raises:
        S2TXError: they do not forecast the same thing, a score is not finite, or the test part is
            too short to tell skill from luck.
    """
    unlike = _mismatch(champion, challenger)
    if unlike:
        raise S2TXError(f"{unlike}.")
    first, second = _score((champion, challenger), table, params)
    rule = params.promote
    before, after = _figure(first, rule), _figure(second, rule)
    old, new = _losses(first, rule), _losses(second, rule)
    scored = ~np.isnan(old)  # elsewhere no target was observed
    old, new = old[scored], new[scored]
    horizon = challenger.window.horizon
    if len(old) < 2 * horizon:
        raise InputError(
            f"the test part holds {len(old)} windows, and blocks of {horizon} need twice as many",
            "Bring more rows, or lower window.horizon in params.yaml",
        )
    confidence = block_bootstrap(old, new, horizon, rule)
    wins = after < before * (1 - rule.min_gain) and confidence >= rule.confidence
    gain = 1 - after / before if before > 0 else 0.0
    return Verdict(wins, before, after, gain, confidence, len(old))


def score_alone(model: Bundle, table: Table, params: Params) -> tuple[float, int]:
    """The figure that decides, and on how many test windows.

    Raises:
        S2TXError: it is not finite.
    """
    scores = _score((model,), table, params)[0]
    return _figure(scores, params.promote), len(scores.window_mse)


def _mismatch(champion: Bundle, challenger: Bundle) -> str | None:
    """Why the two cannot be scored on the same windows, or None if they can."""
    for what, theirs, ours in (
        ("variates", champion.card.variates, challenger.card.variates),
        ("step", champion.card.step, challenger.card.step),
        ("horizon", champion.window.horizon, challenger.window.horizon),
    ):
        if theirs != ours:
            return f"the champion's {what} is {theirs}, the challenger's {ours}"
    return None


def _score(models: tuple[Bundle, ...], table: Table, params: Params) -> list[Scores]:
    """Scores on the test windows that every model can look back from."""
    look_back = max(model.window.look_back for model in models)
    horizon = models[0].window.horizon
    window = WindowParams(look_back, 1, horizon)
    borders = find_borders(len(table.times), table.card, params.data, window)
    origins = borders.origins("test", look_back, horizon)
    scaler = Scaler.fit(table.values[: borders.train])
    batch = params.evaluate.batch_size
    return [score(model, table, origins, scaler, batch) for model in models]


def _figure(scores: Scores, rule: PromoteParams) -> float:
    value = scores.mse if rule.metric == "mse" else scores.mae
    if not math.isfinite(value):
        raise S2TXError(f"a score is not finite: {rule.metric} is {value}.")
    return value


def _losses(scores: Scores, rule: PromoteParams) -> NDArray[np.float64]:
    return scores.window_mse if rule.metric == "mse" else scores.window_mae
