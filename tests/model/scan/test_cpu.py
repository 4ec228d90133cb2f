"""The fused CPU scan against the reference in float64."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from s2tx.model import compiled
from s2tx.model.compiled.recurrence import CHUNK, LANES
from s2tx.model.scan import cpu
from s2tx.model.scan.cpu import selective_scan
from s2tx.model.scan.reference import selective_scan as reference
from tests.model.scan.cases import NAMES, TOLERANCE, Inputs, assert_near, inputs, run

LENGTHS, WIDTHS, STATES = (1, 2, 7, 31, 64, 97, 287), (1, 3, 16, 32), (1, 4, 16)
MANY = 2 * compiled.GROUPS + 7  # so that a group has several sequences
OPTIONAL = ("D", "z", "delta_bias")
DIRECTIONS = ((False,), (True,), (False, True), (True, False), (True, True), (False, False, True))


def assert_parity(
    given: Inputs,
    softplus: bool,
    dtype: torch.dtype = torch.float32,
    loosen: float = 1,
    reverse: tuple[bool, ...] = (False,),
) -> None:
    tolerance = loosen * TOLERANCE[dtype]
    rounded = {name: value.to(dtype) for name, value in given.items()}
    y, grads = run(selective_scan, rounded, softplus, dtype, reverse)
    exact_y, exact_grads = run(reference, rounded, softplus, torch.float64, reverse)
    assert y.dtype == dtype
    assert_near(y, exact_y, "y", tolerance)
    for name, exact in exact_grads.items():
        assert grads[name].dtype == dtype
        assert_near(grads[name], exact, f"d{name}", tolerance)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_size_gives_the_reference_s_values_and_gradients(length: int, width: int) -> None:
    """A wrong border of a chunk or a lane would show only at lengths and widths that do not fit."""
    for state in STATES:
        assert_parity(inputs(2, width, length, state), softplus=True)


@pytest.mark.parametrize("softplus", [False, True])
@pytest.mark.parametrize(
    "without", [c for n in range(4) for c in itertools.combinations(OPTIONAL, n)], ids=str
)
def test_every_mix_of_options_gives_the_reference_s(
    without: tuple[str, ...], softplus: bool
) -> None:
    """An absent skip, gate or bias must not leave a stale row of scratch in the result."""
    assert_parity(inputs(3, 19, 45, 5, without=without, softplus=softplus), softplus)


@pytest.mark.parametrize("reverse", DIRECTIONS, ids=str)
@pytest.mark.parametrize("width", [1, 7, 16, 35])
def test_groups_and_directions_give_the_reference_s(width: int, reverse: tuple[bool, ...]) -> None:
    """A lane that reads its neighbour group's B, or a step taken the wrong way, must not pass."""
    groups = len(reverse)
    for length in (1, 33, 70):
        given = inputs(2, groups * width, length, 5, groups=groups)
        assert_parity(given, softplus=True, reverse=reverse)


# N, I, L, K, directions, what is absent, softplus, type: every pair of a length and a width, of a
# length and a state, of a type and an option, somewhere.
PAIRS = [
    (2, 1, 1, 64, (False,), (), True, torch.float32),
    (2, 256, 1, 1, (True,), ("D", "z"), True, torch.bfloat16),
    (3, 32, 2, 16, (False, True), ("delta_bias",), False, torch.float32),
    (1, 256, 2, 64, (True, False), ("z",), True, torch.float32),
    (2, 33, 7, 1, (True,), ("D",), True, torch.bfloat16),
    (2, 3, 97, 64, (False,), ("D", "z", "delta_bias"), False, torch.float32),
    (1, 128, 97, 4, (True, True), ("delta_bias",), True, torch.bfloat16),
    (2, 64, 287, 16, (False, True), (), True, torch.float32),
    (2, 64, 287, 16, (True, False), (), True, torch.bfloat16),
    (1, 256, 287, 2, (False,), ("D",), True, torch.float32),
    (1, 1, 287, 64, (True,), ("z",), True, torch.float32),
    (2, 16, 861, 7, (True,), ("z", "delta_bias"), True, torch.float32),
    (1, 34, 861, 16, (False, True), (), True, torch.bfloat16),
    (1, 2, 4097, 16, (False, True), (), True, torch.float32),
    (1, 5, 4097, 4, (True,), ("D",), True, torch.bfloat16),
]


