"""The loop must resume bit for bit, choose on validation, and stop at a non-finite loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from s2tx.data.missing import Mask
from s2tx.data.table import Table
from s2tx.params import Params
from s2tx.training.fit import Epoch, NonFiniteLossError
from s2tx.training.train import train
from tests.builders import make_params, make_table


def everything(table: Table) -> Mask:
    return Mask(table.observed, 0)


EVERYTHING = everything(make_table())


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the loop may catch it."""


class KillAt:
    """A watcher that kills the run after so many steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, done: int, total: int) -> None:  # noqa: ARG002
        if done == self.step:
            raise Killed

    def on_epoch(self, epoch: Epoch) -> None: ...


def weights(table: Table, params: Params, folder: Path, *watchers: KillAt) -> dict[str, bytes]:
    bundle, _ = train(
        table, everything(table), params.model, params.train, params, folder, watchers
    )
    state = bundle.network.state_dict()
    return {name: tensor.numpy().tobytes() for name, tensor in state.items()}


@pytest.fixture
def small(params: Params) -> Params:
    return make_params(params)


def test_two_runs_give_the_same_bits(small: Params, tmp_path: Path) -> None:
    """Protects reproducibility: seed, data and params are all that decides."""
    table = make_table()
    first = weights(table, small, tmp_path / "a")
    assert first == weights(table, small, tmp_path / "b")
    other = replace(small, train=replace(small.train, seed=small.train.seed + 1))
    assert first != weights(table, other, tmp_path / "c")


@pytest.mark.parametrize(
    ("step", "select", "norm"), [(1, "best", "layer"), (4, "last", "batch"), (7, "best", "batch"),
                                 (9, "last", "layer")],
)  # fmt: skip
def test_a_killed_run_ends_with_the_same_bits(
    small: Params,
    tmp_path: Path,
    step: int,
    select: Literal["best", "last"],
    norm: Literal["layer", "batch"],
) -> None:
    """Protects a night's work: dropout, which member forecasts, order, rate, averages, what norms
    remember, what is kept, and history all resume."""
    model = replace(
        small.model,
        linear_member=True,
        final_norm=norm,
        local_norm="after" if norm == "batch" else "before",
    )
    table = make_table()
    small = replace(small, model=model, train=replace(small.train, select=select))
    whole = weights(table, small, tmp_path / "whole")
    with pytest.raises(Killed):
        weights(table, small, tmp_path / "cut", KillAt(step))
    assert weights(table, small, tmp_path / "cut") == whole


def test_a_run_of_other_settings_does_not_resume(small: Params, tmp_path: Path) -> None:
    """Protects from a checkpoint of one run leaking into another."""
    table = make_table()
    with pytest.raises(Killed):
        weights(table, small, tmp_path / "shared", KillAt(5))
    other = replace(small, train=replace(small.train, learning_rate=1e-4))
    expected = weights(table, other, tmp_path / "fresh")
    assert weights(table, other, tmp_path / "shared") == expected


def test_training_learns(small: Params, tmp_path: Path) -> None:
    """Protects from a loop whose steps do nothing: the error falls well below the first epoch's."""
    recipe = replace(small.train, epochs=12, learning_rate=0.01)
    _, history = train(make_table(), EVERYTHING, small.model, recipe, small, tmp_path)
    assert len(history) == 12
    assert history[-1].val_mse < 0.5 * history[0].val_mse


def test_the_best_epoch_by_validation_is_kept(small: Params, tmp_path: Path) -> None:
    """Protects from keeping the last epoch when ``select`` is best."""
    table = make_table()
    # The rate rises to the end, until it wrecks the weights: the best epoch is not the last.
    recipe = replace(small.train, epochs=4, learning_rate=0.3, averaging=None, warmup=0.99)
    kept = {}
    for select in ("best", "last"):
        chosen = replace(recipe, select=select)
        bundle, history = train(
            table, everything(table), small.model, chosen, small, tmp_path / select
        )
        kept[select] = bundle, history
    bundle, history = kept["best"]
    assert kept["last"][1] == history
    best = min(entry.val_mse for entry in history)
    assert best < history[-1].val_mse

    from s2tx.data.split import find_borders
    from s2tx.training.fit import errors

    borders = find_borders(len(table.times), table.card, small.data, small.window)
    origins = borders.origins("validation", small.window.look_back, small.window.horizon)
    for select, expected in (("best", best), ("last", history[-1].val_mse)):
        bundle = kept[select][0]
        mse, _ = errors(bundle.network, bundle.windows(table), origins, 32)
        assert mse == pytest.approx(expected, rel=1e-6)


