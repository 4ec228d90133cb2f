"""Windows must be the rows they claim to be: one row off is a leak of the future."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from s2tx.data.windows import Windows

CPU = torch.device("cpu")


def series(rows: int = 40, variates: int = 2) -> np.ndarray:
    return np.arange(rows * variates, dtype=np.float64).reshape(rows, variates)


@given(st.integers(1, 10), st.integers(1, 8), st.data())
def test_inputs_end_where_targets_begin(look_back: int, horizon: int, data: st.DataObject) -> None:
    """Protects from an input that holds a target, and from a gap between them."""
    values = series()
    origin = data.draw(st.integers(look_back, len(values) - horizon))
    batch = Windows(values, look_back, horizon, CPU).batch(torch.tensor([origin]))
    np.testing.assert_array_equal(batch.x_BLD[0], values[origin - look_back : origin])
    np.testing.assert_array_equal(batch.y_BHD[0], values[origin : origin + horizon])
    assert batch.observed_BLD is None
    assert batch.target_BHD is None


def test_missing_values_travel_as_masks() -> None:
    """Protects the network from NaN, and the loss from a filler."""
    values = series()
    values[[5, 9], [0, 1]] = np.nan
    batch = Windows(values, 6, 4, CPU).batch(torch.tensor([7, 20]))
    assert batch.observed_BLD is not None
    assert batch.target_BHD is not None
    assert torch.isfinite(batch.x_BLD).all()
    assert torch.isfinite(batch.y_BHD).all()
    assert (~batch.observed_BLD).nonzero().tolist() == [[0, 4, 0]]
    assert (~batch.target_BHD).nonzero().tolist() == [[0, 2, 1]]


def test_hidden_values_are_gone_from_inputs_and_stay_in_targets() -> None:
    """Protects the protocol of injection: inputs only, and not a trace of the hidden value."""
    visible = np.ones((40, 2), bool)
    visible[8:12] = False
    batch = Windows(series(), 6, 4, CPU, visible).batch(torch.tensor([10]))
    assert batch.observed_BLD is not None
    assert batch.target_BHD is None
    assert batch.observed_BLD[0, :, 0].tolist() == [True] * 4 + [False] * 2
    assert (batch.x_BLD[0, 4:] == 0).all()
    np.testing.assert_array_equal(batch.y_BHD[0], series()[10:14])


def test_a_hidden_tail_is_the_newest_steps() -> None:
    """Protects the tail pattern from hiding the wrong end, or from changing the stored masks."""
    windows = Windows(series(), 6, 4, CPU, tail_steps=2)
    for _ in range(2):
        batch = windows.batch(torch.tensor([10, 30]))
        assert batch.observed_BLD is not None
        assert batch.observed_BLD[:, :, 0].tolist() == [[True] * 4 + [False] * 2] * 2
        assert (batch.x_BLD[:, 4:] == 0).all()


def test_all_windows_are_views_of_one_tensor() -> None:
    """Protects memory: L + H times the table would not fit where the table does."""
    windows = Windows(np.zeros((10_000, 3)), 500, 100, CPU)
    assert windows._values.untyped_storage().nbytes() == 10_000 * 3 * 4
