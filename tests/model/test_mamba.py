"""The Mamba block must be the published one: names, shapes, mathematics, causality."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from s2tx.model.mamba import BidirectionalMamba, Mamba
from s2tx.model.scan.reference import selective_scan
from s2tx.model.sublayers.reference import SUBLAYERS

# `mamba_ssm.Mamba(16, d_state=16, d_conv=4, expand=2).state_dict()`
PUBLISHED = {
    "A_log": (32, 16),
    "D": (32,),
    "in_proj.weight": (64, 16),
    "conv1d.weight": (32, 1, 4),
    "conv1d.bias": (32,),
    "x_proj.weight": (33, 32),
    "dt_proj.weight": (32, 1),
    "dt_proj.bias": (32,),
    "out_proj.weight": (16, 32),
}


@pytest.fixture
def block() -> Mamba:
    torch.manual_seed(0)
    return Mamba(16, state=16, conv=4, expand=2, scan=selective_scan).double()


def test_state_dict_is_that_of_mamba_ssm(block: Mamba) -> None:
    """Protects checkpoints of either from not loading in the other."""
    assert {name: tuple(value.shape) for name, value in block.state_dict().items()} == PUBLISHED


def published_forward(state: dict[str, torch.Tensor], x_NLE: torch.Tensor) -> torch.Tensor:
    """Algorithm 2 and section 3.4 of arXiv 2312.00752, step by step, from a state dict alone."""
    x, z = (x_NLE @ state["in_proj.weight"].T).chunk(2, dim=-1)
    taps = state["conv1d.weight"].shape[-1]
    padded = F.pad(x.transpose(1, 2), (taps - 1, 0))
    x = F.silu(F.conv1d(padded, state["conv1d.weight"], state["conv1d.bias"], groups=x.shape[-1]))
    x = x.transpose(1, 2)
    rank, size = state["dt_proj.weight"].shape[1], state["A_log"].shape[1]
    dt, B, C = (x @ state["x_proj.weight"].T).split([rank, size, size], dim=-1)
    dt = F.softplus(dt @ state["dt_proj.weight"].T + state["dt_proj.bias"])
    h = torch.zeros(*x.shape[::2], size, dtype=x.dtype)
    outputs = []
    for step in range(x.shape[1]):
        decay = torch.exp(dt[:, step, :, None] * -state["A_log"].exp())
        h = decay * h + (dt[:, step] * x[:, step])[..., None] * B[:, step, None, :]
        outputs.append((h * C[:, step, None, :]).sum(-1) + state["D"] * x[:, step])
    return (torch.stack(outputs, dim=1) * F.silu(z)) @ state["out_proj.weight"].T


def test_output_and_gradients_are_the_published_mathematics(block: Mamba) -> None:
    """Protects from any departure from Mamba, forward or backward."""
    x = torch.randn(2, 13, 16, dtype=torch.float64)
    state = {name: value.detach().clone() for name, value in block.state_dict().items()}
    leaves = {name: value.requires_grad_() for name, value in state.items()}
    expected = published_forward(leaves, x)
    torch.testing.assert_close(block(x), expected)
    weight = torch.randn_like(expected)
    (block(x) * weight).sum().backward()
    (expected * weight).sum().backward()
    for name, parameter in block.named_parameters():
        torch.testing.assert_close(parameter.grad, leaves[name].grad, msg=name)


def test_one_direction_never_sees_the_future(block: Mamba) -> None:
    """Protects from a leak through the convolution or the scan."""
    x = torch.randn(1, 20, 16, dtype=torch.float64)
    changed = x.clone()
    changed[:, 12:] += 1
    assert torch.equal(block(x)[:, :12], block(changed)[:, :12])
    assert not torch.allclose(block(x)[:, 12:], block(changed)[:, 12:])


def test_both_directions_see_everything() -> None:
    """Protects the global context from being blind to newer patches."""
    torch.manual_seed(0)
    both = BidirectionalMamba(8, 4, 4, 2, 16, 0.0, True, selective_scan, SUBLAYERS)
    x = torch.randn(1, 10, 8, requires_grad=True)
    both(x)[0, 0].sum().backward()
    assert x.grad is not None
    assert (x.grad[0].abs().sum(-1) > 0).all()


def test_reversed_input_swaps_the_directions() -> None:
    """Protects from a flip in the wrong place: swapped weights and time give reversed outputs."""
    torch.manual_seed(0)
    both = BidirectionalMamba(8, 4, 4, 2, 16, 0.0, True, selective_scan, SUBLAYERS).double()
    x = torch.randn(2, 9, 8, dtype=torch.float64)
    expected = both(x).flip(1)
    assert both.reverse is not None
    both.forth, both.reverse = both.reverse, both.forth
    torch.testing.assert_close(both(x.flip(1)), expected)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_both_directions_are_two_published_blocks_one_over_the_flipped_sequence(
    bidirectional: bool,
) -> None:
    """Protects checkpoints: directions that share a launch must mean what two blocks meant."""
    torch.manual_seed(0)
    both = BidirectionalMamba(
        8, 4, 4, 2, 16, 0.0, bidirectional, selective_scan, SUBLAYERS
    ).double()
    x = torch.randn(2, 11, 8, dtype=torch.float64, requires_grad=True)
    leaves = {k: v.detach().clone().requires_grad_() for k, v in both.state_dict().items()}

    def parts(of: str) -> dict[str, torch.Tensor]:
        return {k.removeprefix(of): v for k, v in leaves.items() if k.startswith(of)}

    normed = F.layer_norm(x, (8,), leaves["norm.weight"], leaves["norm.bias"])
    mixed = published_forward(parts("forth."), normed)
    if bidirectional:
        mixed = mixed + published_forward(parts("reverse."), normed.flip(1)).flip(1)
    hidden = F.layer_norm(
        x + mixed, (8,), *(leaves[f"feed_forward.layers.0.{k}"] for k in ("weight", "bias"))
    )
    for layer, after in ((1, F.gelu), (3, torch.nn.Identity())):
        hidden = after(F.linear(hidden, *parts(f"feed_forward.layers.{layer}.").values()))
    expected = x + mixed + hidden
    actual = both(x)
    torch.testing.assert_close(actual, expected)

    weight = torch.randn_like(expected)
    inputs = [x, *leaves.values()]
    expected_grads = torch.autograd.grad((expected * weight).sum(), inputs)
    actual_grads = torch.autograd.grad((actual * weight).sum(), [x, *both.parameters()])
    names = ["x", *(name for name, _ in both.named_parameters())]
    assert names[1:] == list(leaves)
    for name, grad, exact in zip(names, actual_grads, expected_grads, strict=True):
        torch.testing.assert_close(grad, exact, msg=name)


def test_step_sizes_start_in_their_range(block: Mamba) -> None:
    """Protects the initialisation that lets some channels remember long."""
    steps = F.softplus(block.dt_proj.bias)
    assert (steps >= 1e-4 * 0.999).all()
    assert (steps <= 1e-1 * 1.001).all()
    assert steps.std() > 0.01
