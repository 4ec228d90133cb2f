"""The page of missing values must show what was measured, against the right clean figure."""

from __future__ import annotations

from typing import Any

from benchmarks import missing_page


def record(
    recipe: str, clean: float, scores: dict[tuple[str, float, str], float], **changes: Any
) -> dict[str, Any]:
    """One cell of ETTh1-96; scores by pattern, rate and fill."""
    cell = {"data": "ETTh1", "horizon": 96, "recipe": recipe, "seed": changes.pop("seed", 1)}
    lines = [
        {"pattern": pattern, "rate": rate, "steps": 24, "fill": fill, "mse": mse}
        for (pattern, rate, fill), mse in scores.items()
    ]
    figures = {"protocol": "test", "clean": {"mse": clean}, "scores": lines, "earlier_code": False}
    return {"cell": cell} | figures | changes


def some() -> dict[str, Any]:
    blocks = ("block", 0.4, "mask")
    return {
        "cells": [
            record("best_masked", 0.40, {blocks: 0.404, ("sensor", 0.4, "mask"): 0.5}),
            record("best_masked", 0.42, {blocks: 0.4368}, seed=2),
            record("best", 0.41, {blocks: 0.451}),
            record("paper", 0.40, {blocks: 0.48, ("block", 0.4, "linear"): 0.416}),
            record("paper", 0.80, {blocks: 0.96, ("block", 0.4, "linear"): 0.832}, seed=2),
            record("paper", 0.44, {blocks: 0.46}, protocol="trained"),
        ],
        "not_run": {"ETTh2-96-best-1": "no weights"},
        "seed": 7,
    }


def draws(fill: str, *drawn: tuple[int, float, float]) -> list[dict[str, Any]]:
    """Blocks at 40 % under several masks: seed, what is hidden, MSE."""
    return [
        {"pattern": "block", "rate": 0.4, "steps": 24, "fill": fill}
        | {"seed": seed, "hidden": hidden, "mse": mse}
        for seed, hidden, mse in drawn
    ]


def test_rises_are_over_each_seeds_own_clean_figure_and_claims_are_judged() -> None:
    """Protects the claims: a rise over another recipe's figure, or one lucky fill, would not do."""
    page = missing_page.page(some(), ["best_masked", "best"])
    # Seeds: +1.0 % and +4.0 %.
    told = "`best_masked`, told what is missing, loses at most 2% (test, mask)"
    assert f"| {told} | +2.5% | no (one mask) |" in page
    assert (
        "| `best`, told what is missing, loses at most 2% (test, mask) | +10.0% | no (one" in page
    )
    assert "beside `best` on complete data, ETTh1-96 | -2.4% | yes |" in page
    paper = "test, mask: +20.0%; test, linear: +4.0%; trained, mask: +15.0%"
    assert f"{paper} | under one mask: test, linear |" in page
    assert "| `sst` loses at most 13.4%, as the paper says" in page
    assert "in one of these ways |  | not run |" in page


def test_a_claim_is_judged_over_the_masks_that_were_drawn() -> None:
    """Protects a verdict from the one mask under which it holds."""
    tree = some()
    tree["cells"][0]["draws"] = draws("mask", (7, 0.382, 0.404), (8, 0.41, 0.416))
    tree["cells"][3]["draws"] = draws("mask", (8, 0.41, 0.44), (9, 0.4, 0.42))  # in part
    page = missing_page.page(tree, ["best_masked", "best"])
    assert "loses at most 2% (test, mask) | +2.5% ± 2.1% (2 masks) | no |" in page
    assert "| recipe | seeds | fill | mask 7 | mask 8 | mask 9 | mean |" in page
    assert "| `best_masked` | 1 | mask | +1.0% (38.2%) | +4.0% (41.0%) |  | +2.5% ±" in page
    assert "| `paper` | 1 | mask |  | +10.0% (41.0%) | +5.0% (40.0%) | +7.5% ±" in page
    # Of the first mask, under which all else was scored, a reader must know that it is mild.
    assert "has the lowest rise in 1 of 1 rows (which share their masks); the mean over the" in page


def test_no_seed_is_lost_where_several_were_scored_under_the_masks() -> None:
    """Protects a mean over masks from being of whichever weights came last."""
    tree = some()
    second = record("best_masked", 0.50, {("block", 0.4, "mask"): 0.5})
    second["cell"] = second["cell"] | {"seed": 2}
    tree["cells"].append(second | {"draws": draws("mask", (7, 0.382, 0.6), (8, 0.41, 0.5))})
    tree["cells"][0]["draws"] = draws("mask", (7, 0.382, 0.404), (8, 0.41, 0.416))
    page = missing_page.page(tree, ["best_masked", "best"])
    assert "| `best_masked` | 1, 2 | mask | +10.5% (38.2%) | +2.0% (41.0%) |" in page


