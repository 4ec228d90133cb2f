"""What is said of the cross-attention must be measured on it alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from s2tx.errors import InputError
from s2tx.evaluation.metrics import Scores, score
from s2tx.model.s2tx import S2TX
from s2tx.model.scan.reference import selective_scan
from s2tx.model.sublayers.reference import SUBLAYERS
from s2tx.params import Params
from s2tx.studies import context
from s2tx.studies.cell import Places
from s2tx.studies.context import (
    averaged,
    cross_reads,
    examine,
    gradient_shares,
    head_reads,
    shuffled,
    update_shares,
)
from s2tx.studies.grid import Selection, run, select, settings_of
from tests.builders import make_params

D = 3


def build(params: Params, **changes: object) -> S2TX:
    small = make_params(params)
    model = replace(small.model, dropout=0.0, **changes)  # type: ignore[arg-type]
    torch.manual_seed(0)
    return S2TX(small.window, D, model, selective_scan, SUBLAYERS).eval()


def windows(params: Params, n: int = 6) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(n, make_params(params).window.look_back, D)


def test_only_the_cross_attention_reads_the_changed_context(params: Params) -> None:
    """Protects the measure of the cross-attention from measuring the head, and the other way
    round; and from hooks that stay."""
    x = windows(params)
    both = build(params)
    intact = both(x)
    with cross_reads(both, D, shuffled):
        cross = both(x)
    with head_reads(both, shuffled):
        head = both(x)
    assert not torch.allclose(cross, intact, atol=1e-4)
    assert not torch.allclose(head, intact, atol=1e-4)
    assert not torch.allclose(head, cross, atol=1e-4)
    assert torch.equal(both(x), intact)
    with torch.no_grad():
        for block in both.local_path.blocks:
            block.cross.out.weight.zero_()  # type: ignore[union-attr]
            block.cross.out.bias.zero_()  # type: ignore[union-attr]
    with cross_reads(both, D, shuffled):
        changed = both(x)
    assert torch.equal(changed, both(x))


@pytest.mark.parametrize("tokens", ["all", "newest"])
def test_what_the_head_reads_of_the_local_path_stays(params: Params, tokens: str) -> None:
    """Protects the measure of the context from shuffling the head's own tokens with it."""
    network, x = build(params, head_tokens=tokens), windows(params)
    with head_reads(network, shuffled):
        changed = network(x)
    assert not torch.allclose(changed, network(x), atol=1e-4)
    with torch.no_grad():
        network.head.weight[:, network.local_path.embed.position.numel() :] = 0.0
    intact = network(x)
    with head_reads(network, shuffled):
        assert torch.equal(network(x), intact)


def test_shuffling_swaps_windows_and_nothing_else(params: Params) -> None:
    """Protects the meaning of "another window's context": the same variate, the same places."""
    z = torch.arange(4.0)[:, None, None, None] + torch.rand(1, D, 5, 2) / 2
    assert torch.equal(shuffled(z), z[[2, 3, 0, 1]])
    assert torch.equal(averaged(z)[:, :, 0], z.mean(dim=2))
    network, x = build(params), windows(params, 1).repeat(6, 1, 1)
    with cross_reads(network, D, shuffled):
        torch.testing.assert_close(network(x), network(x[:1]).expand(6, -1, -1))


def test_shares_are_of_what_is_added(params: Params) -> None:
    """Protects the two measures: one for each sublayer of each block, and a whole of one."""
    network, x = build(params, n_layers=2), windows(params)
    shares = update_shares(network, x)
    assert [set(block) for block in shares] == [{"local", "cross", "feed_forward"}] * 2
    assert all(share > 0 for block in shares for share in block.values())
    gradients = gradient_shares(network, x, torch.zeros_like(network(x)))
    assert sum(gradients.values()) == pytest.approx(1.0)
    assert {"cross", "local", "feed_forward", "global_path", "head"} <= set(gradients)
    with torch.no_grad():
        for parameter in network.local_path.blocks[0].cross.out.parameters():  # type: ignore[union-attr]
            parameter.zero_()
    assert update_shares(network, x)[0]["cross"] == 0.0


def test_a_finished_cell_is_examined(study: Params, places: Places, folder: Path) -> None:
    """Protects the command: the intact figure is that of the record."""
    chosen = select(settings_of(study), Selection(("Small",), (4,), ("s2tx", "dlinear"), (1,)))
    dict(run(chosen, places, folder, note=lambda _: None))
    found = examine("Small-4-s2tx-1", study, places, folder)
    recorded = {each.cell.recipe: each for each in chosen}
    from s2tx.studies.collect import read

    record = read(places, recorded["s2tx"])
    assert record is not None
    assert found["test_mse"]["intact"] == pytest.approx(record["test"]["mse"])
    assert set(found["test_mse"]) == {
        "intact",
        "cross_shuffled",
        "cross_averaged",
        "head_shuffled",
    }
    with pytest.raises(InputError, match="has no global context"):
        examine("Small-4-dlinear-1", study, places, folder)
    with pytest.raises(InputError, match="is not finished"):
        examine("Small-6-s2tx-1", study, places, folder)


def test_another_windows_context_is_of_the_other_half_of_the_test_rows(
    study: Params, places: Places, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the measure from a neighbour's context, which is nearly the window's own."""
    chosen = select(settings_of(study), Selection(("Small",), (4,), ("s2tx",), (1,)))
    dict(run(chosen, places, folder, note=lambda _: None))
    batches: list[range] = []

    def watched(*arguments: Any) -> Scores:
        batches.append(arguments[2])
        return score(*arguments)

    monkeypatch.setattr(context, "score", watched)
    small = replace(study, evaluate=replace(study.evaluate, batch_size=32))
    examine("Small-4-s2tx-1", small, places, folder)
    whole = [row for batch in batches[:6] for row in batch]
    assert sorted(whole) == list(range(720, 900 - 4 + 1))
    assert all(len(batch) <= 32 for batch in batches)
    assert all(batch[len(batch) // 2] - batch[0] >= 84 for batch in batches)
