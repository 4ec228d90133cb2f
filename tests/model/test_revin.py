"""RevIN must be exactly invertible and must not read what is missing."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from s2tx.model.revin import RevIN


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1e3), st.floats(-1e3, 1e3))
def test_output_returns_to_the_units_of_the_input(seed: int, scale: float, shift: float) -> None:
    """Protects from a forecast in the wrong units."""
    x = torch.randn(2, 16, 3, generator=torch.Generator().manual_seed(seed)).double()
    x = x * scale + shift
    revin = RevIN()
    normal, stats = revin(x)
    torch.testing.assert_close(revin.inverse(normal, stats), x)
    torch.testing.assert_close(normal.mean(dim=1), torch.zeros(2, 3).double(), atol=1e-6, rtol=0)


def test_full_mask_is_the_same_as_no_mask_exactly() -> None:
    """Protects clean data from any cost of the support for missing values."""
    x = torch.randn(4, 32, 5)
    with_mask, masked_stats = RevIN()(x, torch.ones_like(x, dtype=torch.bool))
    without, stats = RevIN()(x)
    assert torch.equal(with_mask, without)
    assert torch.equal(masked_stats.mean, stats.mean)
    assert torch.equal(masked_stats.std, stats.std)


def test_missing_places_are_not_read() -> None:
    """Protects the statistics from whatever filler stands at a missing place."""
    x = torch.randn(2, 20, 3)
    observed = torch.rand(2, 20, 3) > 0.4
    garbage = torch.where(observed, x, torch.full_like(x, 1e6))
    for one, other in zip(RevIN()(x, observed)[1], RevIN()(garbage, observed)[1], strict=True):
        assert torch.equal(one, other)
    assert torch.equal(RevIN()(garbage, observed)[0][~observed], torch.zeros((~observed).sum()))


def test_statistics_are_those_of_the_observed_values() -> None:
    """Protects from counting missing places in the mean."""
    x = torch.tensor([[[1.0], [3.0], [9e9], [5.0]]])
    observed = torch.tensor([[[True], [True], [False], [True]]])
    _, stats = RevIN(eps=0.0)(x, observed)
    assert stats.mean.item() == 3.0
    assert abs(stats.std.item() - (8 / 3) ** 0.5) < 1e-6


def test_variate_never_observed_stays_finite() -> None:
    """Protects from NaN forecasts when a sensor is dark for the whole look-back."""
    normal, stats = RevIN()(torch.zeros(1, 8, 1), torch.zeros(1, 8, 1, dtype=torch.bool))
    assert torch.equal(normal, torch.zeros(1, 8, 1))
    assert (stats.mean.item(), stats.std.item()) == (0.0, 1.0)
