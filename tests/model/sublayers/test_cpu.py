"""The compiled sublayers against the reference in float64."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from s2tx.model.compiled import GROUPS
from s2tx.model.sublayers import AttentionWeights, FeedForwardWeights, cpu, reference
from s2tx.model.sublayers.feed_forward_kernels import BLOCK, TILE

# Largest error as a share of the largest exact value: float32 rounds at 6e-8, a gradient of a
# weight sums over every token.
TOLERANCE = 2e-5
FLOOR = 1.0  # where a sum cancels to nearly nothing, its error is still that of its terms
RATE = 0.3
# Each width of a tile and each window is compiled anew; 17-32 queries and up to 16 keys are one.
WINDOW = 3


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def attention(N: int, Q: int, S: int | None, E: int, pre_norm: bool = True) -> list[Tensor | None]:
    """x, context and weights; queries and keys small enough that no softmax is a hard choice."""
    shapes = [(N, Q, E), None if S is None else (N, S, E), (E,), (E,)]
    shapes += [None if S is None else (E,)] * 2
    shapes += [(E, E), (E,), (2 * E, E), (2 * E,), (E, E), (E,)]
    scale = [1.0] * 6 + [E**-0.5] * 6
    absent = range(0) if pre_norm else range(2, 6)
    return [
        None if shape is None or i in absent else scale[i] * normal(*shape, seed=i)
        for i, shape in enumerate(shapes)
    ]


def feed_forward(M: int, E: int, F: int, pre_norm: bool = True) -> list[Tensor | None]:
    shapes = [(M, E), (E,), (E,), (F, E), (F,), (E, F), (E,)]
    scale = [1.0] * 3 + [E**-0.5, 1.0, F**-0.5, 1.0]
    absent = range(0) if pre_norm else range(1, 3)
    return [
        None if i in absent else scale[i] * normal(*shape, seed=i) for i, shape in enumerate(shapes)
    ]


def results(call: Any, inputs: list[Any], dtype: torch.dtype) -> list[Tensor]:
    """The output, then the gradient of every input for one fixed, uneven gradient of it."""
    leaves = [None if x is None else x.to(dtype).detach().requires_grad_() for x in inputs]
    y = call(*leaves)
    dy = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).view_as(y).to(dtype)
    grads = torch.autograd.grad(y, [x for x in leaves if x is not None], dy)
    return [y.detach(), *grads]


def assert_parity(actual: list[Tensor], exact: list[Tensor]) -> None:
    for i, (a, b) in enumerate(zip(actual, exact, strict=True)):
        assert a.shape == b.shape
        scale = max(b.abs().max().item(), FLOOR)
        error = (a.double() - b).abs().max().item()
        assert error <= TOLERANCE * scale, (
            f"result {i}: off by {error:.3g} at a scale of {scale:.3g}"
        )


def attend(module: Any, heads: int, window: int | None, barred: Tensor | None = None) -> Any:
    return lambda x, context, *w: module.attend(
        x, context, AttentionWeights(*w), heads, window, 0, barred
    )


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    N=st.sampled_from([1, 3, GROUPS + 5]),
    Q=st.integers(17, 32),
    S=st.sampled_from([None, 1, 11, 16]),
    heads=st.sampled_from([1, 2, 4]),
    head=st.sampled_from([4, 8]),
    window=st.sampled_from([None, WINDOW]),
    barred=st.booleans(),
    pre_norm=st.booleans(),
)
def test_attention_gives_the_reference_s_values_and_gradients(
    N: int,
    Q: int,
    S: int | None,
    heads: int,
    head: int,
    window: int | None,
    barred: bool,
    pre_norm: bool,
) -> None:
    """A wrong border of a tile, a window or a group shows only at sizes that do not fit."""
    inputs = attention(N, Q, S, heads * head, pre_norm)
    window = None if S is not None else window
    shut = None
    if barred:
        shut = normal(N, S or Q, seed=9) > 0
        shut[:, 0] &= S is None  # a context leaves one key to read
    exact = results(attend(reference, heads, window, shut), inputs, torch.float64)
    assert_parity(results(attend(cpu, heads, window, shut), inputs, torch.float32), exact)


@pytest.mark.parametrize(("S", "window"), [(11, None), (None, None), (None, WINDOW)])
def test_nothing_barred_is_the_same_as_no_bars_to_the_last_bit(
    S: int | None, window: int | None
) -> None:
    """Clean data must not pay for the support of missing values."""
    inputs = attention(3, 20, S, 8)
    plain = results(attend(cpu, 2, window), inputs, torch.float32)
    none = torch.zeros(3, S or 20, dtype=torch.bool)
    for one, other in zip(
        plain, results(attend(cpu, 2, window, none), inputs, torch.float32), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("M", [1, TILE - 1, TILE + 1, GROUPS * TILE + 70])
@pytest.mark.parametrize(("E", "F"), [(4, 4), (16, BLOCK + 4), (12, 2 * BLOCK)])
@pytest.mark.parametrize("pre_norm", [True, False])
def test_feed_forward_gives_the_reference_s_values_and_gradients(
    M: int, E: int, F: int, pre_norm: bool
) -> None:
    """Tokens of a part-filled tile must count once, those behind it not at all."""

    def call(module: Any) -> Any:
        return lambda x, *w: module.feed_forward(x, FeedForwardWeights(*w), 0)

    inputs = feed_forward(M, E, F, pre_norm)
    exact = results(call(reference), inputs, torch.float64)
    assert_parity(results(call(cpu), inputs, torch.float32), exact)


def test_scores_far_apart_neither_overflow_nor_vanish() -> None:
    """The softmax must subtract the largest score, in the window too, where some are hidden."""
    for S, window in ((5, None), (None, WINDOW)):
        inputs = attention(2, 20, S, 8)
        assert inputs[6] is not None
        inputs[6] = 300 * inputs[6]
        exact = results(attend(reference, 2, window), inputs, torch.float64)
        found = results(attend(cpu, 2, window), inputs, torch.float32)
        assert all(each.isfinite().all() for each in found)
        torch.testing.assert_close(found[0].double(), exact[0], atol=1e-3, rtol=1e-3)


def test_a_nan_stays_in_its_own_sequence() -> None:
    """One bad window of a batch must not spoil the forecasts of the others."""
    inputs = attention(4, 20, 5, 8)
    assert inputs[0] is not None
    inputs[0][1, 3, 2] = torch.nan
    y, dx, *_ = results(attend(cpu, 2, None), inputs, torch.float32)
    for each in (y, dx):
        assert each[1].isnan().any()
        assert not each[[0, 2, 3]].isnan().any()


def kept(rate: float, seed: np.ndarray[Any, Any], n: int) -> np.ndarray[Any, Any]:
    """Which elements survive: the hash written out in Python's integers."""
    word = 0xFFFFFFFF
    alive = np.zeros(n, bool)
    for i in range(n):
        x = (i * 0x9E3779B9 + int(seed[0])) & word
        x = ((x ^ (x >> 16)) * 0x7FEB352D) & word ^ int(seed[1])
        x = ((x ^ (x >> 15)) * 0x846CA68B) & word
        alive[i] = (x ^ (x >> 16)) >= int(rate * 2**32)
    return alive


