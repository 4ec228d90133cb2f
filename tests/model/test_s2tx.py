"""Properties of the whole network, on random weights."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch

from s2tx.model.s2tx import S2TX
from s2tx.model.scan.reference import selective_scan
from s2tx.model.sublayers.reference import SUBLAYERS
from s2tx.params import ModelParams, Params, WindowParams
from tests.builders import make_params

D = 3
SWITCHES = (
    "cross_variate",
    "cross_attention",
    "bidirectional",
    "local_window",
    "revin",
    "infill",
    "infill_variates",
    "masked_revin",
    "mask_input",
    "skip_missing",
    "head_context",
    "variate_embedding",
    "time_major",
    "linear_member",
)


@pytest.fixture
def sections(params: Params) -> tuple[WindowParams, ModelParams]:
    small = make_params(params)
    return small.window, replace(small.model, dropout=0.0)


def build(window: WindowParams, model: ModelParams, seed: int = 0) -> S2TX:
    """With the maps that start at nothing, of the mask and the linear member, as if trained."""
    torch.manual_seed(seed)
    network = S2TX(window, D, model, selective_scan, SUBLAYERS).double().eval()
    for name, parameter in network.named_parameters():
        if name.endswith(("missing.weight", "linear.weight")):
            torch.nn.init.normal_(parameter)
    return network


def sample(window: WindowParams, batch: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Values, and what of them was observed: cells are missing, and a run of whole patches."""
    torch.manual_seed(1)
    x = torch.randn(batch, window.look_back, D, dtype=torch.float64)
    observed = torch.rand_like(x) > 0.3
    observed[:, 10:40, 0] = False
    return x, observed


@pytest.mark.parametrize(
    ("part", "value"),
    [
        *product(SWITCHES, (True, False)),
        ("head_tokens", "newest"),
        ("season", 5),
        ("infill_season", 5),
        ("final_norm", "batch"),
        ("local_norm", "after"),
    ],
)
def test_every_switch_gives_a_forecast_and_trains_every_parameter(
    sections: tuple[WindowParams, ModelParams], part: str, value: bool | int | str
) -> None:
    """Protects from parts that are built and never used, whatever is switched off."""
    window, model = sections
    network = build(window, replace(model, **{part: value}))  # type: ignore[arg-type]
    x, observed = sample(window)
    y = network(x, observed)
    assert y.shape == (4, window.horizon, D)
    (y * torch.randn_like(y)).sum().backward()
    idle = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert idle == []


def test_each_switch_changes_the_forecast(sections: tuple[WindowParams, ModelParams]) -> None:
    """Protects an ablation from a switch that is wired to nothing."""
    window, model = sections
    x, observed = sample(window)
    for switch in SWITCHES:
        # Once a gap is filled, the normalisation reads the estimates too.
        base = replace(model, infill=switch != "masked_revin")
        on, off = (build(window, replace(base, **{switch: value})) for value in (True, False))
        off.load_state_dict(
            {
                name: on.state_dict().get(name, value)
                if on.state_dict().get(name, value).shape == value.shape
                else value
                for name, value in off.state_dict().items()
            }
        )
        assert not torch.allclose(on(x, observed), off(x, observed)), switch


def test_a_norm_behind_each_sublayer_is_the_only_one_of_the_local_path(
    sections: tuple[WindowParams, ModelParams],
) -> None:
    """Protects PatchTST's and SST's order of things: what one sublayer passes to the next, and to
    the head, has mean 0 and variance 1 over the batch, and nothing is normalised on the way in."""
    window, model = sections
    path = build(window, replace(model, local_norm="after")).train().local_path
    assert not any(isinstance(module, torch.nn.LayerNorm) for module in path.modules())
    read: list[torch.Tensor] = []
    for block in path.blocks:
        for name in ("cross", "feed_forward"):
            getattr(block, name).register_forward_pre_hook(lambda _, given: read.append(given[0]))
    x, _ = sample(window)
    z = torch.randn(4, D, 5, model.width, dtype=torch.float64)
    h = path(x.transpose(1, 2), None, z, None)
    for tokens in (*read, h.flatten(0, 1)):
        flat = tokens.flatten(0, 1)
        torch.testing.assert_close(flat.mean(0), torch.zeros_like(flat[0]), atol=1e-6, rtol=0)
        torch.testing.assert_close(
            flat.var(0, correction=0), torch.ones_like(flat[0]), atol=1e-2, rtol=0
        )


