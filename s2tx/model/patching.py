"""Cutting a window into patches so that nothing is dropped and the newest step is seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Patches:
    """How a window of L steps becomes N patches of P steps.

    The newest value is repeated for one stride behind the window, as SST does (arXiv 2404.14757),
    and the oldest as often as the rest needs, so every step lies in some patch.

    Attributes:
        patch: P, steps in a patch.
        stride: steps between the beginnings of two patches.
        count: N.
        left: repeats of the oldest value.
        right: repeats of the newest value.
    """

    patch: int
    stride: int
    count: int
    left: int
    right: int

    @classmethod
    def by_stride(cls, length: int, patch: int, stride: int) -> Patches:
        """As many patches as the stride gives: N = ceil((L - P) / stride) + 2."""
        count = max(math.ceil((length - patch) / stride), 0) + 2
        return cls(patch, stride, count, (count - 2) * stride + patch - length, stride)

    @classmethod
    def by_count(cls, length: int, patch: int, count: int) -> Patches:
        """A fixed number of patches, however long the window: the stride grows with L.

        Where the stride outgrows the patch, so does the patch: nothing lies between two of them.

        Raises:
            ValueError: ``count`` is below 3.
        """
        if count < 3:
            raise ValueError(f"global_patches is {count}: give 3 or more")
        stride = max(math.ceil((length - patch) / (count - 2)), 1)
        if stride > patch:
            stride = patch = math.ceil(length / (count - 1))
        return cls(patch, stride, count, max((count - 2) * stride + patch - length, 0), stride)

    def cut(self, x_BDL: Tensor) -> Tensor:
        """(B, D, L) to patches (B, D, N, P), oldest first."""
        padded = F.pad(x_BDL, (self.left, self.right), mode="replicate")
        return padded.unfold(-1, self.patch, self.stride)
