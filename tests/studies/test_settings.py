"""A cell must be exactly what params say, and be another cell as soon as they say otherwise."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest

from s2tx.errors import InputError
from s2tx.params import ModelParams, Params, as_dict
from s2tx.specs import NaiveParams, SSTParams
from s2tx.studies import settings
from s2tx.studies.settings import Cell, order, resolve
from s2tx.study_params import RecipeParams


def with_recipe(study: Params, **changes: object) -> Params:
    recipe = replace(study.study.recipes["dlinear"], **changes)  # type: ignore[arg-type]
    recipes = {**study.study.recipes, "dlinear": recipe}
    return replace(study, study=replace(study.study, recipes=recipes, searches=()))


def test_every_recipe_of_the_project_fits(params: Params) -> None:
    """Protects a night on a GPU from a typo in the last recipe."""
    for cell in order(params.study):
        setting = resolve(cell, params)
        assert setting.params.window.horizon == cell.horizon
        assert setting.train.seed == cell.seed
        assert setting.params.validate.sentinels == ()


def test_the_order_is_that_of_worth(params: Params) -> None:
    """Protects the order in which days of work become useful."""
    cells = order(params.study)
    assert {cell.recipe for cell in cells[:8]} == set(params.study.compared)
    first = [cell for cell in cells if cell.data == "ETTh1"]
    once = len(params.study.compared) * 4
    assert {cell.seed for cell in cells[:once]} == {2024}
    assert {(cell.data, cell.recipe) for cell in cells[once : once + 16]} == {
        ("ETTh1", "best"),
        ("ETTh1", "paper"),
    }
    assert cells[once + 16].data == "ETTh2"
    parts = set(params.study.recipes) - set(params.study.compared)
    compared = [cell for cell in first if cell.recipe not in parts]
    assert len(compared) == (6 * 3 + 2) * 4  # what nothing is drawn for has one seed
    rival = {(cell.data, cell.horizon) for cell in cells if cell.recipe == "patchtst_dropout"}
    assert len(rival) == 8  # wherever `best` was searched
    ours = parts - {"patchtst_dropout"}
    taken_apart = {(cell.data, cell.horizon) for cell in cells if cell.recipe in ours}
    assert taken_apart == {("ETTh1", 96), ("ETTh1", 720)}


def test_a_recipe_of_the_attribution_has_the_named_part_changed_and_no_other(
    params: Params,
) -> None:
    """Protects the worth of a part from being the worth of nothing, or of two: a search may switch
    on what a recipe switches on."""
    whole, plain, *parts = params.study.missing.parts
    complete = resolve(Cell("ETTh1", 96, whole, 2024), params)
    assert complete.spec == resolve(Cell("ETTh1", 96, plain, 2024), params).spec
    own = as_dict(complete.spec)
    changed = {}
    for name in parts:
        setting = resolve(Cell("ETTh1", 96, name, 2024), params)
        assert (setting.train, setting.params.window) == (complete.train, complete.params.window)
        fields = as_dict(setting.spec)
        changed[name] = {key for key in own if fields[key] != own[key]}
    assert changed == {
        "masked_no_infill": {"infill"},
        "masked_no_others": {"infill_variates"},
        "masked_no_statistics": {"infill", "masked_revin"},
        "masked_no_input": {"mask_input"},
        "masked_skip": {"skip_missing"},
        "masked_no_joint": {"cross_variate"},
        "masked_cross": {"cross_attention"},
    }


def test_a_recipe_named_after_another_changes_one_part_of_it(params: Params) -> None:
    """Protects the worth of a part on ETTh1 from the worth of two, and from none where a search
    took up what the recipe changes."""
    changed: dict[str, set[str]] = {}
    names = list(params.study.recipes)
    for name in names:
        wholes = [whole for whole in names if name.startswith(f"{whole}_")]
        if not wholes:
            continue
        one, other = (
            as_dict(setting.spec) | as_dict(setting.train) | as_dict(setting.params.window)
            for setting in (
                resolve(Cell("ETTh1", 96, each, 2024), params)
                for each in (name, max(wholes, key=len))
            )
        )
        changed[name] = {key for key in other if one[key] != other[key]}
    assert changed == {
        "paper_no_cross": {"cross_attention"},
        "paper_no_joint": {"cross_variate"},
        "paper_time_major": {"time_major"},
        "paper_s96": {"short_look_back"},
        "paper_s96_no_cross": {"cross_attention"},
        "paper_short": {"look_back"},
        "best_no_linear": {"linear_member"},
        "best_masked": {"masking"},
        "patchtst_dropout": {"dropout"},
    }


def test_the_named_recipes_are_what_they_say(params: Params) -> None:
    """Protects the two claims that stand side by side: the paper's model, and ours at its best."""
    paper = resolve(Cell("ETTh1", 720, "paper", 2025), params)
    assert isinstance(paper.spec, ModelParams)
    parts = ("head_context", "linear_member", "time_major", "variate_embedding", "season")
    for ours in (*parts, "infill", "mask_input", "skip_missing"):
        assert not getattr(paper.spec, ours), ours
    assert (paper.params.window.look_back, paper.params.window.short_look_back) == (672, 336)
    for other in ("sst", "patchtst", "best"):  # an equal budget: what differs is the network
        train = resolve(Cell("ETTh1", 720, other, 2025), params).train
        assert replace(train, learning_rate=paper.train.learning_rate) == paper.train
    best = resolve(Cell("ETTh1", 720, "best", 2025), params)
    assert isinstance(best.spec, ModelParams)
    assert best.spec != paper.spec
    sst = resolve(Cell("ETTh1", 96, "sst", 2024), params).spec
    assert isinstance(sst, SSTParams)
    assert not sst.inverted_window
    season = resolve(Cell("Weather", 96, "seasonal_naive", 2024), params).spec
    assert season == NaiveParams("naive", 144)


