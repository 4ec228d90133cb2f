"""The Triton kernels against the reference in float64.

Not collected by name: ``test_triton`` runs this file in a process of its own, on the GPU where
there is one and under Triton's interpreter where not. The interpreter takes a tenth of a second for
a tile of steps, so sizes are small; the kernels are the same.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from s2tx.model.scan.reference import selective_scan as reference
from s2tx.model.scan.triton import INTERPRETED, STEPS, selective_scan
from tests.model.scan.cases import NAMES, TOLERANCE, Inputs, assert_near, inputs, run

DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
OPTIONAL, SEQUENCES = ("D", "z", "delta_bias"), ("u", "delta", "B", "C", "z")
BOTH = (False, True)
DIRECTIONS = [(False,), (True,), *itertools.product(BOTH, BOTH), (True, False, True)]
HALF = {torch.bfloat16: TOLERANCE[torch.bfloat16], torch.float16: 2**-10}
CUT = 2 if INTERPRETED else 1  # the interpreter cuts bits off where a GPU rounds to the nearest


def made(*sizes: int, **options: Any) -> Inputs:
    return {name: value.to(DEVICE) for name, value in inputs(*sizes, **options).items()}


def differentiated(
    given: Inputs,
    softplus: bool = True,
    dtype: torch.dtype = torch.float32,
    reverse: tuple[bool, ...] = (False,),
) -> tuple[Tensor, Inputs]:
    with DEVICE:
        return run(selective_scan, given, softplus, dtype, reverse)


def assert_parity(
    given: Inputs,
    softplus: bool = True,
    dtype: torch.dtype = torch.float32,
    reverse: tuple[bool, ...] = (False,),
    tolerance: float = TOLERANCE[torch.float32],
) -> None:
    rounded = {name: value.to(dtype) for name, value in given.items()}
    y, grads = differentiated(rounded, softplus, dtype, reverse)
    with DEVICE:
        exact_y, exact_grads = run(reference, rounded, softplus, torch.float64, reverse)
    assert y.dtype == dtype
    assert_near(y, exact_y, "y", tolerance)
    for name, exact in exact_grads.items():
        assert grads[name].dtype == dtype
        assert_near(grads[name], exact, f"d{name}", tolerance)


@pytest.mark.parametrize(
    ("length", "width", "state"),
    [
        (1, 1, 1), (2, 3, 4), (7, 16, 16), (15, 2, 5), (16, 5, 3), (17, 32, 16), (31, 8, 2),
        (33, 1, 64), (32, 33, 7), (48, 2, 33), (97, 12, 16), (45, 64, 16),
    ],
)  # fmt: skip
def test_every_size_gives_the_reference_s_values_and_gradients(
    length: int, width: int, state: int
) -> None:
    """A wrong border of a tile or a block would show only at sizes that do not fit."""
    assert_parity(made(1, width, length, state))


def test_a_model_s_length_gives_the_reference_s() -> None:
    """287 tokens, the usual number: errors must not grow from tile to tile."""
    assert_parity(made(1, 4, 287, 16, groups=2), reverse=BOTH)


@pytest.mark.slow
@pytest.mark.parametrize(("length", "width", "state"), [(861, 4, 16), (97, 64, 64), (129, 96, 8)])
def test_large_sizes_give_the_reference_s(length: int, width: int, state: int) -> None:
    """Many tiles, and many blocks to a group."""
    assert_parity(made(1, width, length, state, groups=2), reverse=BOTH)


@pytest.mark.parametrize("reverse", DIRECTIONS, ids=str)
def test_every_direction_gives_the_reference_s(reverse: tuple[bool, ...]) -> None:
    """Each group has its own B, C and order of steps; a last tile that is not full too."""
    assert_parity(made(2, 6, 19, 3, groups=len(reverse)), reverse=reverse)


def test_blocks_of_a_reversed_group_add_up() -> None:
    """Where a group is cut in blocks, the gradients of its B and C are sums over all of them."""
    assert_parity(made(2, 80, 18, 16, groups=2), reverse=(True, False))


@pytest.mark.parametrize("softplus", BOTH)
@pytest.mark.parametrize(
    "without", [c for n in range(4) for c in itertools.combinations(OPTIONAL, n)], ids=str
)
def test_every_mix_of_options_gives_the_reference_s(
    without: tuple[str, ...], softplus: bool
) -> None:
    """Each mix compiles to kernels of its own."""
    assert_parity(made(1, 5, 20, 5, without=without, softplus=softplus), softplus)


def test_extreme_step_sizes_give_the_reference_s() -> None:
    """exp and softplus at their ends must saturate as they do in torch, not overflow or wrap."""
    given = made(1, 8, 33, 16)
    values = torch.tensor([-1e4, -200.0, -88.0, -30.0, -7.0, 0.0, 19.9, 20.1, 90.0, 1e4, 3.0])
    given["delta"] = values[torch.arange(8 * 33).remainder(11)].view(1, 8, 33).to(DEVICE)
    assert_parity(given, tolerance=3 * TOLERANCE[torch.float32])
    given["delta"] = given["delta"] * 1e30
    y = selective_scan(**given, softplus=True)
    torch.testing.assert_close(y.isfinite(), reference(**given, softplus=True).isfinite())


def test_small_step_sizes_keep_their_digits() -> None:
    """Step sizes start at 1e-3, where 1 + exp(x) has lost its digits; a slow channel needs them."""
    given = made(1, 8, 17, 4, without=("z", "D", "delta_bias"))
    given["delta"] = torch.linspace(-20, -5, 8, device=DEVICE)[:, None].expand(1, 8, 17)
    y = selective_scan(**given, softplus=True).double()
    exact = reference(**{k: v.double() for k, v in given.items()}, softplus=True)
    scale = exact.abs().amax(dim=-1)
    assert ((y - exact).abs().amax(dim=-1) / scale).max() < 3e-6


def test_extreme_gates_give_the_reference_s() -> None:
    """SiLU and its slope saturate without a NaN."""
    given = made(1, 4, 12, 4)
    given["z"] = (
        torch.tensor([-1e4, -90.0, -20.0, 0.0, 20.0, 1e4]).to(DEVICE).repeat(8).view(1, 4, 12)
    )
    assert_parity(given)


@pytest.mark.parametrize("layout", ["contiguous", "time last in a wider array", "expanded"])
def test_the_memory_layout_does_not_matter(layout: str) -> None:
    """Kernels read strides in place: one axis mistaken for another must not go unseen."""
    given = made(2, 6, 20, 4, groups=2)
    same = selective_scan(**given, softplus=True, reverse=BOTH)
    if layout == "expanded":
        given = {k: v if v.dim() < 3 else v[:1].expand_as(v) for k, v in given.items()}
        moved = {name: value.contiguous() for name, value in given.items()}
        same = selective_scan(**moved, softplus=True, reverse=BOTH)
    elif layout == "contiguous":
        given = {name: value.contiguous() for name, value in given.items()}
    else:
        given = {
            name: torch.cat([value, value], dim=-1)[..., : value.shape[-1]]
            for name, value in given.items()
        }
    y = selective_scan(**given, softplus=True, reverse=BOTH)
    torch.testing.assert_close(y, same, rtol=0, atol=0)
    assert_parity(given, reverse=BOTH)


def test_the_gradient_of_the_output_may_have_any_strides() -> None:
    """That of a sum is one number, expanded."""
    leaves = {name: value.requires_grad_() for name, value in made(2, 5, 20, 3).items()}
    y = selective_scan(**leaves, softplus=True)
    expanded = torch.autograd.grad(
        y, list(leaves.values()), torch.ones(1, device=DEVICE).expand_as(y), retain_graph=True
    )
    dense = torch.autograd.grad(y, list(leaves.values()), torch.ones_like(y))
    assert all(torch.equal(a, b) for a, b in zip(expanded, dense, strict=True))


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    """Under autocast only the result may be rounded, never the state."""
    given = made(1, 8, 65, 16)
    assert_parity(given, dtype=dtype, tolerance=CUT * HALF[dtype])


def test_mixed_types_return_the_type_of_u_and_each_gradient_its_own() -> None:
    """Autocast hands over bfloat16 beside float32 parameters."""
    given = {k: v.bfloat16() if v.dim() > 2 else v.clone() for k, v in made(1, 40, 18, 4).items()}
    leaves = {name: value.requires_grad_() for name, value in given.items()}
    y = selective_scan(**leaves, softplus=True)
    y.sum().backward()
    assert y.dtype == torch.bfloat16
    for name, leaf in leaves.items():
        assert leaf.grad is not None, name
        assert leaf.grad.dtype == leaf.dtype, name


def test_the_same_inputs_give_the_same_bits() -> None:
    """Sums that race would make a run impossible to repeat."""
    given = made(2, 36, 20, 8)
    y, grads = differentiated(given)
    again, grads_again = differentiated(given)
    assert torch.equal(y, again)
    for name in NAMES:
        assert torch.equal(grads[name], grads_again[name]), name


def test_each_sequence_is_scanned_alone() -> None:
    """A window's forecast must be the same bits in any batch, at any place in it."""
    given = made(5, 6, 20, 4, groups=2)
    order = torch.tensor([3, 0, 4, 2, 1])
    mixed = {k: v[order] if v.dim() > 2 else v for k, v in given.items()}
    alone = {k: v[:1] if v.dim() > 2 else v for k, v in given.items()}
    y = selective_scan(**given, softplus=True, reverse=BOTH)
    assert torch.equal(selective_scan(**mixed, softplus=True, reverse=BOTH), y[order])
    assert torch.equal(selective_scan(**alone, softplus=True, reverse=BOTH), y[:1])


