"""The sublayers in plain torch, for any device and type."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from s2tx.model.sublayers import AttentionWeights, FeedForwardWeights, Sublayers


def attend(
    x_NQE: Tensor,
    context_NSE: Tensor | None,
    weights: AttentionWeights,
    heads: int,
    window: int | None,
    dropout: float,
    barred_NS: Tensor | None = None,
) -> Tensor:
    """Residual multi-head attention: Q queries read S keys; layer norms come first, if any.

    Args:
        x_NQE: (N, Q, E) queries; also keys and values where there is no context.
        context_NSE: (N, S, E) what is read instead, through a norm of its own; or None.
        weights: the parameters.
        heads: heads, dividing E.
        window: without a context, token i sees token j where ``|i - j| <= window // 2``; None for
            everywhere.
        dropout: rate on what is added to ``x_NQE``.
        barred_NS: bool, true at keys that are not read, but by the token itself where there is no
            context; each sequence of a context leaves one to be read. None to read all.

    Returns:
        (N, Q, E).
    """
    normed = _normed(x_NQE, weights.gain, weights.bias)
    source = normed
    if context_NSE is not None:
        source = _normed(context_NSE, weights.context_gain, weights.context_bias)
    query = _split(F.linear(normed, weights.query, weights.query_bias), heads)
    both = F.linear(source, weights.key_value, weights.key_value_bias)
    key, value = (_split(part, heads) for part in both.chunk(2, dim=-1))
    seen = None if window is None else band(x_NQE.shape[1], window, x_NQE.device)
    if barred_NS is not None:
        open_N1QS = ~barred_NS[:, None, None, :]
        if context_NSE is None:
            open_N1QS = open_N1QS | torch.eye(x_NQE.shape[1], device=x_NQE.device).bool()
        seen = open_N1QS if seen is None else open_N1QS & seen
    read = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
    update = F.linear(read.transpose(1, 2).flatten(2), weights.out, weights.out_bias)
    return x_NQE + F.dropout(update, dropout)


def feed_forward(x: Tensor, weights: FeedForwardWeights, dropout: float) -> Tensor:
    """Residual GELU network over (..., E), behind a layer norm if any; dropout on what is added."""
    normed = _normed(x, weights.gain, weights.bias)
    hidden = F.gelu(F.linear(normed, weights.expand, weights.expand_bias))
    update = F.linear(hidden, weights.contract, weights.contract_bias)
    return x + F.dropout(update, dropout)


def dropout(x: Tensor, rate: float) -> Tensor:
    """Each element becomes 0 at ``rate``, or is divided by ``1 - rate``."""
    return F.dropout(x, rate)


def band(size: int, window: int, device: torch.device) -> Tensor:
    """(size, size) bool: token i sees token j where ``|i - j| <= window // 2``."""
    place = torch.arange(size, device=device)
    return (place[:, None] - place[None, :]).abs() <= window // 2


def _normed(x: Tensor, gain: Tensor | None, bias: Tensor | None) -> Tensor:
    return x if gain is None else F.layer_norm(x, (x.shape[-1],), gain, bias)


def _split(x_NSE: Tensor, heads: int) -> Tensor:
    """(N, S, E) to (N, heads, S, E / heads)."""
    N, S, _ = x_NSE.shape
    return x_NSE.view(N, S, heads, -1).transpose(1, 2)


SUBLAYERS = Sublayers(attend, feed_forward, dropout)
