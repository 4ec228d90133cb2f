"""The maps must be those of the attention that computes the forecast."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from s2tx.errors import InputError
from s2tx.params import Params
from s2tx.studies.cell import Places
from s2tx.studies.gaps import Watched, examine
from s2tx.studies.grid import Selection, run, select, settings_of
from s2tx.study_params import RecipeParams
from tests.studies.test_context import build, windows

GAP = (24, 6)


def test_shares_are_those_of_the_forecast_and_change_nothing(params: Params) -> None:
    """Protects the maps from another formula than the network's: with the values weighted by these
    shares, the forecast is the same."""
    network, x = build(params, skip_missing=True), windows(params)
    observed = torch.ones_like(x, dtype=torch.bool)
    observed[:, 20:40] = False
    expected = network(x, observed)
    with Watched() as watched:
        torch.testing.assert_close(network(x, observed), expected)
    assert len(watched.shares) == 2 * len(network.local_path.blocks)
    for each in watched.shares:
        torch.testing.assert_close(each.sum(dim=-1), torch.ones(each.shape[:-1]))


def test_empty_patches_have_no_share_once_they_are_no_keys(
    study: Params, places: Places, folder: Path
) -> None:
    """Protects the claim that a skipped patch is not read, end to end; without it, it is."""
    recipes = {
        name: RecipeParams({"skip_missing": name == "skips"}, {"epochs": 1, "stride": 8}, {}, {})
        for name in ("skips", "reads")
    }
    both = replace(
        study, study=replace(study.study, recipes=recipes, compared=tuple(recipes), searches=())
    )
    both = replace(both, study=replace(both.study, first=()))
    cells = select(settings_of(both), Selection(("Small",), (6,), (), (1,)))
    list(run(cells, places, folder, lambda _: None))
    for kind in ("cross", "local"):
        skips, reads = (
            examine(f"Small-6-{name}-1", both, places, folder, GAP)[kind] for name in recipes
        )
        assert skips["empty"] == reads["empty"]
        assert any(skips["empty"])
        if kind == "cross":
            assert skips["share_of_empty"] < 1e-6
        assert reads["share_of_empty"] > skips["share_of_empty"] + 0.05


def test_a_cell_without_attention_to_map_is_named(
    study: Params, places: Places, folder: Path
) -> None:
    """Protects from a traceback where a baseline is asked about."""
    cells = select(settings_of(study), Selection(("Small",), (4,), ("naive",), ()))
    list(run(cells, places, folder, lambda _: None))
    with pytest.raises(InputError, match="Small-4-naive-1 is no S2TX"):
        examine("Small-4-naive-1", study, places, folder, GAP)