def test_estimates_are_compared_in_front_of_every_model_and_under_the_same_masks() -> None:
    """Protects the reader from taking for the network's merit what its estimates give to any."""
    tree = some()
    given = ("block", 0.4, "infill")
    tree["cells"][2] = record("best", 0.40, {given: 0.42})
    tree["cells"] += [
        record("dlinear", 0.40, {given: 0.41}),
        record("sst", 0.40, {given: 0.4})
        | {"draws": draws("infill", (8, 0.4, 0.7), (9, 0.4, 0.1))},
    ]
    tree["cells"][2]["draws"] = draws("infill", (7, 0.4, 0.6), (8, 0.4, 0.6))
    page = missing_page.page(tree, ["best_masked", "best"])
    same = "where both are given its estimates (test, infill)"
    told = f"`best` loses less than `dlinear` {same} | +5.0% against +2.5% | one mask, not told |"
    assert told in page
    # Of SST the masks that both were scored under: the eighth alone.
    told = f"`best` loses less than `sst` {same} | +50.0% against +75.0% | one mask, not told |"
    assert told in page
    tree["cells"][-1]["draws"] = draws("infill", (7, 0.4, 0.61), (8, 0.4, 0.59))
    page = missing_page.page(tree, ["best_masked", "best"])
    assert "| cannot be told: under 1 of 2 masks |" in page
    assert "`best` loses less than `patchtst`" not in page


def test_parts_are_told_by_what_their_change_costs() -> None:
    """Protects the sentence from saying more than the table."""
    page = missing_page.page(some(), ["best_masked", "best", "masked_no_input"])
    assert "| `best` | 0.4100 | +10.0% |" in page
    assert "moves the rise of +1.0% by so many points: `best` +9.0. The most is lost by" in page


def test_the_answer_is_drawn_only_where_the_figures_bear_it_out() -> None:
    """Protects the conclusion from outliving its figures."""
    for of_input, drawn in ((0.405, True), (0.44, False)):
        tree = some()
        for recipe, mse in (
            ("masked_no_statistics", 0.48),
            ("masked_no_infill", 0.42),
            ("masked_no_others", 0.412),
            ("masked_no_input", of_input),
        ):
            tree["cells"].append(record(recipe, 0.40, {("block", 0.4, "mask"): mse}))
        parts = ["best_masked", "masked_no_statistics", "masked_no_infill", "masked_no_others"]
        page = missing_page.page(tree, [*parts, "masked_no_input"])
        assert "take the rise from +5.0% to +1.0%, to +3.0% from their own variate alone" in page
        assert "observed values alone take it from +20.0% to +5.0%; where" in page
        assert ("decides" in page) is drawn


def test_what_was_not_run_stands_with_its_reason() -> None:
    """Protects from cells that vanish."""
    page = missing_page.page(some(), ["best_masked"])
    assert "- no weights: ETTh2-96-best-1" in page
    assert "| ETTh1-96 | `paper` | 40% | 1 | 0.4600 | +15.0% | 0.4400 |" in page


def test_the_share_of_empty_patches_stands_with_their_number() -> None:
    """Protects the map's table from a share without what it is a share of."""
    found = {"map": [[1.0, 0.0, 0.0]], "empty": [False, True, False], "share_of_empty": 0.125}
    cell = {"data": "ETTh1", "horizon": 96, "recipe": "best", "seed": 1}
    gaps = {
        "receipt": {"command": "python -m s2tx.studies.gaps --cells x", "protocol": "64 windows"},
        "cells": [{"cell": cell, "local": found}],
    }
    page = missing_page.page(some(), ["best_masked"], gaps)
    assert "`python -m s2tx.studies.gaps`: 64 windows." in page
    assert "| `ETTh1-96-best-1` | 12.5% (1 of 3) |  |" in page


def test_the_gap_next_to_the_forecast_is_told_apart() -> None:
    """Protects the sentence about the aim: rises are of this network's complete inputs, and a mask
    counts as beyond the aim by what forecasting further costs."""
    cell = {"data": "ETTh1", "horizon": 192, "recipe": "best", "seed": 1}
    masks = [
        {"pattern": "block", "rate": 0.4, "seed": 7, "gap": 12.0}
        | {"all": 0.42, "longer": 0.416, "newest": 0.404, "others": 0.408, "further": further}
        for further in (0.407, 0.411)
    ]
    masks[1] |= {"seed": 8}
    newest = {
        "receipt": {"command": "python -m s2tx.studies.newest --cells x", "protocol": "windows"},
        "cells": [{"cell": cell, "steps": 96, "complete": 0.4, "masks": masks}],
    }
    page = missing_page.page(some(), ["best_masked"], newest=newest)
    shown = "12.0 | +5.0% | +4.0% | +1.0% | +2.0% | +1.7% |"
    assert f"| ETTh1-192 `best` | 1 | block 40%, mask 7 | {shown}" in page
    assert "costs +2.2% ± 0.7%, more than 2% under 1 of 2 masks; estimates, and what" in page
    assert "save more than half of it under 1 of 2." in page
    masks[0]["newest"] = masks[1]["newest"] = 0.408
    assert "half of it under 0 of 2." in missing_page.page(some(), ["best_masked"], newest=newest)
    other = {"cell": cell | {"seed": 2}, "steps": 96, "complete": 0.42, "masks": masks}
    newest["cells"].append(other)  # type: ignore[attr-defined]
    page = missing_page.page(some(), ["best_masked"], newest=newest)
    assert "| ETTh1-192 `best` | 2 | block 40%, mask 7 | 12.0 | +2.5% |" in page
    other["masks"] = [masks[1] | {"seed": 9}, masks[0]]  # of another protocol: what both have
    page = missing_page.page(some(), ["best_masked"], newest=newest)
    assert "| ETTh1-192 `best` | 2 | block 40%, mask 7 | 12.0 | +2.5% |" in page
    assert "mask 8" not in page
