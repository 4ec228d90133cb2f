"""S2TX: coarse patches of all variates through Mamba, read by fine patches through attention.

Reading order: ``S2TX.forward`` (the whole), ``GlobalPath`` (section 3.1 of the paper, arXiv
2502.11340), ``LocalPath`` (section 3.2). The parts are in ``revin``, ``patching``, ``mamba`` and
``attention``.

==========  ====================================================  =====================
letter      meaning                                               in ``params.yaml``
==========  ====================================================  =====================
B           windows in a batch
D           variates
L           long look-back, steps                                 ``window.look_back``
S           short look-back, the newest S of the L steps          ``window.short_look_back``
H           horizon, steps                                        ``window.horizon``
G, P        global patches: how many, how long                    ``model.global_*``
F, P        local patches: how many, how long                     ``model.local_*``
E           width of a token                                      ``model.width``
==========  ====================================================  =====================

Departures from the paper, each with a switch: the head may read global tokens as well
(``head_context``), all or the newest (``head_tokens``), the forecast may be the mean of the
network's and of a linear map's (``linear_member``), the window's own season may be taken off first
(``season``), joint tokens may stand moment after moment (``time_major``), and norms may be over the
batch, as in SST's encoder: the last of each path (``final_norm``), or one behind each sublayer of
the local path in the place of a layer norm ahead of it and of its last one (``local_norm``).

What is missing is known to four parts, each with a switch: its place holds an estimate from the
window (``infill``), or else the observed mean, and the normalisation reads observed values alone
(``masked_revin``); patches carry the mask (``mask_input``); a patch in which nothing was observed
is a key to no query and passed by in the scan (``skip_missing``). Where nothing is missing, the
forecast is that without a mask, to the last bit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from s2tx.model.attention import Attention, Dropout, FeedForward
from s2tx.model.infill import Infill
from s2tx.model.mamba import BidirectionalMamba
from s2tx.model.norm import BatchNorm
from s2tx.model.patching import Patches
from s2tx.model.revin import RevIN
from s2tx.model.scan import SelectiveScan
from s2tx.model.season import Season
from s2tx.model.sublayers import Sublayers
from s2tx.params import ModelParams, WindowParams

_NORMS: dict[str, type[nn.Module]] = {"layer": nn.LayerNorm, "batch": BatchNorm}


class S2TX(nn.Module):
    """The forecaster.

    Args:
        window: L, S and H.
        n_variates: D.
        params: sizes and switches.
        scan: the selective scan, chosen by ``s2tx.model.scan.choose``.
        sublayers: the rest of the blocks, chosen by ``s2tx.model.sublayers.choose``.
    """

    def __init__(
        self,
        window: WindowParams,
        n_variates: int,
        params: ModelParams,
        scan: SelectiveScan,
        sublayers: Sublayers,
    ) -> None:
        super().__init__()
        self.revin = RevIN(params.revin, params.masked_revin)
        self.season = Season(params.season)
        self.infill: Infill | None = None
        if params.infill:
            self.infill = Infill(params.infill_season, params.infill_variates)
        self.head_context, self.head_tokens = params.head_context, params.head_tokens
        self.local_path = LocalPath(window, params, sublayers)
        tokens = self.local_path.patches.count
        self.global_path: GlobalPath | None = None
        if params.cross_attention or params.head_context:
            self.global_path = GlobalPath(window, n_variates, params, scan, sublayers)
        if self.global_path is not None and params.head_context:
            tokens += self.global_path.patches.count if params.head_tokens == "all" else 1
        self.head = nn.Linear(tokens * params.width, window.horizon)
        self.linear: nn.Linear | None = None
        if params.linear_member:
            self.linear = nn.Linear(window.look_back, window.horizon, bias=False)
            nn.init.zeros_(self.linear.weight)

    def forward(self, x_BLD: Tensor, observed_BLD: Tensor | None = None) -> Tensor:
        """Forecast the next H steps.

        Args:
            x_BLD: (B, L, D) standardised values, finite; missing places are not read.
            observed_BLD: (B, L, D) bool, true where a value was observed; None if all were.

        Returns:
            (B, H, D) in the units of ``x_BLD``.
        """
        seen_BLD = observed_BLD
        if self.infill is not None and observed_BLD is not None:
            x_BLD, seen_BLD = self.infill(x_BLD, observed_BLD), None
        x_BLD, stats = self.revin(x_BLD, seen_BLD)
        x_BLD, season = self.season(x_BLD, seen_BLD)
        x_BDL = x_BLD.transpose(1, 2)
        missing_BDL = None if observed_BLD is None else (~observed_BLD).transpose(1, 2).to(x_BDL)

        z_BDGE = empty_BDG = None
        if self.global_path is not None:
            z_BDGE, empty_BDG = self.global_path(x_BDL, missing_BDL)
        h_BDFE = self.local_path(x_BDL, missing_BDL, z_BDGE, empty_BDG)

        features = h_BDFE.flatten(2)
        if self.head_context and z_BDGE is not None:
            read_BDGE = z_BDGE if self.head_tokens == "all" else z_BDGE[:, :, -1:]
            features = torch.cat([features, read_BDGE.flatten(2)], dim=-1)
        y_BDH = self.head(features)
        if self.linear is not None:
            y_BDH = self._of_two(y_BDH, self.linear(x_BDL))
        return self.revin.inverse(self.season.inverse(y_BDH.transpose(1, 2), season), stats)

    def _of_two(self, one_BDH: Tensor, other_BDH: Tensor) -> Tensor:
        """The mean of two forecasts; in training either, by a coin for each variate of a window.

        So each learns to forecast by itself and errs in its own way, of which the mean keeps less
        (Breiman, Machine Learning 24, 1996). Of a sum the network would learn what the map leaves.
        """
        if not self.training:
            return (one_BDH + other_BDH) / 2
        heads_BD1 = torch.rand_like(one_BDH[..., :1]) < 0.5
        return torch.where(heads_BD1, one_BDH, other_BDH)


class PatchEmbedding(nn.Module):
    """Patches to tokens: one linear map, plus one for the mask, plus a learned position.

    The map of the mask starts at nothing: what never saw a missing value in training says nothing
    about one later.
    """

    def __init__(self, patches: Patches, params: ModelParams) -> None:
        super().__init__()
        self.patches, self.skip_missing = patches, params.skip_missing
        width = params.width
        self.value = nn.Linear(patches.patch, width)
        self.missing: nn.Linear | None = None
        if params.mask_input:
            self.missing = nn.Linear(patches.patch, width, bias=False)
            nn.init.zeros_(self.missing.weight)
        self.position = nn.Parameter(torch.empty(patches.count, width).uniform_(-0.02, 0.02))

    def forward(self, x_BDL: Tensor, missing_BDL: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Cut and embed.

        Args:
            x_BDL: values.
            missing_BDL: 1 where one is missing; None if none is.

        Returns:
            (B, D, N, E), and (B, D, N) bool, true at patches in which nothing was observed; None
            if no part of the network is to know.
        """
        h: Tensor = self.value(self.patches.cut(x_BDL)) + self.position
        if missing_BDL is None:
            return h, None
        missing = self.patches.cut(missing_BDL)
        if self.missing is not None:
            h = h + self.missing(missing)
        return h, missing.amin(dim=-1) > 0 if self.skip_missing else None


