"""Patches must cover every step, newest included, however long the window."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from s2tx.model.patching import Patches


def covers(patches: Patches, length: int) -> None:
    steps = torch.arange(length, dtype=torch.float64)[None, None]
    cut = patches.cut(steps)
    assert cut.shape == (1, 1, patches.count, patches.patch)
    assert set(cut.flatten().tolist()) == set(range(length))
    assert cut[0, 0, -1, -1] == length - 1


@given(st.integers(1, 400), st.integers(1, 64), st.integers(1, 64))
def test_by_stride_sees_every_step(length: int, patch: int, stride: int) -> None:
    """Protects from dropped steps; strides beyond the patch leave holes and are the user's will."""
    covers(Patches.by_stride(length, patch, min(stride, patch)), length)


@given(st.integers(1, 4000), st.integers(1, 64), st.integers(3, 60))
def test_by_count_keeps_the_count_and_sees_every_step(length: int, patch: int, count: int) -> None:
    """Protects the promise that cost does not grow with the look-back."""
    patches = Patches.by_count(length, patch, count)
    assert patches.count == count
    covers(patches, length)


def test_counts_of_the_paper() -> None:
    """41 global patches of 48/16 over 672 steps, 42 local ones of 16/8 over 336 (as in SST)."""
    assert Patches.by_stride(672, 48, 16).count == 41
    assert Patches.by_stride(336, 16, 8).count == 42


def test_too_few_patches_are_refused() -> None:
    """Protects from a stride of nothing."""
    with pytest.raises(ValueError, match="give 3 or more"):
        Patches.by_count(100, 10, 2)
