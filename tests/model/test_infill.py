"""An estimate must come from what was observed, follow the season, and stay near its neighbours."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from s2tx.model.infill import Infill

SEASON = 6


def windows(seed: int, share: float, L: int = 44) -> tuple[Tensor, Tensor]:
    """Values and what of them was observed; one variate of one window is dark."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, L, 2, generator=generator, dtype=torch.float64)
    observed = torch.rand(3, L, 2, generator=generator) >= share
    observed[0, :, 1] = False
    return x, observed


def cycle(L: int) -> Tensor:
    step = torch.arange(L, dtype=torch.float64)
    return torch.sin(2 * torch.pi * step / SEASON)[None, :, None]


@given(
    seed=st.integers(0, 10_000), share=st.floats(0, 1), season=st.sampled_from([None, 1, SEASON])
)
@settings(max_examples=40, deadline=None)
def test_what_was_observed_stays_and_what_was_not_is_never_read(
    seed: int, share: float, season: int | None
) -> None:
    """Protects readings from being changed, and the forecast from whatever filler stands there."""
    x, observed = windows(seed, share)
    filled = Infill(season)(torch.where(observed, x, torch.full_like(x, 1e9)), observed)
    assert torch.equal(filled[observed], x[observed])
    assert filled.abs().max() < 20
    assert not filled[0, :, 1].any()
    complete = Infill(season)(x, torch.ones_like(observed))
    assert torch.equal(complete, x)


@given(
    seed=st.integers(0, 10_000), scale=st.floats(0.01, 100), shift=st.floats(-1e3, 1e3),
    season=st.sampled_from([None, SEASON]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_scale_and_shift_pass_through(
    seed: int, scale: float, shift: float, season: int | None
) -> None:
    """Protects RevIN's promise: a forecast must not depend on the units of the window."""
    x, observed = windows(seed, 0.4)
    observed[0, 0, 1] = True  # a dark variate is 0, whatever the shift
    there = Infill(season)(x * scale + shift, observed)
    torch.testing.assert_close(there, Infill(season)(x, observed) * scale + shift)


def test_a_pure_cycle_is_restored() -> None:
    """Protects the season: where each phase was observed, nothing is left to guess."""
    x = cycle(50)
    observed = torch.ones_like(x, dtype=torch.bool)
    observed[:, 13:31] = False
    observed[:, -4:] = False
    torch.testing.assert_close(Infill(SEASON)(x, observed), x)


def test_what_the_neighbours_have_over_their_season_fades_into_the_gap() -> None:
    """Protects a gap from a level that the series left weeks ago, and its far end from a level
    that held for a few hours."""
    x = torch.zeros(1, 100, 1, dtype=torch.float64)
    x[:, 30:40] = 1.0
    observed = torch.ones_like(x, dtype=torch.bool)
    observed[:, 40:] = False
    gap = Infill(None)(x, observed)[0, 40:, 0]
    assert 0.6 < gap[0] < 1.0
    assert (gap.diff() < 0).all()
    assert gap[-1] < 0.3  # the mean of what was observed is 0.25


def test_the_nearest_season_weighs_most() -> None:
    """Protects a season that changes from the mean of all its past."""
    x = torch.cat([cycle(30), 3 * cycle(30)], dim=1)
    observed = torch.ones_like(x, dtype=torch.bool)
    observed[:, 54:] = False
    error = (Infill(SEASON)(x, observed) - x)[:, 54:].abs().max()
    assert error < 0.8  # the mean of all seasons would be off by 1
