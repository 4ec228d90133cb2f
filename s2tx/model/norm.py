"""Normalisation of tokens over the batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BatchNorm(nn.Module):
    """Batch normalisation of each of E features over all tokens: it keeps how large they are.

    Beside ``torch.nn.BatchNorm1d`` it keeps no count of batches, an integer that weights cannot
    be averaged with.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))

    def forward(self, h_NTE: Tensor) -> Tensor:
        """(N, T, E) to (N, T, E)."""
        flat = h_NTE.flatten(0, 1)
        normed = F.batch_norm(flat, self.mean, self.variance, self.weight, self.bias, self.training)
        return normed.view_as(h_NTE)