def test_a_reversed_group_is_a_flipped_one() -> None:
    """To the bit, or the two directions would not treat past and future alike."""
    given = made(2, 5, 37, 4)
    flipped = {k: v.flip(-1) if v.dim() > 2 else v for k, v in given.items()}
    y = selective_scan(**given, softplus=True, reverse=(True,))
    assert torch.equal(selective_scan(**flipped, softplus=True).flip(-1), y)


def test_a_nan_reaches_its_own_sequence_and_no_other() -> None:
    """Fast arithmetic may neither swallow a NaN nor spread it."""
    for name in SEQUENCES:
        given = made(2, 3, 22, 4)
        given[name] = given[name].clone()
        given[name][(0, 0, 20) if given[name].dim() == 3 else (0, 0, 0, 20)] = torch.nan
        y, grads = differentiated(given)
        assert y[0].isnan().any(), name
        assert not y[0, :, :20].isnan().any(), name
        assert not y[1].isnan().any(), name
        for other in SEQUENCES:
            assert not grads[other][1].isnan().any(), f"d{other} for {name}"


@pytest.mark.parametrize("name", SEQUENCES)
def test_later_steps_do_not_reach_earlier_ones(name: str) -> None:
    """The scan is causal, each group in its own direction, across the border of a tile too."""
    given = made(1, 4, 36, 4, groups=2)
    y = selective_scan(**given, softplus=True, reverse=BOTH)
    later = dict(given)
    later[name] = given[name].clone()
    later[name][..., 20:] += 1
    changed = selective_scan(**later, softplus=True, reverse=BOTH)
    assert torch.equal(changed[:, :2, :20], y[:, :2, :20])
    assert not torch.equal(changed[:, :2, 20:], y[:, :2, 20:])
    earlier = dict(given)
    earlier[name] = given[name].clone()
    earlier[name][..., :20] += 1
    changed = selective_scan(**earlier, softplus=True, reverse=BOTH)
    assert torch.equal(changed[:, 2:, 20:], y[:, 2:, 20:])
    assert not torch.equal(changed[:, 2:, :20], y[:, 2:, :20])