@pytest.mark.parametrize(
    ("N", "I", "L", "K", "reverse", "without", "softplus", "dtype"),
    PAIRS,
    ids=["-".join(str(value) for value in pair[:4]) for pair in PAIRS],
)
def test_sizes_options_and_types_together_give_the_reference_s(
    N: int,
    I: int,  # noqa: E741
    L: int,
    K: int,
    reverse: tuple[bool, ...],
    without: tuple[str, ...],
    softplus: bool,
    dtype: torch.dtype,
) -> None:
    """Long, wide and deep, and what is right alone but not beside another."""
    case = inputs(N, I, L, K, without=without, softplus=softplus, groups=len(reverse))
    assert_parity(case, softplus, dtype, reverse=reverse)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    length=st.integers(1, 140),
    width=st.integers(1, 70),
    state=st.integers(1, 20),
    reverse=st.lists(st.booleans(), min_size=1, max_size=2).map(tuple),
    without=st.sets(st.sampled_from(OPTIONAL)).map(tuple),
    softplus=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_size_gives_the_reference_s(
    length: int,
    width: int,
    state: int,
    reverse: tuple[bool, ...],
    without: tuple[str, ...],
    softplus: bool,
    seed: int,
) -> None:
    """Sizes that nobody thought of."""
    groups = len(reverse)
    case = inputs(
        2, groups * width, length, state,
        seed=seed, without=without, softplus=softplus, groups=groups,
    )  # fmt: skip
    if not softplus:  # states that grow, but not past every measure
        case["A"] = case["A"] / 20
    assert_parity(case, softplus, reverse=reverse)


def test_more_sequences_than_groups_give_the_reference_s() -> None:
    """Partial sums over uneven groups of sequences must count every sequence once."""
    assert_parity(inputs(MANY, 5, 9, 3), softplus=True)


def test_extreme_step_sizes_give_the_reference_s() -> None:
    """exp and softplus at their ends must saturate as they do in torch, not overflow or wrap."""
    given = inputs(2, 32, 97, 16)
    values = torch.tensor([-1e4, -200.0, -88.0, -30.0, 0.0, 19.9, 20.1, 90.0])
    given["delta"] = values[torch.arange(2 * 32 * 97).remainder(8)].view(2, 32, 97)
    assert_parity(given, softplus=True, loosen=3)
    given["delta"] = given["delta"] * 1e30
    y = selective_scan(**given, softplus=True)
    torch.testing.assert_close(y.isfinite(), reference(**given, softplus=True).isfinite())


@pytest.mark.parametrize("layout", ["contiguous", "time last in a wider array", "expanded"])
def test_the_memory_layout_does_not_matter(layout: str) -> None:
    """Kernels read strides in place: one axis mistaken for another must not go unseen."""
    given = inputs(2, 17, 40, 4)
    same, _ = run(selective_scan, given, softplus=True)
    if layout == "expanded":
        given = {k: v if v.dim() < 3 else v[:1].expand_as(v) for k, v in given.items()}
        moved = {name: value.contiguous() for name, value in given.items()}
        same, _ = run(selective_scan, moved, softplus=True)
    elif layout == "contiguous":
        given = {name: value.contiguous() for name, value in given.items()}
    else:
        given = {
            name: torch.cat([value, value], dim=-1)[..., : value.shape[-1]]
            for name, value in given.items()
        }
    with torch.no_grad():
        torch.testing.assert_close(selective_scan(**given, softplus=True), same, rtol=0, atol=0)
    assert_parity(given, softplus=True)


def test_bfloat16_is_computed_in_float32() -> None:
    """Under autocast only the result may be rounded, never the state."""
    assert_parity(inputs(2, 16, 287, 16), softplus=True, dtype=torch.bfloat16)


