"""SST (Xu et al., arXiv 2404.14757), S2TX's parent: a long and a short expert, and a router.

The letters are those of ``s2tx.model.s2tx``. Coarse patches of the long look-back go through Mamba,
fine patches of the short one through PatchTST's encoder inside a local window, variate by variate;
a router weighs the two experts for each window, from the long look-back of all variates.

Its released code bars each patch from its own neighbourhood, where the paper says the opposite:
``inverted_window`` is that code, the default is the paper. Left out: a layer norm in each Mamba
layer that the released code makes and never calls (2 E parameters of the 174,754 that it has with
its settings for ETTh1 at H = 96). Missing values are the observed mean of their window.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from s2tx.baselines.patchtst import PatchEncoder
from s2tx.model.mamba import Mamba
from s2tx.model.patching import Patches
from s2tx.model.revin import RevIN
from s2tx.model.scan import SelectiveScan
from s2tx.model.sublayers import Sublayers
from s2tx.params import WindowParams
from s2tx.specs import SSTParams


class SST(nn.Module):
    """The forecaster.

    Args:
        window: L, S and H.
        n_variates: D.
        params: sizes, and which local window.
        scan: the selective scan, chosen by ``s2tx.model.scan.choose``.
        sublayers: chosen by ``s2tx.model.sublayers.choose``.
    """

    def __init__(
        self,
        window: WindowParams,
        n_variates: int,
        params: SSTParams,
        scan: SelectiveScan,
        sublayers: Sublayers,
    ) -> None:
        super().__init__()
        self.revin = RevIN()
        self.short_steps = window.short_look_back
        self.long_expert = LongExpert(window.look_back, params, scan)
        patches = Patches.by_stride(self.short_steps, params.local_patch, params.local_stride)
        self.short_expert = PatchEncoder(
            patches,
            params.width,
            params.heads,
            params.feed_forward,
            params.dropout,
            params.n_layers,
            sublayers,
            params.window,
            params.inverted_window,
        )
        self.router = Router(window.look_back, n_variates, params.width)
        tokens = self.long_expert.patches.count + patches.count
        self.head = nn.Linear(tokens * params.width, window.horizon)

    def forward(self, x_BLD: Tensor, observed_BLD: Tensor | None = None) -> Tensor:
        """(B, L, D) standardised values and what of them was observed, to (B, H, D)."""
        x_BLD, stats = self.revin(x_BLD, observed_BLD)
        x_BDL = x_BLD.transpose(1, 2)
        of_long, of_short = self.router(x_BLD)[..., None, None].unbind(1)
        z_BDGE = of_long.unsqueeze(-1) * self.long_expert(x_BDL)
        h_BDFE = of_short.unsqueeze(-1) * self.short_expert(x_BDL[..., -self.short_steps :])
        y_BDH: Tensor = self.head(torch.cat([z_BDGE.flatten(2), h_BDFE.flatten(2)], dim=-1))
        return self.revin.inverse(y_BDH.transpose(1, 2), stats)


class LongExpert(nn.Module):
    """Coarse patches of each variate through Mamba and a GELU network, with no residual."""

    def __init__(self, look_back: int, params: SSTParams, scan: SelectiveScan) -> None:
        super().__init__()
        width, hidden = params.width, params.feed_forward
        self.patches = Patches.by_stride(look_back, params.global_patch, params.global_stride)
        self.embed = nn.Linear(params.global_patch, width)
        self.layers = nn.Sequential(
            *(
                nn.Sequential(
                    Mamba(width, params.state, params.conv, params.expand, scan),
                    nn.Linear(width, hidden),
                    nn.GELU(),
                    nn.Linear(hidden, width),
                )
                for _ in range(params.m_layers)
            )
        )

    def forward(self, x_BDL: Tensor) -> Tensor:
        """(B, D, L) to tokens (B, D, G, E)."""
        h_BDGE = self.embed(self.patches.cut(x_BDL))
        z: Tensor = self.layers(h_BDGE.flatten(0, 1)).view_as(h_BDGE)
        return z


class Router(nn.Module):
    """One weight for each expert and window, adding up to one."""

    def __init__(self, look_back: int, n_variates: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(n_variates, width)
        self.weigh = nn.Linear(look_back * width, 2)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, L, D) to (B, 2): the long expert's weight, the short one's."""
        weights: Tensor = self.weigh(self.embed(x_BLD).flatten(1)).softmax(dim=-1)
        return weights
