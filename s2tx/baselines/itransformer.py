"""iTransformer (Liu et al., ICLR 2024, arXiv 2310.06625): a variate's whole window is one token.

The letters are those of ``s2tx.model.s2tx``. As in its released code: instance normalisation
without affine, one linear map from L to E, dropout, attention between variates with layer
normalisation after each sublayer, one linear head. Left out: the tokens of the calendar, which no
model here is given. Missing values are the observed mean of their window.
"""

from __future__ import annotations

from torch import Tensor, nn

from s2tx.baselines.encoder import EncoderLayer
from s2tx.model.attention import Dropout
from s2tx.model.revin import RevIN
from s2tx.model.sublayers import Sublayers
from s2tx.specs import ITransformerParams


class ITransformer(nn.Module):
    """The forecaster.

    Args:
        look_back: L.
        horizon: H.
        params: sizes.
        sublayers: chosen by ``s2tx.model.sublayers.choose``.
    """

    def __init__(
        self, look_back: int, horizon: int, params: ITransformerParams, sublayers: Sublayers
    ) -> None:
        super().__init__()
        width, rate = params.width, params.dropout
        self.revin = RevIN()
        self.embed = nn.Linear(look_back, width)
        self.dropout = Dropout(rate, sublayers)
        self.layers = nn.ModuleList(
            EncoderLayer(width, params.heads, params.feed_forward, rate, sublayers, "layer", rate)
            for _ in range(params.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, horizon)

    def forward(self, x_BLD: Tensor, observed_BLD: Tensor | None = None) -> Tensor:
        """(B, L, D) standardised values and what of them was observed, to (B, H, D)."""
        x_BLD, stats = self.revin(x_BLD, observed_BLD)
        h_BDE = self.dropout(self.embed(x_BLD.transpose(1, 2)))
        for layer in self.layers:
            h_BDE, _ = layer(h_BDE)
        y_BDH: Tensor = self.head(self.norm(h_BDE))
        return self.revin.inverse(y_BDH.transpose(1, 2), stats)