def test_mixed_types_return_the_type_of_u_and_each_gradient_its_own() -> None:
    """Autocast hands over bfloat16 beside float32 parameters."""
    given = {k: v.bfloat16() if v.dim() > 2 else v.clone() for k, v in inputs(2, 16, 33, 4).items()}
    leaves = {name: value.requires_grad_() for name, value in given.items()}
    y = selective_scan(**leaves, softplus=True)
    y.sum().backward()
    assert y.dtype == torch.bfloat16
    for name, leaf in leaves.items():
        assert leaf.grad is not None, name
        assert leaf.grad.dtype == leaf.dtype, name


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_inputs_give_the_same_bits_on_any_number_of_threads(threads: int) -> None:
    """Sums that race, or that follow the thread count, would make a run impossible to repeat."""
    given, before = inputs(9, 40, 70, 16), torch.get_num_threads()
    y, grads = run(selective_scan, given, softplus=True)
    torch.set_num_threads(threads)
    try:
        again, grads_again = run(selective_scan, given, softplus=True)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(y, again)
    for name in NAMES:
        assert torch.equal(grads[name], grads_again[name]), name


def test_each_sequence_is_scanned_alone() -> None:
    """A state carried from one sequence to the next would leak between windows."""
    given = inputs(MANY, 16, 50, 4)
    order = torch.randperm(MANY, generator=torch.Generator().manual_seed(1))
    mixed = {k: v[order] if v.dim() > 2 else v for k, v in given.items()}
    y = selective_scan(**given, softplus=True)
    assert torch.equal(selective_scan(**mixed, softplus=True), y[order])


def test_a_nan_reaches_its_own_sequence_and_no_other() -> None:
    """Fast arithmetic may neither swallow a NaN nor spread it."""
    for name in ("u", "delta", "B", "C", "z"):
        given = inputs(MANY, 3, 40, 4)
        given[name] = given[name].clone()
        given[name][::2, 0, ..., 20] = torch.nan
        y, grads = run(selective_scan, given, softplus=True)
        assert y[::2].isnan().any(dim=(1, 2)).all(), name
        assert not y[::2, :, :20].isnan().any(), name
        assert not y[1::2].isnan().any(), name
        for other in ("u", "delta", "B", "C", "z"):
            assert not grads[other][1::2].isnan().any(), f"d{other} for {name}"


def test_later_steps_do_not_reach_earlier_ones() -> None:
    """The scan is causal, across the border of a chunk too."""
    given = inputs(1, 16, 80, 4)
    y = selective_scan(**given, softplus=True)
    for name in ("u", "delta", "B", "C", "z"):
        later = dict(given)
        later[name] = given[name].clone()
        later[name][..., 40:] += 1
        changed = selective_scan(**later, softplus=True)
        assert torch.equal(changed[..., :40], y[..., :40]), name
        assert not torch.equal(changed[..., 40:], y[..., 40:]), name


def test_every_input_gets_a_gradient_in_every_place() -> None:
    """A gradient left at zero, or in unwritten memory, would train nothing and say nothing."""
    _, grads = run(selective_scan, inputs(2, 19, 40, 5), softplus=True)
    assert tuple(grads) == NAMES
    for name, grad in grads.items():
        assert grad.isfinite().all(), name
        assert (grad != 0).float().mean() > 0.99, name


@pytest.mark.parametrize("trained", NAMES)
def test_inputs_that_need_no_gradient_get_none(trained: str) -> None:
    """Frozen parameters are usual in fine-tuning."""
    given = inputs(2, 5, 40, 3)
    _, all_grads = run(selective_scan, given, softplus=True)
    leaf = given[trained].detach().requires_grad_()
    y = selective_scan(**{**given, trained: leaf}, softplus=True)
    N, I, L = y.shape  # noqa: E741
    dy = torch.cos(torch.arange(N * I * L, dtype=torch.float64)).view(N, L, I).transpose(1, 2)
    y.backward(dy.bfloat16().float())
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, all_grads[trained])
    assert all(value.grad is None for name, value in given.items() if name != trained)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_output_is_the_same_and_nothing_is_kept(mode: Any) -> None:
    """Forecasting takes the path that stores no states: it must be the same arithmetic."""
    given = inputs(2, 16, 70, 4)
    y, _ = run(selective_scan, given, softplus=True)
    leaves = {name: value.detach().requires_grad_() for name, value in given.items()}
    with mode():
        alone = selective_scan(**leaves, softplus=True)
    assert torch.equal(alone, y)
    assert alone.grad_fn is None