def test_patience_stops_early(small: Params, tmp_path: Path) -> None:
    """Protects from training on when validation no longer improves."""
    recipe = replace(
        small.train, epochs=40, learning_rate=0.1, averaging=None, patience=2, schedule="constant"
    )
    _, history = train(make_table(), EVERYTHING, small.model, recipe, small, tmp_path)
    best = min(range(len(history)), key=lambda at: history[at].val_mse)
    assert len(history) == best + 1 + 2 < 40


def test_a_non_finite_loss_names_step_and_batch_and_keeps_nothing(
    small: Params, tmp_path: Path
) -> None:
    """Protects the registry from a broken model, and the engineer from a hunt."""
    recipe = replace(small.train, learning_rate=1e30, checkpoint_steps=1, schedule="constant")
    with pytest.raises(NonFiniteLossError, match=r"epoch 1, step 2, whose windows .* rows \["):
        train(make_table(), EVERYTHING, small.model, recipe, small, tmp_path)
    (checkpoint,) = tmp_path.iterdir()
    state = torch.load(checkpoint, weights_only=True)
    assert state["step"] == 1  # the last good one: nothing after the fault was kept


def test_a_non_finite_validation_error_keeps_nothing(
    small: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects from weights that broke in the last step of an epoch, whose loss was still good."""
    monkeypatch.setattr("s2tx.training.fit.errors", lambda *_: (float("nan"), float("nan")))
    with pytest.raises(NonFiniteLossError, match="validation MSE is nan after epoch 1"):
        train(make_table(), EVERYTHING, small.model, small.train, small, tmp_path)


def test_a_training_mask_does_not_reach_the_validation_windows(
    small: Params, tmp_path: Path
) -> None:
    """Protects the choice of the checkpoint: readings of the validation part stay visible."""
    table = make_table()
    hidden = table.observed
    hidden[420:] = False
    one, _ = train(table, Mask(hidden, 0), small.model, small.train, small, tmp_path / "a")
    two, _ = train(table, EVERYTHING, small.model, small.train, small, tmp_path / "b")
    for name, tensor in one.network.state_dict().items():
        assert torch.equal(tensor, two.network.state_dict()[name]), name


def test_test_rows_do_not_touch_the_weights(small: Params, tmp_path: Path) -> None:
    """Protects from a leak: rows after the validation part may be anything."""
    table, other = make_table(), make_table()
    other.values[-120:] = 1e3
    assert weights(table, small, tmp_path / "a") == weights(other, small, tmp_path / "b")


def test_validation_rows_touch_only_the_choice(small: Params, tmp_path: Path) -> None:
    """Protects the scaler and the gradients from validation rows (they start at row 420)."""
    last = replace(small, train=replace(small.train, select="last"))
    table, other = make_table(), make_table()
    other.values[420:] *= -7.0
    assert weights(table, last, tmp_path / "a") == weights(other, last, tmp_path / "b")


def test_missing_targets_are_not_learned(small: Params, tmp_path: Path) -> None:
    """Protects from training towards a filler: a variate missing for good gives no gradient."""
    table = make_table(missing=0.2)
    bundle, history = train(table, everything(table), small.model, small.train, small, tmp_path)
    assert all(np.isfinite(entry.train_loss) for entry in history)
    values = table.values.copy()
    values[np.isnan(values)] = 0.0
    filled = replace(table, values=values)
    other, _ = train(
        filled, everything(filled), small.model, small.train, small, tmp_path / "filled"
    )
    some = next(iter(bundle.network.state_dict()))
    assert not torch.equal(bundle.network.state_dict()[some], other.network.state_dict()[some])