def test_every_input_gets_a_gradient_in_every_place() -> None:
    """A gradient left at zero, or in unwritten memory, would train nothing and say nothing."""
    _, grads = differentiated(made(2, 38, 20, 5, groups=2), reverse=BOTH)
    assert tuple(grads) == NAMES
    for name, grad in grads.items():
        assert grad.isfinite().all(), name
        assert (grad != 0).float().mean() > 0.99, name


@pytest.mark.parametrize("trained", NAMES)
def test_inputs_that_need_no_gradient_get_none(trained: str) -> None:
    """Frozen parameters are usual in fine-tuning."""
    given = made(1, 3, 18, 3)
    _, all_grads = differentiated(given)
    leaf = given[trained].detach().requires_grad_()
    y = selective_scan(**{**given, trained: leaf}, softplus=True)
    N, I, L = y.shape  # noqa: E741
    dy = torch.cos(torch.arange(N * I * L, dtype=torch.float64)).view(N, L, I).transpose(1, 2)
    y.backward(dy.bfloat16().float().to(DEVICE))
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, all_grads[trained])
    assert all(value.grad is None for name, value in given.items() if name != trained)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_output_is_the_same_and_nothing_is_kept(mode: Any) -> None:
    """Forecasting takes the path that stores no states: it must be the same arithmetic."""
    given = made(1, 16, 35, 4)
    y, _ = differentiated(given)
    leaves = {name: value.detach().requires_grad_() for name, value in given.items()}
    with mode():
        alone = selective_scan(**leaves, softplus=True)
    assert torch.equal(alone, y)
    assert alone.grad_fn is None


