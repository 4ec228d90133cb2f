"""Protects the robustness figure: masks hit their rate, never show what is missing, and repeat."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2tx import fingerprint
from s2tx.data.missing import SENSOR_BLOCKS, Mask, hide, read_mask, run_inject, write_mask
from s2tx.data.profile import runs
from s2tx.data.table import Card, Table
from s2tx.errors import InputError
from s2tx.params import InjectParams, Params
from s2tx.paths import Project

ROWS_PATTERNS = ("point", "block", "sensor")


def inject(
    pattern: str = "block", rate: float = 0.4, steps: int = 24, seed: int = 7
) -> InjectParams:
    return InjectParams(pattern=pattern, rate=rate, block_steps=steps, seed=seed, train=False)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    pattern=st.sampled_from([*ROWS_PATTERNS, "tail"]),
    rows=st.integers(1, 400),
    variates=st.integers(1, 5),
    rate=st.floats(0, 0.95),
    steps=st.integers(1, 50),
    seed=st.integers(0, 2**32),
    gone=st.floats(0, 1),
)
def test_hides_the_rate_and_nothing_else(pattern, rows, variates, rate, steps, seed, gone) -> None:  # type: ignore[no-untyped-def]
    """A mask that shows a missing reading feeds NaN to the model; a wrong rate is a wrong claim."""
    observed = np.random.default_rng(seed).random((rows, variates)) >= gone
    params = inject(pattern, rate, steps, seed)
    before = observed.copy()
    seen = hide(observed, params)
    assert seen.dtype == bool
    assert not (seen & ~observed).any()
    hidden = int(observed.sum() - seen.sum())
    assert hidden == (0 if pattern == "tail" else round(rate * observed.sum()))
    np.testing.assert_array_equal(seen, hide(observed, params))
    np.testing.assert_array_equal(observed, before)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 300),
    variates=st.integers(1, 4),
    rate=st.floats(0, 0.95),
    steps=st.integers(1, 50),
    gone=st.floats(0, 1),
)
def test_a_blackout_takes_all_variates_at_once(
    rows: int, variates: int, rate: float, steps: int, gone: float
) -> None:
    """A blackout that spares a variate leaves the others to be read off it."""
    observed = np.random.default_rng(1).random((rows, variates)) >= gone
    seen = hide(observed, inject("blackout", rate, steps))
    dark = observed.any(axis=1) & ~seen.any(axis=1)
    np.testing.assert_array_equal(seen, observed & ~dark[:, None])
    assert dark.sum() == round(rate * observed.any(axis=1).sum())


@pytest.mark.parametrize("pattern", ROWS_PATTERNS)
def test_seeds_and_streams_differ(pattern: str) -> None:
    """One mask for training and evaluation would teach the model where it will be blind."""
    observed = np.ones((3000, 4), dtype=bool)
    masks = [
        hide(observed, inject(pattern)),
        hide(observed, inject(pattern), stream=1),
        hide(observed, inject(pattern, seed=8)),
    ]
    for a in range(3):
        for b in range(a):
            assert (masks[a] != masks[b]).mean() > 0.2


def test_patterns_have_their_shape() -> None:
    """`block` that hides single cells would be `point`, an easier task under a harder name."""
    observed = np.ones((20_000, 3), dtype=bool)

    def lengths(pattern: str) -> np.ndarray:
        hidden = ~hide(observed, inject(pattern, rate=0.2, steps=24))
        found = []
        for column in hidden.T:
            starts, length = runs(column.astype(float))
            found.append(length[column[starts]])
        return np.concatenate(found)

    assert np.median(lengths("point")) == 1
    assert (lengths("block") < 24).sum() <= 6  # only at the ends of the table, and the last, cut
    assert np.median(lengths("block")) == 24
    assert np.median(lengths("sensor")) >= 24 * SENSOR_BLOCKS


def test_variates_go_dark_one_by_one() -> None:
    """Sensors fail apart from each other; hiding all at once is another pattern."""
    hidden = ~hide(np.ones((20_000, 5), dtype=bool), inject("sensor"))
    assert hidden.all(axis=1).mean() < 0.1
    assert hidden.any(axis=1).mean() > 0.7
    assert abs(np.corrcoef(hidden[:, 0], hidden[:, 1])[0, 1]) < 0.5


@pytest.fixture
def with_table(tmp_path) -> Project:  # type: ignore[no-untyped-def]
    project = Project(tmp_path)
    values = np.random.default_rng(0).normal(size=(500, 2))
    values[10:20] = np.nan
    card = Card("t", "t.csv", "0", "date", "1h", ("a", "b"), "ratio", "insert", "t", "none")
    times = pd.date_range("2024-01-01", periods=500, freq="1h", unit="ns")
    Table(card, times, values).write(project.table)
    return project


def test_the_stage(with_table: Project, params: Params) -> None:
    """Evaluate and train read these files: shapes, rate and the clean table must hold."""
    clean = fingerprint.of_file(with_table.table)
    run_inject(with_table, params)
    evaluate, train = read_mask(with_table.evaluate_mask), read_mask(with_table.train_mask)
    observed = Table.read(with_table.table).observed
    np.testing.assert_array_equal(train.visible, observed)
    assert (evaluate.tail_steps, train.tail_steps) == (0, 0)
    assert fingerprint.of_file(with_table.table) == clean
    assert observed.sum() - evaluate.visible.sum() == round(params.inject.rate * observed.sum())


def test_training_looks_away_when_asked(with_table: Project, params: Params) -> None:
    """`inject.train` must reach the training mask, with a draw of its own."""
    asked = dataclasses.replace(params.inject, train=True)
    run_inject(with_table, dataclasses.replace(params, inject=asked))
    evaluate, train = read_mask(with_table.evaluate_mask), read_mask(with_table.train_mask)
    assert train.visible.sum() < Table.read(with_table.table).observed.sum()
    assert (train.visible != evaluate.visible).any()


def test_another_evaluation_mask_trains_nothing_anew(with_table: Project, params: Params) -> None:
    """A training takes minutes; a new rate for the robustness figure must not cost one."""
    run_inject(with_table, params)
    before = with_table.train_mask.read_bytes(), with_table.evaluate_mask.read_bytes()
    other = dataclasses.replace(params.inject, rate=0.2, seed=99)
    run_inject(with_table, dataclasses.replace(params, inject=other))
    assert with_table.train_mask.read_bytes() == before[0]
    assert with_table.evaluate_mask.read_bytes() != before[1]


def test_tail_is_steps_not_rows(with_table: Project, params: Params) -> None:
    """A row is the newest of one window and the oldest of another: no mask over rows can say it."""
    asked = dataclasses.replace(params.inject, pattern="tail", block_steps=6)
    run_inject(with_table, dataclasses.replace(params, inject=asked))
    evaluate, train = read_mask(with_table.evaluate_mask), read_mask(with_table.train_mask)
    np.testing.assert_array_equal(evaluate.visible, Table.read(with_table.table).observed)
    assert (evaluate.tail_steps, train.tail_steps) == (6, 0)


def test_same_masks_same_bytes(with_table: Project, params: Params, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """A clock in the archive would make all that follows look stale."""
    import time

    run_inject(with_table, params)
    first = with_table.evaluate_mask.read_bytes()
    monkeypatch.setattr(time, "time", lambda: 2e9)
    run_inject(with_table, params)
    assert with_table.evaluate_mask.read_bytes() == first


def test_damaged_masks_are_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The cure is one command; a stack trace does not say which."""
    path = tmp_path / "mask.npz"
    with pytest.raises(InputError, match=r"does not exist.*dvc repro inject"):
        read_mask(path)
    write_mask(path, Mask(np.ones((2, 2), bool), 0))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="holds no mask"):
        read_mask(path)
