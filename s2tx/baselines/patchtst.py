"""PatchTST (Nie et al., ICLR 2023, arXiv 2211.14730), the supervised one.

The letters are those of ``s2tx.model.s2tx``. As in its released code: RevIN without affine, every
variate by itself, the end padded by one stride, a learned position, batch normalisation after each
sublayer, attention scores carried from layer to layer, one linear head for all variates. Missing
values, which it does not know, are the observed mean of their window.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from s2tx.baselines.encoder import EncoderLayer, encode
from s2tx.model.attention import Dropout
from s2tx.model.patching import Patches
from s2tx.model.revin import RevIN
from s2tx.model.sublayers import Sublayers
from s2tx.model.sublayers.reference import band
from s2tx.specs import PatchTSTParams


class PatchEncoder(nn.Module):
    """Patches of each variate through the encoder; SST's short expert is the same.

    Args:
        patches: how the window is cut.
        width: E.
        heads: heads, dividing E.
        feed_forward: hidden width.
        dropout: rate.
        layers: how many.
        sublayers: who computes the dropout.
        window: patch i reads patch j where ``|i - j| <= window // 2``; None for everywhere.
        inverted: the opposite, as in SST's released code.
    """

    def __init__(
        self,
        patches: Patches,
        width: int,
        heads: int,
        feed_forward: int,
        dropout: float,
        layers: int,
        sublayers: Sublayers,
        window: int | None = None,
        inverted: bool = False,
    ) -> None:
        super().__init__()
        self.patches, self.window, self.inverted = patches, window, inverted
        self.embed = nn.Linear(patches.patch, width)
        self.position = nn.Parameter(torch.empty(patches.count, width).uniform_(-0.02, 0.02))
        self.dropout = Dropout(dropout, sublayers)
        self.layers = nn.ModuleList(
            EncoderLayer(width, heads, feed_forward, dropout, sublayers, "batch")
            for _ in range(layers)
        )

    def forward(self, x_BDL: Tensor) -> Tensor:
        """(B, D, L) to tokens (B, D, T, E)."""
        h_BDTE = self.embed(self.patches.cut(x_BDL)) + self.position
        barred_TT = None
        if self.window is not None:
            near_TT = band(self.patches.count, self.window, x_BDL.device)
            barred_TT = near_TT if self.inverted else ~near_TT
        h_NTE = encode(self.dropout(h_BDTE.flatten(0, 1)), self.layers, barred_TT)
        return h_NTE.view_as(h_BDTE)


class PatchTST(nn.Module):
    """The forecaster.

    Args:
        look_back: L.
        horizon: H.
        params: sizes.
        sublayers: chosen by ``s2tx.model.sublayers.choose``.
    """

    def __init__(
        self, look_back: int, horizon: int, params: PatchTSTParams, sublayers: Sublayers
    ) -> None:
        super().__init__()
        self.revin = RevIN()
        self.encoder = PatchEncoder(
            Patches.by_stride(look_back, params.patch, params.stride),
            params.width,
            params.heads,
            params.feed_forward,
            params.dropout,
            params.layers,
            sublayers,
        )
        self.head = nn.Linear(self.encoder.patches.count * params.width, horizon)

    def forward(self, x_BLD: Tensor, observed_BLD: Tensor | None = None) -> Tensor:
        """(B, L, D) standardised values and what of them was observed, to (B, H, D)."""
        x_BLD, stats = self.revin(x_BLD, observed_BLD)
        h_BDTE = self.encoder(x_BLD.transpose(1, 2))
        y_BDH: Tensor = self.head(h_BDTE.flatten(2))
        return self.revin.inverse(y_BDH.transpose(1, 2), stats)
