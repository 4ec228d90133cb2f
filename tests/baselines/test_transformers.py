"""The rebuilt papers must be the papers: their sizes, windows and parts."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from s2tx.baselines.encoder import EncoderLayer, encode
from s2tx.baselines.patchtst import PatchEncoder
from s2tx.baselines.sst import SST
from s2tx.model.patching import Patches
from s2tx.model.scan.reference import selective_scan
from s2tx.model.sublayers.reference import SUBLAYERS
from s2tx.params import WindowParams
from s2tx.specs import SSTParams

PAPER = SSTParams(
    name="sst",
    width=16,
    heads=4,
    m_layers=1,
    n_layers=3,
    feed_forward=128,
    dropout=0.3,
    state=16,
    conv=4,
    expand=2,
    global_patch=48,
    global_stride=16,
    local_patch=16,
    local_stride=8,
    window=7,
    inverted_window=False,
)


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_sst_has_the_published_size() -> None:
    """Protects the rebuilt SST, part by part; the released code also makes a layer norm of 2 E
    parameters in each Mamba layer and never calls it."""
    model = SST(WindowParams(672, 336, 96), 7, PAPER, selective_scan, SUBLAYERS)
    never_called = 2 * PAPER.width * PAPER.m_layers
    assert size(model.head) == 127_584
    assert size(model.router) == 21_634
    assert size(model.short_expert) == 17_120
    assert size(model.long_expert) + never_called == 8_416
    assert size(model) + never_called == 174_754


@pytest.mark.parametrize("inverted", [False, True])
def test_the_window_is_the_papers_and_the_released_one_its_opposite(inverted: bool) -> None:
    """Protects both variants from being swapped, or from seeing everything."""
    torch.manual_seed(0)
    patches = Patches.by_stride(48, 6, 6)
    encoder = PatchEncoder(patches, 8, 2, 16, 0.0, 1, SUBLAYERS, window=3, inverted=inverted).eval()
    x = torch.randn(1, 1, 48, requires_grad=True)
    at = 4
    encoder(x)[0, 0, at].sum().backward()
    assert x.grad is not None
    read = [bool(patch.abs().sum() > 0) for patch in patches.cut(x.grad)[0, 0]]
    near = [abs(place - at) <= 1 for place in range(patches.count)]
    others = [place for place in range(patches.count) if place != at]  # itself by the residual
    assert [read[place] for place in others] == [near[place] ^ inverted for place in others]


def test_the_router_weighs_two_experts() -> None:
    """Protects the router: with all weight on one expert, the other's tokens count nothing."""
    torch.manual_seed(0)
    small = dataclasses.replace(PAPER, n_layers=1)
    model = SST(WindowParams(96, 48, 12), 3, small, selective_scan, SUBLAYERS).eval()
    x = torch.randn(2, 96, 3)
    weights = model.router(x)
    assert weights.shape == (2, 2)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))
    with torch.no_grad():
        model.router.weigh.weight.zero_()
        model.router.weigh.bias.copy_(torch.tensor([100.0, -100.0]))
        before = model(x)
        model.short_expert.embed.weight.add_(1.0)
        torch.testing.assert_close(model(x), before)
        model.long_expert.embed.weight.add_(1.0)
    assert not torch.allclose(model(x), before)


def test_attention_is_torchs_and_scores_are_carried_on() -> None:
    """Protects the encoder's attention, and the scores that a layer adds to those before."""
    torch.manual_seed(0)
    layer, h = EncoderLayer(8, 2, 16, 0.0, SUBLAYERS, "layer").eval(), torch.randn(3, 6, 8)
    torchs = nn.MultiheadAttention(8, 2, batch_first=True)
    torchs.in_proj_weight, torchs.in_proj_bias = (
        layer.query_key_value.weight,
        layer.query_key_value.bias,
    )
    torchs.out_proj = layer.out  # type: ignore[assignment]
    added = layer.norm_attention(h + torchs(h, h, h)[0])
    network = layer.contract(torch.nn.functional.gelu(layer.expand(added)))
    out, scores = layer(h)
    torch.testing.assert_close(out, layer.norm_network(added + network))
    twice, _ = layer(out, scores)
    torch.testing.assert_close(encode(h, [layer, layer]), twice)
    assert not torch.allclose(twice, layer(out)[0])
