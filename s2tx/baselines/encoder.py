"""The post-norm Transformer encoder that PatchTST, SST and iTransformer are built around.

Letters: N sequences, T tokens, E width.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from s2tx.model.attention import Dropout
from s2tx.model.norm import BatchNorm
from s2tx.model.sublayers import Sublayers

Norm = Literal["batch", "layer"]


class EncoderLayer(nn.Module):
    """Attention, then a GELU network, each added to its input and then normalised.

    Args:
        width: E.
        heads: heads, dividing E.
        feed_forward: hidden width.
        dropout: rate on what is added, and inside the network.
        sublayers: who computes the dropout.
        norm: over the batch, as in PatchTST, or over the features.
        attention_dropout: rate on the attention weights.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        feed_forward: int,
        dropout: float,
        sublayers: Sublayers,
        norm: Norm,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.expand = nn.Linear(width, feed_forward)
        self.contract = nn.Linear(feed_forward, width)
        norms = {"batch": BatchNorm, "layer": nn.LayerNorm}
        self.norm_attention, self.norm_network = norms[norm](width), norms[norm](width)
        self.dropout = Dropout(dropout, sublayers)
        self.attention_dropout = Dropout(attention_dropout, sublayers)

    def forward(
        self, h_NTE: Tensor, scores: Tensor | None = None, barred_TT: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One layer.

        Args:
            h_NTE: (N, T, E).
            scores: (N, heads, T, T) of the layer before, added to this one's (RealFormer, arXiv
                2012.11747); None to add nothing.
            barred_TT: (T, T) bool, true where a token may not read another.

        Returns:
            (N, T, E), and this layer's scores before the softmax.
        """
        N, T, E = h_NTE.shape
        parts = self.query_key_value(h_NTE).view(N, T, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        own = (query / math.sqrt(E // self.heads)) @ key.transpose(-1, -2)
        if scores is not None:
            own = own + scores
        if barred_TT is not None:
            own = own.masked_fill(barred_TT, -math.inf)
        read = self.attention_dropout(own.softmax(dim=-1)) @ value
        update = self.out(read.transpose(1, 2).reshape(N, T, E))
        h_NTE = self.norm_attention(h_NTE + self.dropout(update))
        hidden = self.contract(self.dropout(F.gelu(self.expand(h_NTE))))
        return self.norm_network(h_NTE + self.dropout(hidden)), own


def encode(h_NTE: Tensor, layers: Iterable[nn.Module], barred_TT: Tensor | None = None) -> Tensor:
    """Layer after layer, each adding the scores of the one before to its own."""
    scores = None
    for layer in layers:
        h_NTE, scores = layer(h_NTE, scores, barred_TT)
    return h_NTE