class GlobalPath(nn.Module):
    """Coarse patches of every variate, in one sequence, through bidirectional Mamba (3.1)."""

    def __init__(
        self,
        window: WindowParams,
        n_variates: int,
        params: ModelParams,
        scan: SelectiveScan,
        sublayers: Sublayers,
    ) -> None:
        super().__init__()
        if params.global_stride is not None:
            self.patches = Patches.by_stride(
                window.look_back, params.global_patch, params.global_stride
            )
        else:
            assert params.global_patches is not None
            self.patches = Patches.by_count(
                window.look_back, params.global_patch, params.global_patches
            )
        self.cross_variate = params.cross_variate
        self.time_major = params.time_major and params.cross_variate
        self.embed = PatchEmbedding(self.patches, params)
        self.variate = (
            nn.Parameter(torch.empty(n_variates, 1, params.width).uniform_(-0.02, 0.02))
            if params.variate_embedding
            else None
        )
        self.dropout = Dropout(params.dropout, sublayers)
        self.blocks = nn.ModuleList(
            BidirectionalMamba(
                params.width,
                params.state,
                params.conv,
                params.expand,
                params.feed_forward,
                params.dropout,
                params.bidirectional,
                scan,
                sublayers,
            )
            for _ in range(params.m_layers)
        )
        self.norm = _NORMS[params.final_norm](params.width)

    def forward(self, x_BDL: Tensor, missing_BDL: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(B, D, L) to the global context (B, D, G, E), and its empty patches (B, D, G)."""
        h_BDGE, empty_BDG = self.embed(x_BDL, missing_BDL)
        if self.variate is not None:
            h_BDGE = h_BDGE + self.variate
        shape = self._in_order(h_BDGE).shape
        h_NTE = self.dropout(self._as_sequences(h_BDGE))
        empty_NT = None if empty_BDG is None else self._as_sequences(empty_BDG)
        for block in self.blocks:
            h_NTE = block(h_NTE, empty_NT)
        return self._in_order(self.norm(h_NTE).view(shape)), empty_BDG

    def _in_order(self, each: Tensor) -> Tensor:
        """Variates and moments in the order of the joint sequence, or back."""
        return each.transpose(1, 2) if self.time_major else each

    def _as_sequences(self, each: Tensor) -> Tensor:
        """One sequence of all variates' tokens, variate after variate or moment after moment; or
        one sequence a variate."""
        return self._in_order(each).flatten(1, 2) if self.cross_variate else each.flatten(0, 1)


class LocalPath(nn.Module):
    """Fine patches of the short look-back, variate by variate, reading the global context (3.2)."""

    def __init__(self, window: WindowParams, params: ModelParams, sublayers: Sublayers) -> None:
        super().__init__()
        self.steps = window.short_look_back
        self.patches = Patches.by_stride(self.steps, params.local_patch, params.local_stride)
        self.embed = PatchEmbedding(self.patches, params)
        self.dropout = Dropout(params.dropout, sublayers)
        self.blocks = nn.ModuleList(LocalBlock(params, sublayers) for _ in range(params.n_layers))
        after = params.local_norm == "after"  # then the last block ends with a norm
        self.norm = nn.Identity() if after else _NORMS[params.final_norm](params.width)

    def forward(
        self,
        x_BDL: Tensor,
        missing_BDL: Tensor | None,
        z_BDGE: Tensor | None,
        empty_BDG: Tensor | None,
    ) -> Tensor:
        """(B, D, L) and the context (B, D, G, E) to local tokens (B, D, F, E)."""
        newest = slice(-self.steps, None)
        h_BDFE, empty_BDF = self.embed(
            x_BDL[..., newest], None if missing_BDL is None else missing_BDL[..., newest]
        )
        h_NFE = self.dropout(h_BDFE.flatten(0, 1))
        z_NGE = None if z_BDGE is None else z_BDGE.flatten(0, 1)
        barred_NF = None if empty_BDF is None else empty_BDF.flatten(0, 1)
        barred_NG = None
        if empty_BDG is not None:  # a variate that was dark all along has nothing else to read
            barred_NG = (empty_BDG & ~empty_BDG.all(dim=-1, keepdim=True)).flatten(0, 1)
        for block in self.blocks:
            h_NFE = block(h_NFE, z_NGE, barred_NF, barred_NG)
        h: Tensor = self.norm(h_NFE).view_as(h_BDFE)
        return h


class LocalBlock(nn.Module):
    """Attention inside the window, attention to the global context, feed-forward."""

    def __init__(self, params: ModelParams, sublayers: Sublayers) -> None:
        super().__init__()
        width, heads, rate = params.width, params.heads, params.dropout
        window = params.window if params.local_window else None
        pre_norm = params.local_norm == "before"
        self.local = Attention(width, heads, rate, sublayers, window=window, pre_norm=pre_norm)
        self.cross: Attention | None = None
        if params.cross_attention:
            self.cross = Attention(width, heads, rate, sublayers, cross=True, pre_norm=pre_norm)
        self.feed_forward = FeedForward(width, params.feed_forward, rate, sublayers, pre_norm)
        self.norms: nn.ModuleDict | None = None
        if not pre_norm:
            places = ["local", "feed_forward"] + ["cross"] * params.cross_attention
            self.norms = nn.ModuleDict({place: BatchNorm(width) for place in places})

    def forward(
        self,
        h_NFE: Tensor,
        z_NGE: Tensor | None,
        barred_NF: Tensor | None,
        barred_NG: Tensor | None,
    ) -> Tensor:
        """(N, F, E) tokens and (N, G, E) context, and what of them is no key, to (N, F, E)."""
        h_NFE = self._normed("local", self.local(h_NFE, barred_NS=barred_NF))
        if self.cross is not None:
            h_NFE = self._normed("cross", self.cross(h_NFE, z_NGE, barred_NG))
        return self._normed("feed_forward", self.feed_forward(h_NFE))

    def _normed(self, place: str, h_NFE: Tensor) -> Tensor:
        """What a sublayer gives, normalised where ``local_norm`` is ``after``."""
        if self.norms is None:
            return h_NFE
        out: Tensor = self.norms[place](h_NFE)
        return out