def test_only_training_stores_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forecasting over a long table must not pay for a backward pass that never comes."""
    stored: list[int] = []
    monkeypatch.setattr(cpu, "share", lambda *arguments: stored.append(arguments[-1].numel()))
    given = inputs(2, 16, 70, 4)
    selective_scan(**given)
    selective_scan(**{**given, "u": given["u"].detach().requires_grad_()})
    assert stored == [0, 2 * 2 * 4 * LANES]


def test_states_are_stored_once_a_chunk() -> None:
    """What autograd keeps must not grow to the (N, I, L, K) tensor that the fusion avoids."""
    N, I, L, K = 2, 32, 320, 16  # noqa: E741
    given = {name: value.requires_grad_() for name, value in inputs(N, I, L, K).items()}
    own = {value.data_ptr() for value in given.values()}
    kept: list[int] = []

    def pack(saved: torch.Tensor) -> torch.Tensor:
        if saved.data_ptr() not in own:
            kept.append(saved.numel())
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        selective_scan(**given, softplus=True)
    assert sum(kept) == N * I * (L // CHUNK - 1) * K


class Allocated(TorchDispatchMode):
    """Keeps every storage that torch makes inside it, so that none is counted twice or missed."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, torch.UntypedStorage] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for each in tree_leaves(out):
            if isinstance(each, torch.Tensor):
                storage = each.untyped_storage()
                self.storages[storage.data_ptr()] = storage
        return out


@pytest.mark.parametrize("length", [1, 7, 33, 287])
@pytest.mark.parametrize("state", [1, 16, 64])
@pytest.mark.parametrize("width", [1, 31, 33, 64, 256])
def test_little_memory_is_used_beside_inputs_and_outputs(
    width: int, state: int, length: int
) -> None:
    """Partial sums and kept states, all together: at most twice what goes in and comes out.

    What a kernel has as scratch is not counted: it depends on K alone, once a thread.
    """
    N = 64 if length < CHUNK else 4
    for without in ((), ("D", "z", "delta_bias")):
        for groups in (1, 2) if width % 2 == 0 else (1,):
            case = inputs(N, width, length, state, without=without, groups=groups)
            leaves = {name: value.contiguous().requires_grad_() for name, value in case.items()}
            reverse, dy = (False, True)[:groups], torch.ones(N, width, length)
            with Allocated() as allocated:
                y = selective_scan(**leaves, softplus=True, reverse=reverse)
                grads = torch.autograd.grad(y, list(leaves.values()), dy)
            for known in (*leaves.values(), dy, y, *grads):
                allocated.storages.pop(known.untyped_storage().data_ptr(), None)
            beside = sum(storage.nbytes() for storage in allocated.storages.values())
            through = sum(each.nbytes for each in (*leaves.values(), y, *grads))
            assert beside <= 2 * through, (without, groups)