def with_seed(monkeypatch: pytest.MonkeyPatch) -> np.ndarray[Any, Any]:
    """Fix what the next calls draw."""
    seed = np.array([123456789, 3987654321], np.uint32)
    monkeypatch.setattr(
        cpu, "_chance", lambda rate: (seed, np.uint32(rate * 2**32), np.float32(1 / (1 - rate)))
    )
    return seed


@pytest.mark.parametrize("what", ["attend", "feed_forward", "dropout"])
def test_dropout_is_that_of_the_written_out_hash_forward_and_backward(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backward pass with another mask than the forward one would train something else."""
    seed = with_seed(monkeypatch)
    shape = (3, 21, 8)
    mask = torch.from_numpy(kept(RATE, seed, 3 * 21 * 8)).view(shape) / (1 - RATE)
    inputs: list[Any]
    if what == "attend":
        inputs = attention(3, 21, None, 8)

        def call(module: Any, rate: float) -> Any:
            return lambda x, _, *w: module.attend(x, None, AttentionWeights(*w), 2, WINDOW, rate)
    elif what == "feed_forward":
        inputs = feed_forward(63, 8, 12)
        inputs[0] = inputs[0].view(shape)

        def call(module: Any, rate: float) -> Any:
            return lambda x, *w: module.feed_forward(x, FeedForwardWeights(*w), rate)
    else:
        inputs = [normal(*shape, seed=0)]

        def call(module: Any, rate: float) -> Any:
            return lambda x: module.dropout(x, rate)

    def masked(x: Tensor, *rest: Any) -> Tensor:
        base = 0 if what == "dropout" else x
        update: Tensor = call(reference, 0.0)(x, *rest) - base
        return base + update * mask

    exact = results(masked, inputs, torch.float64)
    assert_parity(results(call(cpu, RATE), inputs, torch.float32), exact)


def test_dropout_drops_at_its_rate_and_independently() -> None:
    """A poor hash would show as a wrong rate, or as a pattern along a row or between calls."""
    torch.manual_seed(0)
    ones = torch.ones(200_000)
    first, second = cpu.dropout(ones, RATE) > 0, cpu.dropout(ones, RATE) > 0
    alive = 1 - RATE
    assert abs(first.float().mean() - alive) < 0.005
    pairs = {"call": (first & second), "neighbour": first[1:] & first[:-1]}
    pairs |= {f"stride {s}": first[s:] & first[:-s] for s in (8, 16, 672)}
    for name, both in pairs.items():
        assert abs(both.float().mean() - alive**2) < 0.006, name


def test_dropout_follows_torch_s_seed() -> None:
    """A resumed training restores torch's generator, and must draw the same masks."""
    ones = torch.ones(1000)
    torch.manual_seed(5)
    first, second = cpu.dropout(ones, RATE), cpu.dropout(ones, RATE)
    torch.manual_seed(5)
    assert torch.equal(cpu.dropout(ones, RATE), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_same_bits_on_any_number_of_threads(threads: int) -> None:
    """Sums that follow the thread count would make a run impossible to repeat."""
    inputs = attention(GROUPS + 9, 20, 11, 8)
    expected = results(attend(cpu, 2, None), inputs, torch.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = results(attend(cpu, 2, None), inputs, torch.float32)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_without_gradients_the_output_is_the_same_and_nothing_is_kept() -> None:
    """Forecasting must be the same arithmetic as training, without its memory."""
    inputs = attention(2, 20, None, 8)
    trained = results(attend(cpu, 2, WINDOW), inputs, torch.float32)[0]
    with torch.inference_mode():
        assert torch.equal(attend(cpu, 2, WINDOW)(*inputs), trained)


def test_other_types_are_refused_with_the_cure() -> None:
    """A kernel would read float64 memory as float32."""
    inputs = [x.double() for x in feed_forward(4, 4, 4)]
    with pytest.raises(TypeError, match=r"got torch\.float64 .* set runtime\.layers to reference"):
        cpu.feed_forward(inputs[0], FeedForwardWeights(*inputs[1:]), 0.0)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_that_is_no_rate_is_refused(rate: float) -> None:
    """At 1 the scale would be infinite, and the results NaN."""
    with pytest.raises(ValueError, match=f"rate of dropout is {rate}"):
        cpu.dropout(torch.ones(3), rate)


@pytest.mark.slow
def test_a_fresh_compilation_and_the_cached_one_give_the_same_bits(tmp_path: Path) -> None:
    """A training that is killed compiled its kernels, the one that resumes finds them on disk."""
    code = """
import hashlib, torch
from tests.model.sublayers.test_cpu import attend, attention, cpu, results
for S, window in ((11, None), (None, 3)):
    for result in results(attend(cpu, 2, window), attention(9, 20, S, 8), torch.float32):
        print(hashlib.sha256(result.contiguous().numpy().tobytes()).hexdigest())
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    fresh, cached = (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert len(fresh.split()) == 13 + 10
    assert fresh == cached
