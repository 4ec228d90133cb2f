"""The gate's statistics: luck must not promote, skill must."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from s2tx.data.scaling import Scaler
from s2tx.data.split import find_borders
from s2tx.errors import InputError, S2TXError
from s2tx.evaluation.metrics import score
from s2tx.params import Params, PromoteParams
from s2tx.registry.compare import block_bootstrap, compare, score_alone
from tests.tiny import tiny_bundle, tiny_table

RULE = PromoteParams(metric="mse", min_gain=0.0, confidence=0.9, resamples=200, seed=11)
LOSSES = arrays(np.float64, st.integers(2, 80), elements=st.floats(0.01, 1e6))
BLOCKS = st.integers(1, 100)


@given(LOSSES, BLOCKS)
@settings(max_examples=50, deadline=None)
def test_equal_losses_never_win(losses: np.ndarray, block: int) -> None:  # type: ignore[type-arg]
    """A tie keeps the champion, whatever the losses are."""
    assert block_bootstrap(losses, losses.copy(), block, RULE) == 0.0


@given(LOSSES, BLOCKS)
@settings(max_examples=50, deadline=None)
def test_better_everywhere_always_wins(losses: np.ndarray, block: int) -> None:  # type: ignore[type-arg]
    """Half the loss in every window is no luck in any resample; twice the loss never wins."""
    assert block_bootstrap(losses, losses / 2, block, RULE) == 1.0
    assert block_bootstrap(losses, losses * 2, block, RULE) == 0.0


@given(LOSSES, BLOCKS)
@settings(max_examples=30, deadline=None)
def test_the_margin_counts_in_every_resample(losses: np.ndarray, block: int) -> None:  # type: ignore[type-arg]
    """Better by 5 % is not better by 10 %."""
    rule = dataclasses.replace(RULE, min_gain=0.1)
    assert block_bootstrap(losses, losses * 0.95, block, rule) == 0.0
    assert block_bootstrap(losses, losses * 0.85, block, rule) == 1.0


def test_the_same_seed_gives_the_same_confidence() -> None:
    """A decision must be repeatable, and must depend on the seed it names."""
    random = np.random.default_rng(0)
    old, new = random.random(300), random.random(300)
    assert block_bootstrap(old, new, 24, RULE) == block_bootstrap(old, new, 24, RULE)
    other = dataclasses.replace(RULE, seed=12)
    assert block_bootstrap(old, new, 24, RULE) != block_bootstrap(old, new, 24, other)


def test_windows_that_err_alike_are_drawn_together() -> None:
    """Overlapping windows share their errors: drawn one by one, luck would look like skill."""
    random = np.random.default_rng(3)
    drift = np.repeat(random.standard_normal(12), 50)
    old, new = np.full(600, 5.0), 5.0 - 0.25 - drift
    alone = block_bootstrap(old, new, 1, RULE)
    together = block_bootstrap(old, new, 50, RULE)
    assert 0.5 < together < alone


def test_of_two_lucky_models_few_pass() -> None:
    """With no true difference, about one challenger in ten may pass a confidence of 0.9."""
    random = np.random.default_rng(5)
    passed = 0
    for _ in range(200):
        common = random.random(240)
        difference = np.convolve(random.standard_normal(251), np.ones(12) / 12, "valid")
        passed += block_bootstrap(common, common + 0.1 * difference, 12, RULE) >= 0.9
    assert passed / 200 < 0.2


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