@pytest.mark.parametrize("time_major", [False, True])
def test_the_newest_token_is_the_one_of_the_newest_patch(
    sections: tuple[WindowParams, ModelParams], time_major: bool
) -> None:
    """Protects the head from a token of another moment, whatever the order of the sequence."""
    window, model = sections
    spec = replace(model, head_tokens="newest", cross_attention=False, time_major=time_major)
    network = build(window, replace(spec, infill=False, revin=False, season=None))
    x, _ = sample(window)
    read: list[torch.Tensor] = []
    network.head.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    network(x)
    assert network.global_path is not None
    z_BDGE, _ = network.global_path(x.transpose(1, 2), None)
    local = network.local_path.patches.count * model.width
    assert torch.equal(read[0][..., local:], z_BDGE[:, :, -1])


def test_no_missing_value_is_the_same_as_no_mask(
    sections: tuple[WindowParams, ModelParams],
) -> None:
    """Protects clean data from any cost of the support for missing values, to the last bit."""
    network = build(*sections)
    x, _ = sample(sections[0])
    assert torch.equal(network(x), network(x, torch.ones_like(x, dtype=torch.bool)))


def test_missing_places_are_not_read(sections: tuple[WindowParams, ModelParams]) -> None:
    """Protects the forecast from whatever filler stands at a missing place."""
    network = build(*sections)
    x, observed = sample(sections[0])
    garbage = torch.where(observed, x, torch.full_like(x, 77.0))
    assert torch.equal(network(x, observed), network(garbage, observed))


def test_nothing_observed_gives_a_finite_forecast(
    sections: tuple[WindowParams, ModelParams],
) -> None:
    """Protects from NaN when every sensor was dark."""
    network = build(*sections)
    x, observed = sample(sections[0])
    assert torch.isfinite(network(x, torch.zeros_like(observed))).all()


def test_a_variate_that_was_dark_all_along_still_reads_the_context(
    sections: tuple[WindowParams, ModelParams],
) -> None:
    """Protects a query from a context without any key, of which each backend makes its own."""
    network = build(*sections)
    x, observed = sample(sections[0])
    dark = torch.zeros_like(observed)
    _, before = tokens(network, x, dark)
    with torch.no_grad():
        position = network.global_path.embed.position  # type: ignore[union-attr]
        position += torch.randn_like(position)
    assert not torch.allclose(tokens(network, x, dark)[1], before)


def test_the_map_of_the_mask_starts_at_nothing(
    sections: tuple[WindowParams, ModelParams],
) -> None:
    """Protects what was trained on complete data: the map had no gradient there, and whatever it
    was drawn with would be noise wherever a value is missing."""
    window, model = sections
    x, observed = sample(window)
    with_map, without = (
        S2TX(window, D, replace(model, mask_input=on), selective_scan, SUBLAYERS).double().eval()
        for on in (True, False)
    )
    without.load_state_dict(with_map.state_dict(), strict=False)
    assert torch.equal(with_map(x, observed), without(x, observed))


@pytest.mark.parametrize(("scale", "shift"), product((0.01, 40.0), (-3.0, 200.0)))
def test_scale_and_shift_pass_through(
    sections: tuple[WindowParams, ModelParams], scale: float, shift: float
) -> None:
    """Protects RevIN: a forecast of a x + b is a times the forecast of x, plus b."""
    window, model = sections
    network = build(window, replace(model, linear_member=True))
    network.revin.eps = 0.0
    x, observed = sample(window)
    factor = scale * torch.tensor([1.0, 2.0, 0.5])
    expected = network(x, observed) * factor + shift
    torch.testing.assert_close(network(x * factor + shift, observed), expected)


def test_an_empty_patch_is_read_by_nobody_but_the_head(
    sections: tuple[WindowParams, ModelParams],
) -> None:
    """Protects the other tokens from one that knows nothing: whatever its embedding says, they are
    the same, of both paths and of all variates."""
    window, model = sections
    x, observed = sample(window)
    for masked in (True, False):
        network = build(window, replace(model, skip_missing=masked))
        _, empty = network.global_path.embed(  # type: ignore[union-attr]
            x.transpose(1, 2), (~observed).transpose(1, 2).to(x)
        )
        assert (empty is not None) is masked
        z, h = tokens(network, x, observed)
        with torch.no_grad():  # steps 10 to 39 are missing: patches 2 to 4 of 8, and 0 to 3 of 8
            network.global_path.embed.position[2:5] += torch.randn(3, 8)  # type: ignore[union-attr]
            network.local_path.embed.position[:4] += torch.randn(4, 8)
        other_z, other_h = tokens(network, x, observed)
        assert torch.allclose(z[:, 0, [0, 1, 5, 6, 7]], other_z[:, 0, [0, 1, 5, 6, 7]]) is masked
        assert torch.allclose(h[:, 0, 4:], other_h[:, 0, 4:]) is masked


