"""Figures in the README must be those of the results files."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks import grid_page, missing_page, searches_page, study_page, tables
from benchmarks.grid_results import Grid
from benchmarks.tables import (
    PERFORMANCE,
    README,
    benchmarks,
    has_grid,
    has_missing,
    insert,
    missing,
    missing_cells,
    performance,
    render,
    searches,
)
from s2tx.studies.collect import summary
from tests.conftest import ROOT


def test_the_pages_show_the_results_files() -> None:
    """Protects from a figure typed by hand, or left behind by a new run."""
    for path, text in ((README, render()), (PERFORMANCE, performance())):
        page = path.read_text(encoding="utf-8")
        assert insert(page, text) == page


def test_every_results_file_has_a_receipt() -> None:
    """Protects from a figure of unknown origin."""
    files = list((ROOT / "results").rglob("*.json"))
    assert files
    for file in files:
        record = json.loads(file.read_text(encoding="utf-8"))
        receipt, code = record["receipt"], record["receipt"]["code"]
        if file.stem in ("context", "gaps", "newest"):  # of cells that were looked at one by one
            assert all(each["receipt"]["code"]["commit"] for each in record["cells"]), file
        assert len((code["commit"] if isinstance(code, dict) else code).split("+")[0]) == 40, file
        assert receipt["machine"], file


def test_what_was_found_of_other_weights_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Protects a page from the map of a network that the grid no longer has."""
    grid = {"cells": {"ETTh1-96-best-1": {"weights_sha256": "a"}}}
    monkeypatch.setattr(tables, "_read", lambda _: grid)
    cell = {"data": "ETTh1", "horizon": 96, "recipe": "best", "seed": 1}
    ours = {"cell": cell, "weights_sha256": "a"}
    stale = {"cell": cell | {"seed": 2}, "weights_sha256": "a"}
    found = tables._of_the_grid({"receipt": {}, "cells": [ours, stale]})
    assert found == {"receipt": {}, "cells": [ours], "stale": ["ETTh1-96-best-2"]}
    assert tables._of_the_grid({"cells": [stale]}) is None
    assert tables._of_the_grid(None) is None
    assert any("ETTh1-96-best-2" in line for line in study_page.left_out(found))


def test_the_pages_of_the_studies_show_their_results() -> None:
    """Protects the pages from a figure typed by hand, or left behind by a new run."""
    if has_grid():
        assert grid_page.PAGE.read_text(encoding="utf-8") == benchmarks()
    if has_missing():
        assert missing_page.PAGE.read_text(encoding="utf-8") == missing()
        assert missing_page.CELLS.read_text(encoding="utf-8") == missing_cells()
    assert searches_page.PAGE.read_text(encoding="utf-8") == searches()


def cell(recipe: str, horizon: int, mse: float, seed: int = 1) -> dict[str, Any]:
    return {
        "data": "ETTh1", "horizon": horizon, "recipe": recipe, "seed": seed, "mse": mse,
        "mae": mse + 0.02, "look_back": 336, "windows": 2785, "seconds": 1.0, "machine": "cpu",
        "validation": {"mse": 1.0 - mse},
    }  # fmt: skip


def tree_of(cells: list[dict[str, Any]]) -> dict[str, Any]:
    named = {str(at): each for at, each in enumerate(cells)}
    return {"summary": summary(cells), "cells": named, "not_run": {}}


def some_grid() -> dict[str, Any]:
    cells = [cell("dlinear", 96, 0.370), cell("dlinear", 192, 0.500)]
    cells += [cell("best", 96, 0.360, 1), cell("best", 96, 0.370, 2), cell("best_none", 96, 0.4)]
    return tree_of(cells) | {
        "not_run": {"ETTh1-192-best-1": "not run yet", "ECL-96-best-1": "no file"},
        "recipes": ["dlinear", "best"],
        "receipt": {"machine": {"torch": "2"}},
    }


def test_cells_stand_with_their_seeds_gaps_and_what_was_not_run() -> None:
    """Protects the distrustful reader: no cell vanishes, no mean without its count."""
    page = grid_page.page(some_grid())
    assert "| 96 | 2785 | 0.370 / 0.390 | 0.365 ± 0.007 / 0.385 ± 0.007 (2 seeds) |" in page
    assert "| 192 | 2785 | 0.500 / 0.520 | not run |" in page
    assert "| average MSE |  | 0.435 | not run |" in page
    assert "+3.7%" in page  # 0.365 beside the best published 0.352
    assert "| dlinear | ETTh1 | 96 | 0.370 | 0.379 | -2.4% | better |" in page
    assert "| dlinear | ETTh1 | 192 | 0.500 | 0.408 | +22.5% | **no** |" in page
    assert "| look-back |  | 336 | 336 |" in page
    # Beside all seeds of the whole one.
    assert "| best_none | 0.400 / 0.420 | best | 0.4000 against 0.3650 | 1 / 2 | +9.6% |" in page
    # The validation of these cells runs against their test.
    assert "| `best_none` (0.600 -> 0.400) | `best` (0.640 -> 0.360) | +11.1% |" in page
    assert "- no file (1 cell): ECL best 96 (1)" in page
    assert "## ECL" not in page


def test_the_linear_baseline_stands_beside_its_solution() -> None:
    """Protects the verdict on DLinear: its own validation and test error, and of what is solved."""
    tree = some_grid()
    tree["cells"] = {"ETTh1-192-dlinear-1": tree["cells"]["1"]}
    solved = {
        "cell": {"data": "ETTh1", "horizon": 192, "recipe": "dlinear", "seed": 1},
        "validation": {"mse": 0.51},
        "test": {"mse": 0.4},
    }
    page = grid_page.page(tree, exact={"cells": [solved], "stale": ["ETTh1-336-dlinear-1"]})
    assert "| ETTh1 | 192 | 0.5000 -> 0.5000 | 0.5100 -> 0.4000 | +25.0% |" in page
    assert "Left out, as they were trained again since: ETTh1-336-dlinear-1." in page
    assert "solved for" not in grid_page.page(tree)


def test_a_part_stands_beside_the_recipe_it_is_a_part_of() -> None:
    """Protects from a change that is told against another recipe than the one that was changed."""
    cells = [cell("paper_s96", 96, 0.4), cell("paper_s96_no_cross", 96, 0.41)]
    tree = some_grid() | tree_of([*cells, cell("paper", 96, 0.3)]) | {"recipes": ["paper"]}
    page = grid_page.page(tree)
    told = (
        "| paper_s96_no_cross | 0.410 / 0.430 | paper_s96 | 0.4100 against 0.4000 | 1 / 1 | +2.5% |"
    )
    assert f"{told} 4.2% |" in page  # the noise of two single seeds: 1.96 * sqrt(2) * 0.015


def test_a_training_that_went_on_after_a_kill_says_nothing_of_its_cost() -> None:
    """Protects the table of times from the half that was left to do."""
    tree = some_grid()
    for at, each in tree["cells"].items():
        each["resumed"], each["seconds"] = at in "02", 100.0 + int(at)
    page = grid_page.page(tree)
    assert "| ETTh1 | 96 |  | 103 |" in page  # dlinear went on, of best one of two
    assert "| ETTh1 | 192 | 101 |  |" in page


def test_an_average_needs_every_horizon() -> None:
    """Protects from an average over the horizons that happened to run."""
    grid = Grid.of(some_grid())
    assert grid.average("ETTh1", "best") is None
    assert "| ETTh1 | 0.435 | not run |" in list(grid_page.readme(some_grid()))
