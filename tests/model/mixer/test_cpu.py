"""The compiled mixer against the reference in float64, around the reference scan."""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s2tx.model.compiled.recurrence import CHUNK
from s2tx.model.mixer import MixerWeights, cpu, reference
from s2tx.model.scan.reference import selective_scan
from tests.model.scan.cases import assert_near

NAMES = ("x", *MixerWeights._fields)
MANY = 2 * cpu.SHARES + 5  # so that a share has several sequences
# Largest error as a share of the largest exact value, or of 1. Weights' gradients are sums over all
# steps of products of products: two digits less than float32 has.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2**-8}

Case = tuple[torch.Tensor, MixerWeights]


def case(N: int, L: int, E: int, K: int = 4, *, taps: int = 4, inner: int = 0, groups: int = 2,
         rank: int = 0, seed: int = 0) -> Case:  # fmt: skip
    """Tokens and weights of the size that a trained block has."""
    inner, rank = inner or 2 * E, rank or -(-E // 16)
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, terms: int = 1) -> torch.Tensor:
        return torch.randn(groups, *shape, generator=generator) / terms**0.5

    return torch.randn(N, L, E, generator=generator), MixerWeights(
        normal(2 * inner, E, terms=E),
        normal(inner, taps, terms=taps),
        normal(inner),
        normal(rank + 2 * K, inner, terms=inner),
        normal(inner, rank, terms=rank),
        normal(inner) - 1,
        -torch.exp(normal(inner, K)),
        normal(inner),
        normal(E, inner, terms=inner),
    )


