"""Attention and feed-forward: one attention class, self or cross by an optional context."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Pre-norm residual multi-head attention.

    Args:
        width: E.
        heads: heads, dividing E.
        dropout: rate on the output.
        cross: whether ``forward`` is given a context, which then has a norm of its own.
    """

    def __init__(self, width: int, heads: int, dropout: float, cross: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.norm_context = nn.LayerNorm(width) if cross else None
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x_NQE: Tensor, context_NSE: Tensor | None = None, allowed_QS: Tensor | None = None
    ) -> Tensor:
        """Let Q queries read S keys.

        Args:
            x_NQE: (N, Q, E) queries; also keys and values where there is no context.
            context_NSE: (N, S, E) what is read.
            allowed_QS: (Q, S) bool, true where a query may look; None for everywhere.

        Returns:
            (N, Q, E).
        """
        normed = self.norm(x_NQE)
        if self.norm_context is None:
            source = normed
        else:
            assert context_NSE is not None
            source = self.norm_context(context_NSE)
        query = self._split(self.query(normed))
        key, value = (self._split(part) for part in self.key_value(source).chunk(2, dim=-1))
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed_QS)
        update: Tensor = self.dropout(self.out(read.transpose(1, 2).flatten(2)))
        return x_NQE + update

    def _split(self, x_NSE: Tensor) -> Tensor:
        """(N, S, E) to (N, heads, S, E / heads)."""
        N, S, _ = x_NSE.shape
        return x_NSE.view(N, S, self.heads, -1).transpose(1, 2)


class FeedForward(nn.Module):
    """Pre-norm residual GELU network, width to ``hidden`` to width; dropout on its output."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Linear(hidden, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(..., E) to (..., E)."""
        update: Tensor = self.layers(x)
        return x + update


def band(size: int, window: int, device: torch.device) -> Tensor:
    """(size, size) bool: token i sees token j where ``|i - j| <= window // 2``."""
    place = torch.arange(size, device=device)
    return (place[:, None] - place[None, :]).abs() <= window // 2