@pytest.mark.slow
def test_time_grows_with_length_and_no_faster() -> None:
    """Look-backs may be long: the whole of a model's longest sequence, at the widest."""

    def seconds(length: int) -> float:
        case = inputs(1, 256, length, 16)
        times = []
        for _ in range(3):
            began = time.process_time()
            run(selective_scan, case, softplus=True)
            times.append(time.process_time() - began)
        return min(times)

    seconds(100)
    assert seconds(13161) < 1.8 * 4 * seconds(13161 // 4)


def test_the_elementary_functions_are_accurate_over_their_whole_range() -> None:
    """The polynomials stand in for the C library: measured in units of the last place.

    A decay is allowed the error of its rounded exponent too, which no exp could mend.
    """
    x = np.concatenate(
        [np.linspace(-86, 88.3, 4001), np.geomspace(1e-8, 1, 500), -np.geomspace(1e-8, 1, 500)]
    ).astype(np.float32)
    x_I = torch.from_numpy(x)
    column, row = torch.ones(len(x), 1), torch.ones(1, len(x), 1)
    one = torch.ones(1, 1, 1, 2)
    step = torch.tensor([1.0, 0.0]).expand(1, len(x), 2)
    exp = selective_scan(step, torch.ones_like(step), x_I[:, None], one, one)[0, :, 1]
    softplus = selective_scan(
        row, x_I.view(1, -1, 1), -column, one[..., :1], one[..., :1], softplus=True
    )
    silu = selective_scan(
        row, row, -column, one[..., :1], 0 * one[..., :1], D=column[:, 0], z=x_I.view(1, -1, 1)
    )
    wide = x.astype(np.float64)
    for name, got, exact, bound in (
        ("exp", exp, np.exp(wide), 2 + 2 * np.abs(wide)),
        ("softplus", softplus, np.logaddexp(0, wide), 3),
        ("silu", silu, wide / (1 + np.exp(-wide)), 3),
    ):
        ulp = np.spacing(np.abs(exact).astype(np.float32))
        assert np.max(np.abs(got.numpy().ravel() - exact) / ulp / bound) <= 1, name


def test_decays_saturate_to_zero_and_infinity() -> None:
    """Beyond float32 a decay is 0 or inf: bits of the exponent that wrap would give anything."""
    x = torch.tensor([-np.inf, -1e30, -1e4, -104.0, 88.73, 1e4, np.nan])
    u, dt = torch.tensor([1e3, 0.0]).expand(1, 7, 2), torch.tensor([1e-3, 1.0]).expand(1, 7, 2)
    one = torch.ones(1, 1, 1, 2)
    y = selective_scan(u, dt, x[:, None], one, one)[0, :, 1]
    expected = torch.tensor([0, 0, 0, 0, np.inf, np.inf, np.nan])
    torch.testing.assert_close(y, expected, rtol=0, atol=0, equal_nan=True)


def test_threads_may_call_at_once() -> None:
    """A service answers requests from several threads."""
    given = inputs(2, 16, 70, 4)
    expected = selective_scan(**given, softplus=True)
    results: list[torch.Tensor] = []

    def work() -> None:
        results.extend(selective_scan(**given, softplus=True) for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 20
    assert all(torch.equal(result, expected) for result in results)


def test_float64_is_refused_with_the_cure() -> None:
    """Computing float64 in float32 in silence would spoil a gradient check."""
    given = {name: value.double() for name, value in inputs(1, 2, 3, 4).items()}
    with pytest.raises(TypeError, match=r"u in torch.float64: set runtime.scan to reference"):
        selective_scan(**given)


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_wrong_shape_is_refused_by_name(name: str) -> None:
    """Compiled loops check no bounds: they would read foreign memory."""
    given = inputs(2, 3, 4, 5)
    given[name] = torch.cat([given[name], given[name]])
    with pytest.raises(ValueError, match=rf"^{name} must be|to go with u, A and"):
        selective_scan(**given)


@pytest.mark.parametrize("reverse", [(), (False,) * 2, (False,) * 4], ids=str)
def test_channels_that_cannot_be_cut_into_groups_are_refused(reverse: tuple[bool, ...]) -> None:
    """The last channels would belong to no group and stay unwritten."""
    with pytest.raises(ValueError, match=f"{len(reverse)} groups, into which 3 channels cannot"):
        selective_scan(**inputs(2, 3, 4, 5), reverse=reverse)


def test_an_empty_batch_gives_an_empty_output() -> None:
    """The last window of a table may leave nothing to score."""
    given = {k: v[:0] if v.dim() > 2 else v for k, v in inputs(1, 3, 4, 2).items()}
    y, grads = run(selective_scan, given, softplus=True)
    assert y.shape == (0, 3, 4)
    assert torch.equal(grads["A"], torch.zeros(3, 2))


@pytest.mark.slow
def test_a_fresh_compilation_and_the_cached_one_give_the_same_bits(tmp_path: Path) -> None:
    """A training that is killed compiled its kernels, the one that resumes finds them on disk."""
    code = """
import hashlib, torch
from s2tx.model.scan.cpu import selective_scan
torch.manual_seed(0)
N, I, L, K = 8, 32, 67, 16
u, delta, z = (torch.randn(N, L, I).transpose(1, 2) for _ in range(3))
B, C = (torch.randn(N, 2, L, K).transpose(2, 3) for _ in range(2))
leaves = [u, delta, -torch.rand(I, K), B, C, torch.randn(I), z, torch.randn(I)]
leaves = [leaf.requires_grad_() for leaf in leaves]
y = selective_scan(*leaves, softplus=True, reverse=(False, True))
for result in (y, *torch.autograd.grad(y.square().sum(), leaves)):
    print(hashlib.sha256(result.detach().contiguous().numpy().tobytes()).hexdigest())
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    fresh, cached = (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert len(fresh.split()) == 9
    assert fresh == cached