def run(
    mixer: Any, x: torch.Tensor, weights: MixerWeights, reverse: tuple[bool, ...], dtype: Any = None
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The output, and the gradient of every input for one fixed, uneven gradient of the output."""
    leaves = [v.detach().to(dtype or v.dtype).requires_grad_() for v in (x, *weights)]
    y = mixer(leaves[0], MixerWeights(*leaves[1:]), reverse)
    dy = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).view_as(y)
    grads = torch.autograd.grad(y, leaves, dy.bfloat16().to(y.dtype))
    return y.detach(), dict(zip(NAMES, grads, strict=True))


exactly = functools.partial(reference.mix, selective_scan)


def assert_parity(
    x: torch.Tensor,
    weights: MixerWeights,
    reverse: tuple[bool, ...],
    loosen: float = 1,
    passed: torch.Tensor | None = None,
) -> None:
    y, grads = run(functools.partial(cpu.mix, passed_NL=passed), x, weights, reverse)
    precise = functools.partial(exactly, passed_NL=passed)
    exact_y, exact_grads = run(precise, x, weights, reverse, torch.float64)
    tolerance = loosen * TOLERANCE[x.dtype]
    assert y.dtype == x.dtype
    assert_near(y, exact_y, "y", tolerance)
    for name in NAMES:
        assert grads[name].dtype == x.dtype
        assert_near(grads[name], exact_grads[name], f"d{name}", tolerance)


BOTH = (False, True)


@pytest.mark.parametrize("length", [1, 2, 31, 32, 33, 64, 97, 287])
@pytest.mark.parametrize("width", [1, 3, 8, 16])
def test_every_size_gives_the_reference_s_values_and_gradients(length: int, width: int) -> None:
    """A wrong border of a chunk, a register or a padding would show only where sizes do not fit."""
    assert_parity(*case(2, length, width), BOTH)


@pytest.mark.parametrize("length", [1, 32, 33, 97])
def test_steps_that_are_passed_by_give_the_reference_s(length: int) -> None:
    """A step passed by in one chunk must be that one, in either direction, and have no gradient."""
    passed = torch.rand(MANY, length, generator=torch.Generator().manual_seed(3)) > 0.5
    assert_parity(*case(MANY, length, 8), BOTH, passed=passed)


def test_none_passed_by_is_the_same_to_the_last_bit() -> None:
    """Clean data must not pay for the support of missing values."""
    x, weights = case(3, 70, 8)
    none = torch.zeros(3, 70, dtype=torch.bool)
    y, grads = run(cpu.mix, x, weights, BOTH)
    same, same_grads = run(functools.partial(cpu.mix, passed_NL=none), x, weights, BOTH)
    assert torch.equal(y, same)
    assert all(torch.equal(grads[name], same_grads[name]) for name in NAMES)


def test_a_step_that_is_passed_by_might_as_well_not_be_there() -> None:
    """The state must stay what it is: without a convolution, the rest is a shorter sequence."""
    x, weights = case(2, 40, 8, taps=1)
    passed = torch.zeros(2, 40, dtype=torch.bool)
    passed[:, [0, 3, 4, 5, 20, 39]] = True
    y = exactly(x, weights, BOTH, passed)
    torch.testing.assert_close(y[:, ~passed[0]], exactly(x[:, ~passed[0]], weights, BOTH))
    assert not y[:, passed[0]].any()


@pytest.mark.parametrize(
    "size",
    [
        {"E": 16, "K": 1},
        {"E": 16, "K": 16},
        {"E": 5, "K": 64},
        {"E": 40, "K": 3},
        {"E": 128, "K": 16},
        {"E": 6, "taps": 1},
        {"E": 6, "taps": 2},
        {"E": 6, "taps": 7},
        {"E": 6, "taps": 32},
        {"E": 6, "inner": 6},
        {"E": 6, "inner": 70},
        {"E": 12, "rank": 5},
        {"E": 12, "rank": 18},
    ],
    ids=str,
)
def test_every_setting_of_the_block_gives_the_reference_s(size: dict[str, int]) -> None:
    """State, taps, inner width and rank are all cut and padded, each in its own way."""
    assert_parity(*case(2, 75, **size), BOTH)


@pytest.mark.parametrize(
    "reverse", [r for n in (1, 2, 3) for r in itertools.product([False, True], repeat=n)], ids=str
)
def test_every_set_of_directions_gives_the_reference_s(reverse: tuple[bool, ...]) -> None:
    """A direction may not take the weights or the order of steps of another."""
    assert_parity(*case(2, 70, 6, groups=len(reverse)), reverse)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    length=st.integers(1, 130),
    width=st.integers(1, 40),
    state=st.integers(1, 20),
    taps=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_any_size_gives_the_reference_s(
    length: int, width: int, state: int, taps: int, seed: int
) -> None:
    """Sizes that nobody thought of."""
    assert_parity(*case(2, length, width, state, taps=taps, seed=seed), BOTH)


@pytest.mark.parametrize("length", [40, 2 * CHUNK])
def test_more_sequences_than_shares_give_the_reference_s(length: int) -> None:
    """Uneven shares must count every sequence once, and none may meet the end of the one before."""
    assert_parity(*case(MANY, length, 4), BOTH)


def test_half_precision_is_computed_in_float32() -> None:
    """Only the result may be rounded, never the state."""
    x, weights = case(2, 150, 16)
    halves = MixerWeights(*(weight.bfloat16() for weight in weights))
    assert_parity(x.bfloat16(), halves, BOTH, loosen=1.5)


def test_extreme_step_sizes_give_the_reference_s() -> None:
    """exp and softplus at their ends must saturate as they do in torch."""
    x, weights = case(2, 70, 4)
    biases = torch.tensor([-1e4, -88.0, -30.0, 0.0, 19.9, 20.1, 90.0, 1e3])
    assert_parity(x, weights._replace(dt_bias=biases.expand(2, 8)), BOTH)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_inputs_give_the_same_bits_on_any_number_of_threads(threads: int) -> None:
    """Sums that race, or that follow the thread count, would make a run impossible to repeat."""
    x, weights = case(MANY, 70, 6)
    y, grads = run(cpu.mix, x, weights, BOTH)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        again, grads_again = run(cpu.mix, x, weights, BOTH)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(y, again)
    for name in NAMES:
        assert torch.equal(grads[name], grads_again[name]), name


def test_each_sequence_is_mixed_alone() -> None:
    """A state or a tail of the convolution carried on would leak between windows."""
    x, weights = case(MANY, 50, 6)
    order = torch.randperm(MANY, generator=torch.Generator().manual_seed(1))
    y, grads = run(cpu.mix, x, weights, BOTH)
    assert torch.equal(cpu.mix(x[order], weights, BOTH), y[order])
    assert torch.equal(cpu.mix(x[:1], weights, BOTH), y[:1])
    alone, alone_grads = run(cpu.mix, x[:1], weights, BOTH)
    assert torch.equal(alone, y[:1])
    assert torch.equal(alone_grads["x"], grads["x"][:1])


def test_a_nan_reaches_its_own_sequence_and_no_other() -> None:
    """Scratch is used again for the next sequence: nothing may stay in it."""
    x, weights = case(MANY, 50, 6)
    x[::2, 20, 0] = torch.nan
    y, grads = run(cpu.mix, x, weights, BOTH)
    assert y[::2].isnan().any(dim=(1, 2)).all()
    assert not y[1::2].isnan().any()
    assert not grads["x"][1::2].isnan().any()


@pytest.mark.parametrize("back", [False, True])
def test_no_step_reads_beyond_itself(back: bool) -> None:
    """One direction is causal, the other its mirror image, across the border of a chunk too."""
    x, weights = case(1, 80, 6, groups=1)
    y = cpu.mix(x, weights, (back,))
    read, unread = (slice(40, None), slice(None, 40)) if back else (slice(40), slice(40, None))
    changed = x.clone()
    changed[:, unread] = torch.nan
    y_changed = cpu.mix(changed, weights, (back,))
    assert torch.equal(y_changed[:, read], y[:, read])
    assert y_changed[:, unread].isnan().all()


def test_every_input_gets_a_gradient_in_every_place() -> None:
    """A gradient left at zero, or in unwritten memory, would train nothing and say nothing."""
    _, grads = run(cpu.mix, *case(2, 40, 6), BOTH)
    for name, grad in grads.items():
        assert grad.isfinite().all(), name
        assert (grad != 0).float().mean() > 0.99, name


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_output_is_the_same_and_nothing_is_kept(mode: Any) -> None:
    """Forecasting takes the path that stores no states: it must be the same arithmetic."""
    x, weights = case(2, 70, 6)
    y, _ = run(cpu.mix, x, weights, BOTH)
    with mode():
        alone = cpu.mix(x.requires_grad_(), weights, BOTH)
    assert torch.equal(alone, y)
    assert alone.grad_fn is None


def test_little_is_kept_for_the_backward_pass() -> None:
    """What is kept is a state a chunk: the inner tensors of the block are computed again."""
    N, L, E, K = 3, 10 * CHUNK, 16, 8
    x, weights = case(N, L, E, K)
    kept: dict[int, int] = {}

    def pack(saved: torch.Tensor) -> torch.Tensor:
        kept[saved.data_ptr()] = saved.numel()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        cpu.mix(x.requires_grad_(), weights, BOTH)
    states = 2 * N * (L // CHUNK - 1) * K * 2 * E
    assert (
        states < sum(kept.values()) < states + x.numel() + 2 * sum(w.numel() for w in weights) * 2
    )


def test_only_training_stores_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forecasting over a long table must not pay for a backward pass that never comes."""
    stored: list[int] = []
    monkeypatch.setattr(cpu, "share", lambda *arguments: stored.append(arguments[-1].numel()))
    x, weights = case(2, 70, 16)
    cpu.mix(x, weights, BOTH)
    cpu.mix(x.requires_grad_(), weights, BOTH)
    assert stored == [0, 2 * 2 * 2 * 4 * 32]


def test_an_empty_batch_gives_an_empty_output() -> None:
    """The last window of a table may leave nothing to score."""
    x, weights = case(1, 40, 6)
    y, grads = run(cpu.mix, x[:0], weights, BOTH)
    assert y.shape == (0, 40, 6)
    assert torch.equal(grads["A"], torch.zeros(2, 12, 4))


def test_what_it_cannot_compute_is_refused_with_the_cure() -> None:
    """Computing float64 in float32 in silence would spoil a gradient check."""
    x, weights = case(1, 5, 4)
    with pytest.raises(TypeError, match=r"torch.float64: set runtime.scan to reference"):
        cpu.mix(x.double(), weights, BOTH)
    with pytest.raises(ValueError, match=r"model\.conv is 33, over 32 taps"):
        cpu.mix(*case(1, 5, 4, taps=CHUNK + 1), BOTH)


@pytest.mark.slow
def test_a_fresh_compilation_and_the_cached_one_give_the_same_bits(tmp_path: Path) -> None:
    """A training that is killed compiled its kernels, the one that resumes finds them on disk."""
    code = """
import hashlib
from s2tx.model.mixer import cpu
from tests.model.mixer.test_cpu import BOTH, case, run
y, grads = run(cpu.mix, *case(8, 67, 16, 16), BOTH)
for result in (y, *grads.values()):
    print(hashlib.sha256(result.contiguous().numpy().tobytes()).hexdigest())
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    fresh, cached = (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert len(fresh.split()) == 11
    assert fresh == cached