def test_states_are_stored_once_a_tile() -> None:
    """What autograd keeps must not grow to the (N, I, L, K) tensor that the fusion avoids."""
    N, I, L, K = 1, 32, 64, 16  # noqa: E741
    given = {name: value.requires_grad_() for name, value in made(N, I, L, K).items()}
    own = {value.data_ptr() for value in given.values()}
    kept: list[int] = []

    def pack(saved: Tensor) -> Tensor:
        if saved.data_ptr() not in own:
            kept.append(saved.numel())
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        selective_scan(**given, softplus=True)
    assert sum(kept) == N * I * L * K // STEPS


def test_an_empty_batch_gives_an_empty_output() -> None:
    """The last window of a table may leave nothing to score."""
    given = {k: v[:0] if v.dim() > 2 else v for k, v in made(1, 3, 4, 2).items()}
    y, grads = differentiated(given)
    assert y.shape == (0, 3, 4)
    assert torch.equal(grads["A"], torch.zeros(3, 2, device=DEVICE))


def test_float64_is_refused_with_the_cure() -> None:
    """Computing float64 in float32 in silence would spoil a gradient check."""
    given = {name: value.double() for name, value in made(1, 2, 3, 4).items()}
    with pytest.raises(TypeError, match=r"u in torch.float64: set runtime.scan to reference"):
        selective_scan(**given)


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_wrong_shape_is_refused_by_name(name: str) -> None:
    """Kernels check no bounds: they would read foreign memory."""
    given = made(2, 3, 4, 5)
    given[name] = torch.cat([given[name], given[name]])
    with pytest.raises(ValueError, match=rf"^{name} must be|to go with u, A and reverse"):
        selective_scan(**given)


@pytest.mark.parametrize("groups", [0, 2, 64])
def test_groups_that_do_not_divide_the_channels_are_refused(groups: int) -> None:
    """The last channels would have no B and C."""
    with pytest.raises(ValueError, match=f"names {groups} groups.* 3 channels"):
        selective_scan(**made(1, 3, 4, 2), reverse=(False,) * groups)
