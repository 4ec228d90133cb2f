"""The gate's statistics: luck must not promote, skill must."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from s2tx.evaluation.bootstrap import block_bootstrap
from s2tx.params import PromoteParams

RULE = PromoteParams(
    metric="mse", min_gain=0.0, confidence=0.9, max_missing_rise=None, resamples=200, seed=11
)
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
