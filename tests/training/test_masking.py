"""Random masking must hide what it says, of the windows it says, and nothing of the targets."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from s2tx.data.windows import Batch
from s2tx.params import MaskingParams
from s2tx.specs import Pattern
from s2tx.training.masking import draw, mask

B, L, D, BLOCK = 400, 96, 3, 12
BLOCKS = MaskingParams(share=1.0, patterns=("block",), rates=(0.4,), block_steps=BLOCK)


def hidden(params: MaskingParams) -> torch.Tensor:
    torch.manual_seed(0)
    return ~draw(torch.zeros(B, L, D), params)


@pytest.mark.parametrize("pattern", ["point", "block", "blackout"])
@pytest.mark.parametrize("rate", [0.1, 0.6])
def test_runs_are_hidden_at_the_rate(pattern: Pattern, rate: float) -> None:
    """Protects a training that is meant to see 10 % missing from seeing something else."""
    share = hidden(replace(BLOCKS, patterns=(pattern,), rates=(rate,))).float().mean().item()
    assert share == pytest.approx(rate, abs=0.03)


def test_runs_have_their_length_and_begin_anywhere() -> None:
    """Protects from blocks that always begin at the same step, which a network would learn."""
    dark = hidden(replace(BLOCKS, rates=(0.1,)))
    begins = dark[:, 1:] & ~dark[:, :-1]
    inside = begins[:, : L - BLOCK - 1]
    for window, step, variate in inside.nonzero()[:50].tolist():
        assert dark[window, step + 1 : step + 1 + BLOCK, variate].all()
    assert (inside.sum(dim=(0, 2)) > 0).all()


def test_a_blackout_and_a_tail_take_every_variate() -> None:
    """Protects the patterns in which no other sensor helps."""
    for pattern in ("blackout", "tail"):
        dark = hidden(replace(BLOCKS, patterns=(pattern,)))
        assert torch.equal(dark.any(dim=2), dark.all(dim=2))
    lengths = dark[:, :, 0].sum(dim=1)
    assert lengths.min() == 1
    assert lengths.max() == 2 * BLOCK
    assert dark[:, -1].all()


def test_the_share_of_windows_loses_something_and_the_others_nothing() -> None:
    """Protects the clean windows, without which the forecast of clean data suffers."""
    hit = hidden(replace(BLOCKS, share=0.25, patterns=("point", "block"), rates=(0.5, 0.6)))
    assert hit.any(dim=(1, 2)).float().mean().item() == pytest.approx(0.25, abs=0.07)


def test_what_was_missing_stays_missing_and_targets_are_not_touched() -> None:
    """Protects the loss from hidden targets, and the inputs from a mask that shows a NaN's 0."""
    torch.manual_seed(0)
    observed = torch.rand(B, L, D) > 0.2
    batch = Batch(torch.ones(B, L, D), observed, torch.ones(B, 4, D), None)
    masked = mask(batch, BLOCKS)
    assert masked.observed_BLD is not None
    assert not (masked.observed_BLD & ~observed).any()
    assert torch.equal(masked.x_BLD, masked.observed_BLD.float())
    assert masked.y_BHD is batch.y_BHD
    assert masked.target_BHD is None
    assert torch.equal(observed, batch.observed_BLD)  # type: ignore[arg-type]
    assert mask(batch, None) is batch
