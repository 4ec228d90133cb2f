"""Attention and feed-forward as modules: they hold the weights, ``sublayers`` does the work."""

from __future__ import annotations

from torch import Tensor, nn

from s2tx.model.sublayers import AttentionWeights, FeedForwardWeights, Sublayers


class Attention(nn.Module):
    """Residual multi-head attention, self or cross by an optional context.

    Args:
        width: E.
        heads: heads, dividing E.
        dropout: rate on the output.
        sublayers: who computes it.
        cross: whether ``forward`` is given a context, which then has a norm of its own.
        window: tokens that see each other, without a context; None for all.
        pre_norm: whether queries, keys and values come from a layer norm.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        dropout: float,
        sublayers: Sublayers,
        cross: bool = False,
        window: int | None = None,
        pre_norm: bool = True,
    ) -> None:
        super().__init__()
        self.heads, self.window, self.dropout, self.sublayers = heads, window, dropout, sublayers
        self.norm = nn.LayerNorm(width) if pre_norm else None
        self.norm_context = nn.LayerNorm(width) if cross and pre_norm else None
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        x_NQE: Tensor,
        context_NSE: Tensor | None = None,
        barred_NS: Tensor | None = None,
    ) -> Tensor:
        """(N, Q, E) queries, and a context (N, S, E) if this is cross-attention, to (N, Q, E).

        ``barred_NS`` is true at keys that are not read: see ``sublayers.reference.attend``.
        """
        rate = self.dropout if self.training else 0.0
        return self.sublayers.attend(
            x_NQE, context_NSE, self.weights, self.heads, self.window, rate, barred_NS
        )

    @property
    def weights(self) -> AttentionWeights:
        """The parameters, in the order that a sublayer takes them."""
        norm, context = self.norm, self.norm_context
        return AttentionWeights(
            None if norm is None else norm.weight,
            None if norm is None else norm.bias,
            None if context is None else context.weight,
            None if context is None else context.bias,
            self.query.weight,
            self.query.bias,
            self.key_value.weight,
            self.key_value.bias,
            self.out.weight,
            self.out.bias,
        )


class FeedForward(nn.Module):
    """Residual GELU network, width to ``hidden`` to width; dropout on its output.

    Args:
        width: E.
        hidden: hidden width.
        dropout: rate on the output.
        sublayers: who computes it.
        pre_norm: whether it reads its input through a layer norm.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        dropout: float,
        sublayers: Sublayers,
        pre_norm: bool = True,
    ) -> None:
        super().__init__()
        self.dropout, self.sublayers = dropout, sublayers
        norm = nn.LayerNorm(width) if pre_norm else nn.Identity()
        self.layers = nn.Sequential(
            norm, nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(..., E) to (..., E)."""
        return self.sublayers.feed_forward(x, self.weights, self.dropout if self.training else 0.0)

    @property
    def weights(self) -> FeedForwardWeights:
        """The parameters, in the order that a sublayer takes them."""
        norm, expand, _, contract = self.layers
        before = tuple(norm.parameters()) or (None, None)
        return FeedForwardWeights(*before, *expand.parameters(), *contract.parameters())


class Dropout(nn.Module):
    """Dropout of a tensor of any shape."""

    def __init__(self, rate: float, sublayers: Sublayers) -> None:
        super().__init__()
        self.rate, self.sublayers = rate, sublayers

    def forward(self, x: Tensor) -> Tensor:
        return self.sublayers.dropout(x, self.rate if self.training else 0.0)
