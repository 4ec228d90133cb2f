"""The batch normalisation must be torch's."""

from __future__ import annotations

import torch
from torch import nn

from s2tx.model.norm import BatchNorm


def test_batch_norm_is_torchs() -> None:
    """Protects PatchTST's normalisation, in training and after it."""
    torch.manual_seed(0)
    own, torchs = BatchNorm(5), nn.BatchNorm1d(5)
    for _ in range(3):
        h = torch.randn(4, 7, 5) * 3 + 1
        torch.testing.assert_close(own(h), torchs(h.transpose(1, 2)).transpose(1, 2))
    h = torch.randn(4, 7, 5)
    torch.testing.assert_close(own.eval()(h), torchs.eval()(h.transpose(1, 2)).transpose(1, 2))
