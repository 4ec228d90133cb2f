"""The season that is taken off must be the window's own, and come back on the right steps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from s2tx.model.season import Season


def cycle(steps: int, length: int, first: int) -> torch.Tensor:
    """A pure cycle of two variates, (1, length, 2), from phase ``first`` on; its mean is 0."""
    phase = (torch.arange(length) + first) % steps
    values = torch.randn(steps, 2, generator=torch.Generator().manual_seed(0))
    return (values - values.mean(dim=0))[phase][None]


@given(st.integers(1, 9), st.integers(9, 40), st.integers(1, 20), st.booleans())
def test_a_pure_cycle_goes_on(steps: int, length: int, horizon: int, gaps: bool) -> None:
    """Protects the phase, also where neither L nor H is a multiple of the season: nothing is left
    of a pure cycle, and zero forecasts continue it, also with gaps while each phase is seen."""
    x = cycle(steps, length, 3)
    observed = None
    if gaps:
        observed = torch.ones_like(x, dtype=torch.bool)
        observed[0, : length - steps : 2, 0] = False
        x = torch.where(observed, x, 0.0)
    season = Season(steps)
    rest, means = season(x, observed)
    torch.testing.assert_close(rest, torch.zeros_like(x))
    ahead = season.inverse(torch.zeros(1, horizon, 2), means)
    torch.testing.assert_close(ahead, cycle(steps, horizon, 3 + length))


def test_what_is_missing_stays_zero_and_is_not_averaged() -> None:
    """Protects from gaps that read as a cycle: a missing step is neither counted nor given."""
    x = torch.tensor([2.0, 1.0, 0.0, 5.0, 4.0, 0.0])[None, :, None]
    observed = torch.tensor([1, 1, 0, 1, 1, 0], dtype=torch.bool)[None, :, None]
    rest, means = Season(3)(x, observed)
    assert means is not None
    assert means[0, :, 0].tolist() == [3.5, 2.5, 0.0]
    assert rest[0, :, 0].tolist() == [-1.5, -1.5, 0.0, 1.5, 1.5, 0.0]


@pytest.mark.parametrize("steps", [None, 4])
def test_fully_observed_is_the_same_as_no_mask(steps: int | None) -> None:
    """Protects forecasts on clean data; without a season nothing changes at all."""
    torch.manual_seed(0)
    x = torch.randn(2, 10, 3)
    season = Season(steps)
    rest, means = season(x)
    masked, means_masked = season(x, torch.ones_like(x, dtype=torch.bool))
    assert torch.equal(rest, masked)
    if means is None:
        assert rest is x
        assert season.inverse(x, None) is x
    else:
        assert means_masked is not None
        assert torch.equal(means, means_masked)