def tokens(
    network: S2TX, x: torch.Tensor, observed: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The first variate alone through both paths: (B, 1, G, E) and (B, 1, F, E)."""
    only = x[..., :1].transpose(1, 2)
    missing = (~observed[..., :1]).transpose(1, 2).to(x)
    assert network.global_path is not None
    z, empty = network.global_path(only, missing)
    return z, network.local_path(only, missing, z, empty)


def test_windows_do_not_see_each_other(sections: tuple[WindowParams, ModelParams]) -> None:
    """Protects from mixing along the batch."""
    network = build(*sections)
    x, observed = sample(sections[0], batch=5)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(network(x[order], observed[order]), network(x, observed)[order])
    torch.testing.assert_close(network(x[:1], observed[:1]), network(x, observed)[:1])


def test_variates_see_each_other_only_when_they_may(
    sections: tuple[WindowParams, ModelParams],
) -> None:
    """Protects the meaning of ``cross_variate`` and ``infill_variates``, both ways."""
    window, model = sections
    x, observed = sample(window)
    changed = x.clone()
    changed[..., 0] = torch.randn_like(changed[..., 0])
    for joint, filled, mask in product((True, False), (True, False), (None, observed)):
        spec = replace(model, cross_variate=joint, infill_variates=filled)
        network = build(window, spec)
        same = torch.allclose(network(x, mask)[..., 1:], network(changed, mask)[..., 1:])
        assert same is not (joint or (filled and mask is not None))


def test_steps_before_the_short_look_back_matter(
    sections: tuple[WindowParams, ModelParams],
) -> None:
    """Protects from a long look-back that is read by nobody but RevIN."""
    window, model = sections
    network = build(window, replace(model, revin=False))
    x, _ = sample(window)
    old = x.clone()
    old[:, : window.look_back - window.short_look_back] += 1.0
    assert not torch.allclose(network(x), network(old))


def test_the_linear_member_has_half_a_say(sections: tuple[WindowParams, ModelParams]) -> None:
    """Protects the map from another input, and the mean from other shares: a weight of it adds half
    its step of the normalised window."""
    window, model = sections
    network = build(window, replace(model, linear_member=True))
    x, _ = sample(window)
    assert network.linear is not None
    before = network(x)
    with torch.no_grad():
        network.linear.weight[2, 7] += 3.0
    normed, stats = network.revin(x)
    expected = torch.zeros_like(before)
    expected[:, 2] = 1.5 * normed[:, 7]
    nothing = torch.zeros_like(before)
    expected = network.revin.inverse(expected, stats) - network.revin.inverse(nothing, stats)
    torch.testing.assert_close(network(x) - before, expected)


def test_in_training_a_variate_is_forecast_by_one_of_the_two(
    sections: tuple[WindowParams, ModelParams],
) -> None:
    """Protects the members from learning each other's errors: were the mean trained, the network
    would learn what the map leaves, and the two would no longer err apart."""
    window, model = sections
    network = build(window, replace(model, linear_member=True, revin=False)).train()
    x, _ = sample(window, 64)
    assert network.linear is not None
    own: list[torch.Tensor] = []
    network.head.register_forward_hook(lambda _module, _inputs, output: own.append(output))
    y = network(x).mT
    by_map = network.linear(x.mT)
    chosen = (y == by_map).all(dim=2)
    assert torch.equal(y, torch.where(chosen.unsqueeze(2), by_map, own[0]))
    assert 0.3 < chosen.double().mean() < 0.7
    assert (chosen.any(dim=1) & ~chosen.all(dim=1)).any()  # a coin a variate, not a window
    y.sum().backward()
    for member in (network.head, network.linear):
        assert member.weight.grad is not None
        assert member.weight.grad.any()


def test_a_pure_cycle_goes_on_whatever_the_weights(
    sections: tuple[WindowParams, ModelParams],
) -> None:
    """Protects the season's way through the network: what is left of a pure cycle is constant, so
    no step of the forecast differs from the cycle by more than the network says of nothing."""
    window, model = sections
    network = build(window, replace(model, season=6))
    steps = torch.arange(window.look_back + window.horizon, dtype=torch.float64)
    series = torch.sin(2 * torch.pi * steps / 6)[None, :, None].repeat(1, 1, D)
    x, y = series[:, : window.look_back], series[:, window.look_back :]
    nothing = network(torch.zeros_like(x)) / network.revin.eps**0.5  # a forecast of 0, deviation 1
    deviation = (x.var(dim=1, correction=0) + network.revin.eps).sqrt()
    torch.testing.assert_close(network(x), y + nothing * deviation)


def test_fixed_global_patches_keep_the_size(
    sections: tuple[WindowParams, ModelParams],
) -> None:
    """Protects the promise that memory does not grow with L once N is fixed."""
    window, model = sections
    fixed = replace(model, global_stride=None, global_patches=8)
    sizes = {
        build(replace(window, look_back=length), fixed).head.in_features for length in (48, 96, 480)
    }
    assert len(sizes) == 1
