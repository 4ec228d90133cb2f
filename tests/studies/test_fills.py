"""A fill must read the look-back alone, keep what was observed, and leave no gap."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from s2tx.studies.fills import Fill, Filled, fills

SEASON = 5
FILLS: dict[str, Fill] = {name: fill for name, fill in fills(SEASON).items() if fill is not None}


def windows(seed: int, share: float, L: int = 23) -> tuple[Tensor, Tensor]:
    """Values with garbage where they are missing; one variate of one window is dark."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, L, 2, generator=generator, dtype=torch.float64)
    observed = torch.rand(3, L, 2, generator=generator) >= share
    observed[0, :, 1] = False
    return torch.where(observed, x, torch.full_like(x, 1e9)), observed


@pytest.mark.parametrize("name", FILLS)
@given(seed=st.integers(0, 10_000), share=st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_what_was_observed_stays_and_garbage_is_never_read(
    name: str, seed: int, share: float
) -> None:
    """Protects the comparison from a fill that changes readings, or peeks at the hidden ones."""
    x, observed = windows(seed, share)
    filled = FILLS[name](x, observed)
    assert torch.equal(filled[observed], x[observed])
    assert filled.abs().max() < 100
    assert not filled[0, :, 1].any()


@pytest.mark.parametrize("name", ["forward", "linear", "mean"])
@given(seed=st.integers(0, 10_000), share=st.floats(0.1, 0.9))
@settings(max_examples=25, deadline=None)
def test_each_is_what_pandas_does(name: str, seed: int, share: float) -> None:
    """Protects from a fill that only sounds like the one of that name."""
    x, observed = windows(seed, share)
    filled = FILLS[name](x, observed)
    for b, d in np.ndindex(3, 2):
        gappy = pd.Series(np.where(observed[b, :, d], x[b, :, d], np.nan))
        if gappy.isna().all():
            continue
        expected = {
            "forward": gappy.ffill().bfill(),
            "linear": gappy.interpolate(method="linear", limit_direction="both"),
            "mean": gappy.fillna(gappy.mean()),
        }[name]
        np.testing.assert_allclose(filled[b, :, d], expected)


@given(seed=st.integers(0, 10_000), share=st.floats(0, 0.9))
@settings(max_examples=25, deadline=None)
def test_the_seasonal_fill_is_the_newest_value_of_the_phase(seed: int, share: float) -> None:
    """Protects from a season that is off by one, or that looks ahead."""
    x, observed = windows(seed, share)
    filled = FILLS["seasonal"](x, observed)
    for b, t, d in (~observed).nonzero().tolist():
        same = [s for s in range(t - SEASON, -1, -SEASON) if observed[b, s, d]]
        if same:
            assert filled[b, t, d] == x[b, same[0], d]


def test_a_filled_network_never_sees_a_gap() -> None:
    """Protects a baseline's figure under a fill from its own way with masks."""

    class Last(nn.Module):
        def forward(self, x_BLD: Tensor, observed_BLD: Tensor | None) -> Tensor:
            assert observed_BLD is None
            return x_BLD[:, -1:]

    x, observed = windows(0, 0.5)
    network = Filled(Last(), FILLS["forward"])
    assert torch.equal(network(x, observed), FILLS["forward"](x, observed)[:, -1:])
    assert torch.equal(network(x), x[:, -1:])
