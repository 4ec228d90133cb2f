"""The gate's statistics: luck must not promote, skill must."""

from __future__ import annotations

import dataclasses

import pytest

from s2tx.data.scaling import Scaler
from s2tx.data.split import find_borders
from s2tx.errors import InputError, S2TXError
from s2tx.evaluation.metrics import score
from s2tx.params import Params, PromoteParams
from s2tx.registry.compare import compare, score_alone
from tests.tiny import tiny_bundle, tiny_table

RULE = PromoteParams(metric="mse", min_gain=0.0, confidence=0.9, resamples=200, seed=11)


def test_models_with_other_look_backs_meet_on_the_same_windows(tiny: Params) -> None:
    """What the model reads is its own affair; what it is asked must be the same."""
    table = tiny_table()
    far = dataclasses.replace(tiny, window=dataclasses.replace(tiny.window, look_back=200))
    long, short = tiny_bundle(table, far, shift=0.0), tiny_bundle(table, tiny, shift=0.0)
    one, other = compare(short, long, table, tiny), compare(long, short, table, far)
    assert one.windows == other.windows == 120 - tiny.window.horizon + 1
    assert (one.champion, one.challenger) == (other.challenger, other.champion)


def test_scores_are_those_of_the_evaluation(tiny: Params) -> None:
    """The gate and the report must speak of the same number."""
    table = tiny_table()
    bundle = tiny_bundle(table, tiny)
    borders = find_borders(len(table.times), table.card, tiny.data, tiny.window)
    origins = borders.origins("test", tiny.window.look_back, tiny.window.horizon)
    scores = score(bundle, table, origins, Scaler.fit(table.values[: borders.train]), 7)
    value, windows = score_alone(bundle, table, tiny)
    assert value == pytest.approx(scores.mse, rel=1e-6)
    assert windows == len(origins)
    mae = dataclasses.replace(tiny, promote=dataclasses.replace(tiny.promote, metric="mae"))
    assert score_alone(bundle, table, mae)[0] == pytest.approx(scores.mae, rel=1e-6)


def test_the_scaler_is_the_tables_not_the_models(tiny: Params) -> None:
    """Two models carry two scalers; errors in two units cannot be compared."""
    table = tiny_table()
    bundle = tiny_bundle(table, tiny, shift=0.0)
    odd = dataclasses.replace(bundle, scaler=Scaler(bundle.scaler.mean, bundle.scaler.std * 3))
    verdict = compare(odd, bundle, table, tiny)
    assert verdict.champion == pytest.approx(verdict.challenger, rel=1e-4)
    assert verdict.challenger == pytest.approx(score_alone(bundle, table, tiny)[0], rel=1e-6)


def test_a_short_test_part_decides_nothing(tiny: Params) -> None:
    """With less than two blocks every resample is the same: certainty out of nothing."""
    table = tiny_table(400)
    few = dataclasses.replace(tiny, data=dataclasses.replace(tiny.data, ratio=(0.75, 0.21, 0.04)))
    model = tiny_bundle(table, tiny, shift=0.0)
    with pytest.raises(InputError, match="11 windows"):
        compare(model, model, table, few)


@pytest.mark.parametrize("what", ["variates", "step"])
def test_models_of_other_things_are_not_compared(tiny: Params, what: str) -> None:
    """The same columns in another order would be scored against each other's targets."""
    table = tiny_table()
    model = tiny_bundle(table, tiny, shift=0.0)
    changed = {"variates": ("oil (C)", "load"), "step": "2h"}[what]
    card = dataclasses.replace(table.card, **{what: changed})
    with pytest.raises(S2TXError, match=f"the champion's {what}"):
        compare(dataclasses.replace(model, card=card), model, table, tiny)


def test_a_score_that_is_not_finite_is_no_score(tiny: Params) -> None:
    """NaN compares as false with everything: it must stop, not slip through."""
    table = tiny_table()
    bad = tiny_bundle(table, tiny, shift=float("nan"))
    for pair in ((bad, bad), (bad, tiny_bundle(table, tiny)), (tiny_bundle(table, tiny), bad)):
        with pytest.raises(S2TXError, match="not finite"):
            compare(*pair, table, tiny)
    with pytest.raises(S2TXError, match="not finite"):
        score_alone(bad, table, tiny)
