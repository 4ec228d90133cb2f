"""The floor is a count: it must be torch's count, and the hand's."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import floor
from benchmarks.project import torch_alone
from s2tx import zoo
from s2tx.params import Params
from tests.builders import make_params

BATCH, VARIATES = 2, 3


def counted(params: Params, backward: bool) -> int:
    """Multiply-adds of every matrix product outside the attention, as torch counts them."""
    device = torch.device("cpu")
    runtime = torch_alone(params.runtime)
    network = zoo.build(params.model, params.window, VARIATES, runtime, device)
    x_BLD = torch.randn(BATCH, params.window.look_back, VARIATES)
    with FlopCounterMode(display=False) as counter:
        y = network(x_BLD)
        if backward:
            torch.autograd.backward(y.sum())
    counts, aten = counter.get_flop_counts()["Global"], torch.ops.aten
    return sum(counts.get(op, 0) for op in (aten.mm, aten.addmm, aten.bmm, aten.baddbmm)) // 2


@pytest.mark.parametrize(
    "changes",
    [{}, {"m_layers": 2, "n_layers": 3}, {"bidirectional": False}, {"linear_member": True}],
)
def test_matrix_products_are_counted_as_torch_counts_them(
    params: Params, changes: dict[str, int]
) -> None:
    small = make_params(params)
    small = replace(small, model=replace(small.model, dropout=0.0, **changes))  # type: ignore[arg-type]
    model, window = small.model, small.window
    works = floor.parts(model, window, BATCH, VARIATES)
    fine, coarse = 8, 8  # (24 - 6) / 3 + 2 and (48 - 12) / 6 + 2 patches
    sequences, inner = BATCH * VARIATES, model.expand * model.width
    pairs = floor.pairs_of_band(fine, model.window) + fine * coarse
    attention = 2 * model.n_layers * sequences * pairs * model.width
    steps = model.m_layers * (1 + model.bidirectional) * sequences * coarse * inner
    # Torch counts no attention and no convolution here, but how the scan reads its states.
    extra = steps * model.state - attention - steps * model.conv
    forward = sum(work.forward for work in works.values())
    backward = sum(work.backward for work in works.values())
    assert forward + extra == counted(small, backward=False)
    assert forward + backward + 3 * extra == counted(small, backward=True)


def test_small_counts_by_hand() -> None:
    assert floor.linear(2, 3, 4) == floor.Work(forward=24, backward=48)
    assert floor.linear(2, 3, 4, first=True) == floor.Work(forward=24, backward=24)
    # Two sequences of two tokens of width 4: 4 pairs each, scores and what is read.
    attention = floor.products_of_attention(2, 4, 4, heads=1)
    assert (attention.forward, attention.backward) == (64, 128)
    one = floor.mamba(tokens=5, width=4, state=3, conv=2, expand=2, directions=1)
    assert one.forward == 5 * (4 * 16 + 8 * (1 + 6) + 1 * 8 + 8 * 4 + 8 * 2)
    assert one.scan == 5 * 8 * 3 * floor.SCAN
    both = floor.mamba(tokens=5, width=4, state=3, conv=2, expand=2, directions=2)
    assert (both.forward, both.saved) == (2 * one.forward, one.saved)


@pytest.mark.parametrize(("size", "window"), [(1, 7), (5, 1), (6, 3), (42, 7), (4, 99)])
def test_pairs_of_the_band_are_those_within_reach(size: int, window: int) -> None:
    places = range(size)
    within = sum(abs(i - j) <= window // 2 for i in places for j in places)
    assert floor.pairs_of_band(size, window) == within


def test_switches_take_parts_away(params: Params) -> None:
    """A part that a switch turns off may not lift the floor."""
    window = replace(params.window, look_back=672)
    whole = replace(params.model, cross_attention=True, head_context=True, head_tokens="all")

    def total(**changes: object) -> int:
        model = replace(whole, **changes)  # type: ignore[arg-type]
        return sum(work.multiply_adds for work in floor.parts(model, window, 1, 7).values())

    assert total(cross_attention=False) < total()
    assert total(cross_attention=False, head_context=False) < total(cross_attention=False)
    assert total(head_context=False) < total(head_tokens="newest") < total(head_tokens="all")
    assert total() < total(local_window=False)
    assert total(global_stride=None, global_patches=41) == total()


def test_the_floor_is_the_slower_of_both() -> None:
    assert floor.floor_seconds(500, 100, flops=1000.0, bandwidth=1000.0) == {
        "compute_s": 1.0,
        "memory_s": 0.1,
        "floor_s": 1.0,
    }