@pytest.mark.usefixtures("folder")
def test_a_data_set_has_its_own_settings(study: Params) -> None:
    """Protects from settings of one data set reaching another."""
    own = with_recipe(study, data_sets={"Small": {"train.epochs": 9, "model.kernel": 7}})
    here = resolve(Cell("Small", 4, "dlinear", 1), own)
    there = resolve(Cell("Gone", 4, "dlinear", 1), own)
    assert (here.train.epochs, here.spec.kernel) == (9, 7)  # type: ignore[union-attr]
    assert (there.train.epochs, there.spec.kernel) == (3, 5)  # type: ignore[union-attr]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"train": {"epoch": 3}}, "study.recipes.dlinear.train.epoch is not a setting"),
        ({"train": {"epochs": "3"}}, "study.recipes.dlinear.train.epochs is '3'"),
        ({"train": {"epochs": 0}}, "study.recipes.dlinear.train.epochs is 0"),
        ({"model": {"name": "dlinear"}}, "study.recipes.dlinear.model.kernel is missing"),
        ({"model": {"name": "oracle"}}, "study.recipes.dlinear.model.name is 'oracle'"),
        ({"window": {"look_back": 1}}, "study.recipes.dlinear.window.short_look_back is 24"),
        ({"data_sets": {"Smal": {}}}, "study.recipes.dlinear.data_sets has Smal: no such data set"),
        ({"data_sets": {"Small": {"epochs": 3}}}, "data_sets.Small.epochs is not a setting"),
    ],
)
def test_a_fault_in_a_recipe_is_named(
    study: Params, changes: dict[str, object], named: str
) -> None:
    """Protects from an override that silently does nothing."""
    with pytest.raises(InputError) as caught:
        resolve(Cell("Small", 4, "dlinear", 1), with_recipe(study, **changes))
    assert named in str(caught.value)


@pytest.mark.usefixtures("folder")
def test_a_cells_key_changes_with_recipe_code_and_data(
    study: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects from a figure that outlives what made it; the machine changes nothing."""
    cell = Cell("Small", 4, "dlinear", 1)
    setting = resolve(cell, study)
    key = setting.key
    assert resolve(cell, study).key == key
    elsewhere = replace(study, runtime=replace(study.runtime, device="cuda", threads=1))
    assert resolve(cell, elsewhere).key == key
    assert resolve(replace(cell, seed=2), study).key != key
    for changes in ({"train": {"epochs": 4}}, {"window": {"look_back": 40}}):
        assert resolve(cell, with_recipe(study, **changes)).key != key
    other = replace(setting, entry=replace(setting.entry, sha256="0" * 64))
    assert other.key != key
    monkeypatch.setattr(settings, "running_code", lambda _: "edited")
    assert setting.key != key


def test_a_name_is_its_cell() -> None:
    """Protects ``s2tx audit`` and the file names."""
    cell = Cell("ETTh1", 96, "seasonal_naive", 2024)
    assert Cell.of_name(cell.name) == cell
    with pytest.raises(InputError, match="no cell of the grid"):
        Cell.of_name("ETTh1-96")


def test_recipes_are_data(params: Params) -> None:
    """Protects recipes from becoming code: they are plain scalars under plain keys."""
    for recipe in params.study.recipes.values():
        assert isinstance(recipe, RecipeParams)
        for section in dataclasses.asdict(recipe).values():
            assert isinstance(section, dict)


def test_what_is_trained_by_default_is_the_recipe_that_is_published(params: Params) -> None:
    """Protects a user from a model that no figure of ours speaks of."""
    best = resolve(Cell("ETTh2", params.window.horizon, "best", params.train.seed), params)
    assert (best.spec, best.train, best.params.window) == (
        params.model,
        params.train,
        params.window,
    )


def test_a_users_own_settings_change_no_recipe(params: Params) -> None:
    """Protects the published cells from what somebody trains: a recipe says all that it means."""
    own = replace(
        params,
        window=replace(params.window, look_back=480, short_look_back=96, horizon=24),
        model=replace(params.model, width=8, dropout=0.2, infill_season=12),
        train=replace(params.train, epochs=1, batch_size=16, seed=1),
    )
    for recipe in params.study.recipes:
        cell = Cell("ETTh1", 96, recipe, 2024)
        assert resolve(cell, own).key == resolve(cell, params).key, recipe
