"""An estimate must come from what was observed: of its season, its neighbours, its fellows."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from s2tx.model.infill import NOISE, Infill, _correlation, _in_time, _krige, _largest

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
    scales = scale * torch.tensor([1.0, -0.3], dtype=torch.float64)
    there = Infill(season)(x * scales + shift, observed)
    back = (there - shift) / scales
    torch.testing.assert_close(back, Infill(season)(x, observed), rtol=1e-5, atol=1e-5)


def test_a_pure_cycle_is_restored() -> None:
    """Protects the season: where each phase was observed, little is left to guess."""
    x = cycle(50)
    observed = torch.ones_like(x, dtype=torch.bool)
    observed[:, 13:31] = False
    observed[:, -4:] = False
    error = (Infill(SEASON)(x, observed) - x).abs().max()
    assert error < 0.15  # of an amplitude of 1


def test_what_the_neighbours_have_over_the_mean_fades_into_the_gap() -> None:
    """Protects a gap from a level that the series left weeks ago, and its far end from a level
    that held for a few hours."""
    x = torch.zeros(1, 100, 1, dtype=torch.float64)
    x[:, 30:40] = 1.0
    observed = torch.ones_like(x, dtype=torch.bool)
    observed[:, 40:] = False
    gap = Infill(None)(x, observed)[0, 40:, 0]
    assert 0.6 < gap[0] < 1.0
    assert (gap.diff() < 0).all()
    assert gap[-1] < 0.33  # the mean of what was observed is 0.25


def test_the_nearest_season_weighs_most() -> None:
    """Protects a season that changes from the mean of all its past."""
    x = torch.cat([cycle(30), 3 * cycle(30)], dim=1)
    observed = torch.ones_like(x, dtype=torch.bool)
    observed[:, 54:] = False
    error = (Infill(SEASON)(x, observed) - x)[:, 54:].abs().max()
    assert error < 0.8  # the mean of all seasons would be off by 1


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_a_gap_takes_the_course_of_the_variates_that_it_follows(seed: int) -> None:
    """Protects what other variates know: the load of a line is that of its branches together."""
    generator = torch.Generator().manual_seed(seed)
    branches = torch.randn(16, 200, 2, generator=generator, dtype=torch.float64)
    for step in range(1, 200):
        branches[:, step] += 0.9 * branches[:, step - 1]
    x = torch.cat([branches, branches.sum(dim=2, keepdim=True)], dim=2)
    observed = torch.ones_like(x, dtype=torch.bool)
    observed[:, 150:, 2] = False
    error = (Infill(None)(x, observed) - x)[:, 150:, 2]
    alone = (Infill(None)(x[..., 2:], observed[..., 2:]) - x[..., 2:])[:, 150:, 0]
    assert error.square().mean() < 0.5 * alone.square().mean()


@given(
    seed=st.integers(0, 10_000), share=st.floats(0.05, 0.95),
    season=st.sampled_from([None, SEASON]),
)  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_the_solver_agrees_with_a_direct_solution(
    seed: int, share: float, season: int | None
) -> None:
    """Protects the kriging from a solver that stopped too early or lost its way."""
    x, observed = (each.mT for each in windows(seed, share))
    seen = observed.to(x)
    known = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed + 1)).to(x) * seen
    time, between = _in_time(x.shape[2], season, x.dtype, x.device), _correlation(x)
    found = _krige(known, seen, between, time, 500)
    for window in range(len(x)):
        covariance = torch.kron(between[window], time[0])
        at = observed[window].flatten()
        inner = covariance[at][:, at] + NOISE * torch.eye(int(at.sum()), dtype=x.dtype)
        weight = torch.linalg.solve(inner, known[window].flatten()[at])
        expected = (covariance[:, at] @ weight).view_as(x[window])
        torch.testing.assert_close(found[window], expected, rtol=1e-4, atol=1e-4)


@given(seed=st.integers(0, 10_000), size=st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_the_bound_of_the_eigenvalues_is_one_and_a_close_one(seed: int, size: int) -> None:
    """Protects the solver: below the largest eigenvalue it diverges, far above it dawdles."""
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(2, size, size, generator=generator, dtype=torch.float64)
    matrices = root @ root.mT
    largest, bound = torch.linalg.eigvalsh(matrices)[:, -1], _largest(matrices)
    assert (bound >= largest * (1 - 1e-12)).all()
    assert (bound <= largest * size**0.125 * (1 + 1e-12)).all()


def test_a_window_is_filled_by_itself() -> None:
    """Protects a forecast from the other windows of its batch, and a complete one from any cost."""
    x, observed = windows(3, 0.4)
    observed[2] = True
    together = Infill(SEASON)(x, observed)
    for window in range(3):
        alone = Infill(SEASON)(x[window : window + 1], observed[window : window + 1])
        torch.testing.assert_close(together[window : window + 1], alone)
    assert torch.equal(together[2], x[2])


def test_the_steps_that_are_taken_suffice_for_many_like_variates() -> None:
    """Protects wide tables: there the system is stiffest, and a solver that stops too early leaves
    errors as large as the values."""
    generator = torch.Generator().manual_seed(0)
    course = cycle(96) + torch.randn(1, 96, 1, generator=generator) * 0.1
    x = (course + 0.1 * torch.randn(1, 96, 40, generator=generator)).float()
    observed = torch.ones_like(x, dtype=torch.bool)
    observed[:, 40:60, :20] = False
    observed[:, -9:, 5:30] = False
    error = (Infill(SEASON)(x, observed) - x)[~observed]
    assert error.square().mean() < 0.04  # of a variance of 0.5, and a noise of 0.01


@given(level=st.sampled_from([0.1, 5.3, -417.7]))
@settings(max_examples=3, deadline=None)
def test_a_stuck_sensor_keeps_its_level_and_tells_the_others_nothing(level: float) -> None:
    """Protects the other variates from the rounding of one that does not move."""
    x, observed = (each[1:2] for each in windows(5, 0.4))
    x = x.float()
    stuck = torch.full_like(x[..., :1], level)
    shown = observed[..., :1].clone()
    both = Infill(SEASON)(torch.cat([x, stuck], dim=2), torch.cat([observed, shown], dim=2))
    torch.testing.assert_close(both[..., 2:], stuck, rtol=1e-6, atol=1e-6)
    alone = Infill(SEASON)(x, observed)
    torch.testing.assert_close(both[..., :2], alone, rtol=1e-4, atol=1e-4)


def test_variates_keep_to_themselves_where_they_must() -> None:
    """Protects the switch ``infill_variates``: without it no variate reads another, gap or not."""
    x, observed = windows(4, 0.4)
    changed = x.clone()
    changed[..., 1] = changed[..., 1].flip(1)
    apart = Infill(SEASON, variates=False)
    assert torch.equal(apart(x, observed)[..., 0], apart(changed, observed)[..., 0])
    joint = Infill(SEASON)
    assert not torch.allclose(joint(x, observed)[..., 0], joint(changed, observed)[..., 0])


def test_estimates_pass_gradients_after_a_forecast_was_made() -> None:
    """Protects training, and attribution to inputs, in a process that has made a forecast: what the
    infill keeps between calls must not be of inference mode."""
    x, observed = windows(5, 0.4, L=45)  # a length of its own, so that nothing is kept yet
    with torch.inference_mode():
        Infill(SEASON)(x, observed)
    x.requires_grad_()
    Infill(SEASON)(x, observed).sum().backward()
    assert x.grad is not None
    assert x.grad[observed].any()


def test_a_variate_by_itself_gets_as_many_steps_as_all_together() -> None:
    """Protects the switch ``infill_variates`` from a rough estimate: with one variate there is
    nothing to read across, so on and off must agree."""
    x, observed = (each[1:, :, :1] for each in windows(6, 0.5))
    torch.testing.assert_close(
        Infill(SEASON, variates=False)(x, observed), Infill(SEASON)(x, observed)
    )
