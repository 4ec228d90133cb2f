"""The stages from table to page, on a small project: every figure in its place, and repeatable."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2tx.data.missing import Mask, run_inject
from s2tx.data.table import Table
from s2tx.evaluation.evaluate import masks_by_rate, run_evaluate
from s2tx.evaluation.naive import season_steps
from s2tx.evaluation.report import run_report
from s2tx.params import Params
from s2tx.paths import Project, write_text
from s2tx.specs import Pattern
from s2tx.training.train import run_baseline, run_train
from tests.builders import make_params, make_table
from tests.conftest import ROOT

MODELS = ["s2tx", "dlinear", "seasonal_naive", "repeat_last"]


@pytest.fixture(scope="module")
def small(params: Params) -> Params:
    return make_params(params)


@pytest.fixture(scope="module")
def project(small: Params, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("project"))
    write_text(project.params, (ROOT / "params.yaml").read_text())
    make_table(missing=0.02).write(project.table)
    finding = {"severity": "warning", "message": "a gap of 3 hours <at noon>"}
    write_text(project.validation, json.dumps({"findings": [finding]}))
    run_inject(project, small)
    run_train(project, small)
    run_baseline(project, small)
    run_evaluate(project, small)
    run_report(project)
    return project


def test_every_model_is_scored_on_every_window(project: Project) -> None:
    """Protects the comparison: 600 rows, 20 % of them test, horizon 6: 115 windows, for all."""
    metrics = json.loads(project.metrics.read_text())
    assert metrics["windows"] == 115
    for part in ("test", "test_missing"):
        assert list(metrics[part]) == MODELS
        for score in metrics[part].values():
            assert score["mae"] > 0
            assert score["mse"] > 0
    assert metrics["test"] != metrics["test_missing"]


def test_the_curve_goes_through_the_scores_beside_it(small: Params, project: Project) -> None:
    """Protects from two answers to one question: at 0 the curve is the clean score, at inject's
    rate the score under the injected mask; and table and metrics hold the same curve."""
    metrics = json.loads(project.metrics.read_text())
    rates = metrics["missing_rates"]
    assert rates == [0.0, *small.evaluate.missing_rates]
    table = pd.read_csv(project.plots / "missing.csv")
    at = rates.index(small.inject.rate)
    for model in MODELS:
        listed = table[table["model"] == model]
        np.testing.assert_array_equal(listed["missing"], rates)
        for metric in ("mse", "mae"):
            curve = metrics["missing_curve"][model][metric]
            assert curve[0] == metrics["test"][model][metric]
            assert curve[at] == metrics["test_missing"][model][metric]
            np.testing.assert_array_equal(listed[metric], curve)


@given(
    pattern=st.sampled_from(get_args(Pattern)),
    rates=st.sets(st.integers(1, 99), min_size=1, max_size=4),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=40, deadline=None)
def test_a_higher_rate_hides_what_a_lower_one_hides(
    params: Params, pattern: Any, rates: set[int], seed: int
) -> None:
    """Protects the curve from the luck of the draw: between two rates nothing comes back."""
    inject = replace(params.inject, pattern=pattern, seed=seed)
    asked = replace(params.evaluate, missing_rates=tuple(rate / 100 for rate in sorted(rates)))
    small = replace(make_params(params), inject=inject, evaluate=asked)
    table = make_table(missing=0.02)
    tail = 6 if pattern == "tail" else 0
    masks = masks_by_rate(table, Mask(table.observed, tail), small)
    assert tuple(masks) == asked.missing_rates
    lower = Mask(table.observed, 0)
    for rate, mask in masks.items():
        assert not (mask.visible & ~lower.visible).any()
        assert mask.tail_steps >= lower.tail_steps
        hidden = mask.tail_steps / 48 if tail else 1 - mask.visible.sum() / table.observed.sum()
        assert hidden == pytest.approx(rate, abs=0.02)
        lower = mask


def test_the_tables_average_to_the_metrics(project: Project) -> None:
    """Protects the plots from showing other figures than the metrics."""
    metrics = json.loads(project.metrics.read_text())["test"]
    horizon = pd.read_csv(project.plots / "horizon.csv")
    variates = pd.read_csv(project.plots / "variates.csv")
    assert set(horizon["step"]) == set(range(1, 7))
    assert set(variates["variate"]) == {"v0", "v1", "v2"}
    cells = pd.read_csv(project.plots / "scores.csv")
    assert len(cells) == len(MODELS) * 6 * 3
    for model in MODELS:
        each = cells[cells["model"] == model]
        assert each["standardised_mse"].mean() == pytest.approx(metrics[model]["mse"], rel=0.02)
        by_variate = each.groupby("variate")["mae"].mean().to_numpy()
        listed = variates.loc[variates["model"] == model, "mae"].to_numpy()
        np.testing.assert_allclose(by_variate, listed, rtol=0.02)
        mean = horizon.loc[horizon["model"] == model, "mse"].mean()
        assert mean == pytest.approx(metrics[model]["mse"], rel=0.02)  # few targets are missing


def test_errors_by_variate_are_in_their_own_units(
    small: Params, project: Project, tmp_path: Path
) -> None:
    """Protects from standardised figures under the name of own units: ten times the data, ten
    times the absolute error."""
    table = make_table(missing=0.02)
    larger = Project(tmp_path)
    write_text(larger.params, project.params.read_text())
    replace(table, values=table.values * 10).write(larger.table)
    run_inject(larger, small)
    run_train(larger, small)
    run_baseline(larger, small)
    run_evaluate(larger, small)
    one, ten = (pd.read_csv(some.plots / "variates.csv") for some in (project, larger))
    np.testing.assert_allclose(ten["mae"], 10 * one["mae"], rtol=1e-3)


def test_the_receipt_tells_what_a_reader_needs(project: Project) -> None:
    """Protects the promise that every published figure can be checked."""
    receipt = json.loads(project.receipt.read_text())
    assert receipt["split"] == {"train": [0, 420], "validation": [420, 480], "test": [480, 600]}
    assert receipt["windows_scored"] == 115
    assert receipt["checkpoint_chosen_by"] == "validation MSE"
    for key in ("data", "window", "seeds", "fingerprint", "weights_sha256", "machine", "scaler"):
        assert receipt[key]


def test_scoring_again_gives_the_same_metrics(small: Params, project: Project) -> None:
    """Protects ``dvc repro`` and the nightly run from giving two answers."""
    written = [project.metrics, project.plots / "horizon.png", project.plots / "missing.png"]
    before = [path.read_bytes() for path in written]
    run_evaluate(project, small)
    assert [path.read_bytes() for path in written] == before


def test_the_page_is_whole_and_stands_alone(project: Project) -> None:
    """Protects the morning's reader from a broken page: nothing is fetched, nothing unescaped."""
    page = project.report.read_text()
    for text in (*MODELS, "v0", "Synthetic", "115 test windows", "&lt;at noon&gt;", "fingerprint"):
        assert text in page, text
    assert page.count("data:image/png;base64,") == 3
    assert "http://" not in page
    assert "https://" not in page


def test_the_season_that_is_repeated_is_the_one_on_record(small: Params, project: Project) -> None:
    """Protects from a baseline that repeats less than the receipt says, for it reads no further."""
    receipt, table = json.loads(project.receipt.read_text()), Table.read(project.table)
    assert receipt["season_steps"] == min(24, small.window.look_back)
    shorter = replace(small, window=replace(small.window, look_back=15, short_look_back=15))
    assert season_steps(table, shorter.window, shorter) == 15
    weekly = replace(shorter, evaluate=replace(small.evaluate, season=7))
    assert season_steps(table, weekly.window, weekly) == 7
