"""Is the challenger better, or only lucky? Both models on the same windows, block by block.

Where nothing is in service, the better of the naive forecasts stands in for the champion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2tx.data.missing import Mask
from s2tx.data.scaling import Scaler
from s2tx.data.split import Borders, find_borders
from s2tx.data.table import Table
from s2tx.errors import InputError, S2TXError
from s2tx.evaluation.bootstrap import block_bootstrap
from s2tx.evaluation.metrics import Scores, score
from s2tx.evaluation.naive import naive_forecasts
from s2tx.params import Params, PromoteParams, WindowParams
from s2tx.training.bundle import Bundle, Predictor

_ROUNDING = 1e-6  # share of a deviation by which machines may differ over the same rows


class IncomparableError(S2TXError):
    """No score could tell which of two models is better, though both may work."""


@dataclass(frozen=True)
class Errors:
    """One model's standardised errors on the test windows, all finite.

    Attributes:
        clean: with the inputs as they are.
        masked: with the injected mask over the inputs, never over the targets.
    """

    clean: float
    masked: float

    @property
    def rise(self) -> float:
        """Share by which the mask raises the error; negative if it lowers it."""
        return self.masked / self.clean - 1 if self.clean > 0 else 0.0

    def within(self, rule: PromoteParams) -> bool:
        """The rise is no more than is asked for, if anything is."""
        bound = rule.max_missing_rise
        return bound is None or self.masked <= self.clean * (1 + bound)


@dataclass(frozen=True)
class Verdict:
    """How two models compare on the same test windows.

    Attributes:
        wins: the challenger is better by the margin, with the confidence asked for.
        champion: its errors.
        challenger: its errors.
        gain: share by which the challenger's clean error is lower; negative if it is higher.
        confidence: share of the resamples in which it is better by the margin.
        windows: how many were scored.
        naive: the forecast that stood in for the champion; None if it was a model.
    """

    wins: bool
    champion: Errors
    challenger: Errors
    gain: float
    confidence: float
    windows: int
    naive: str | None = None


def compare(
    champion: Bundle, challenger: Bundle, table: Table, mask: Mask, params: Params
) -> Verdict:
    """Score both in this process, on the same windows, in units of the same scaler.

    Raises:
        IncomparableError: they do not forecast the same thing, it is not what the table holds, one
            looks back further than the table goes, or was trained on other rows of this very table,
            or the test part is too short to tell skill from luck.
        InputError: no part of the table suits the params.
        S2TXError: a score is not finite.
    """
    unlike = _mismatch(champion, challenger)
    if unlike:
        raise IncomparableError(f"{unlike}.")
    for model, who in ((champion, "champion"), (challenger, "challenger")):
        _require_own_rows(model, who, table, params)
    return _verdict(champion, challenger, table, mask, params)


def compare_with_naive(challenger: Bundle, table: Table, mask: Mask, params: Params) -> Verdict:
    """Score a model beside whichever naive forecast errs less on its test windows.

    Raises:
        IncomparableError, InputError, S2TXError: as ``compare``.
    """
    _require_own_rows(challenger, "challenger", table, params)
    window, scaler = challenger.window, challenger.scaler
    rivals = naive_forecasts(table, window, scaler, challenger.device, params)
    scores = _score(tuple(rivals.values()), table, Mask(table.observed, 0), params)
    errors = [_figure(each, params.promote) for each in scores]
    _, naive = min(zip(errors, rivals, strict=True))
    return replace(_verdict(rivals[naive], challenger, table, mask, params), naive=naive)


def _verdict(
    champion: Predictor, challenger: Bundle, table: Table, mask: Mask, params: Params
) -> Verdict:
    models, rule = (champion, challenger), params.promote
    scores = _score(models, table, Mask(table.observed, 0), params)
    masked = _score(models, table, mask, params)
    first, second = (_errors(*pair, rule) for pair in zip(scores, masked, strict=True))
    before, after = first.clean, second.clean
    old, new = (_losses(each, rule) for each in scores)
    scored = ~np.isnan(old)  # elsewhere no target was observed
    old, new = old[scored], new[scored]
    horizon = challenger.window.horizon
    if len(old) < 2 * horizon:
        raise IncomparableError(
            f"the test part holds {len(old)} windows, and blocks of {horizon} need twice as many: "
            "bring more rows, or lower window.horizon in params.yaml."
        )
    confidence = block_bootstrap(old, new, horizon, rule)
    wins = after < before * (1 - rule.min_gain) and confidence >= rule.confidence
    gain = 1 - after / before if before > 0 else 0.0
    return Verdict(wins, first, second, gain, confidence, len(old))


def require_unseen(
    model: Bundle, who: str, seen_until: str | None, table: Table, params: Params
) -> None:
    """The test rows must come after the last row that training or its validation read.

    Args:
        model: whose window the parts of the table must hold.
        who: champion or challenger.
        seen_until: stamp of that row; None says nothing: earlier code registered the version.
        table: validated; stamps without a zone are read as UTC.
        params: ``data`` is read, and ``window`` where the table is too short for the model.

    Raises:
        IncomparableError: they do not, or a part of the table is too short for the model alone.
        InputError: it is for the params too.
    """
    if seen_until is None:
        return
    borders = _borders(model, who, table, params)
    first = table.times[borders.validation]
    if pd.to_datetime(seen_until, utc=True) >= pd.to_datetime(first, utc=True):
        raise IncomparableError(
            f"the {who} was trained and validated on rows up to {seen_until}, and the test rows of "
            f"{table.card.name} begin at {first}: it has seen some of them." + _anew(who)
        )


def _borders(model: Bundle, who: str, table: Table, params: Params) -> Borders:
    """The parts of the table, each of which holds a window of the model's: whatever params say now,
    a model looks back as far as it was trained to.

    Raises:
        IncomparableError: one holds none, though it holds a window of the params'.
        InputError: the table does not suit the params either.
    """
    rows, card = len(table.times), table.card
    try:
        return find_borders(rows, card, params.data, model.window)
    except InputError as error:
        find_borders(rows, card, params.data, params.window)
        raise IncomparableError(
            f"the {who} looks back {model.window.look_back} steps, and {error.what}."
        ) from None


def _anew(who: str) -> str:
    return " Train anew: dvc repro." if who == "challenger" else ""


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


def _require_own_rows(model: Bundle, who: str, table: Table, params: Params) -> None:
    """A model reads its own columns, and its scaler tells on which rows it was trained: the test
    rows must not be among them.

    Raises:
        IncomparableError: the table has other columns or another step than the model, or is too
            short for it; or the model is of this version of the data, and its scaler not of the
            train rows.
    """
    for what, its, now in (
        ("variates", model.card.variates, table.card.variates),
        ("step", model.card.step, table.card.step),
    ):
        if its != now:
            raise IncomparableError(
                f"the {who} forecasts {what} {its}, and those of {table.card.name} are {now}."
            )
    borders = _borders(model, who, table, params)
    if model.card.sha256 != table.card.sha256:
        return
    ours, theirs = Scaler.fit(table.values[: borders.train]), model.scaler
    apart = np.stack([theirs.mean - ours.mean, theirs.std - ours.std]) / ours.std
    if np.abs(apart).max() > _ROUNDING:
        raise IncomparableError(
            f"the {who} was trained on other rows of {table.card.name} than the train rows of now: "
            "data.split, data.ratio or validate changed since, and test rows may be among them."
            + _anew(who)
        )


def _score(models: tuple[Predictor, ...], table: Table, mask: Mask, params: Params) -> list[Scores]:
    """Scores on the test windows that every model can look back from, inputs seen through mask."""
    look_back = max(model.window.look_back for model in models)
    horizon = models[0].window.horizon
    window = WindowParams(look_back, 1, horizon)
    borders = find_borders(len(table.times), table.card, params.data, window)
    origins = borders.origins("test", look_back, horizon)
    scaler = Scaler.fit(table.values[: borders.train])
    batch = params.evaluate.batch_size
    return [
        score(model, table, origins, scaler, batch, mask.visible, mask.tail_steps)
        for model in models
    ]


def _errors(clean: Scores, masked: Scores, rule: PromoteParams) -> Errors:
    return Errors(_figure(clean, rule), _figure(masked, rule, " with inputs missing"))


def _figure(scores: Scores, rule: PromoteParams, when: str = "") -> float:
    value = scores.mse if rule.metric == "mse" else scores.mae
    if not math.isfinite(value):
        raise S2TXError(f"a score is not finite: {rule.metric}{when} is {value}.")
    return value


def _losses(scores: Scores, rule: PromoteParams) -> NDArray[np.float64]:
    return scores.window_mse if rule.metric == "mse" else scores.window_mae
