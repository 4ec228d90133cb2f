"""The search must choose on validation windows, within its budget, and hide no trial."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from s2tx.errors import InputError
from s2tx.params import Params
from s2tx.studies import search as room
from s2tx.studies.cell import Places
from s2tx.studies.search import path_of, propose, search, settings_of
from tests.conftest import ROOT

KEYS = {"train.learning_rate", "model.kernel"}


def quietly(study: Params, places: Places, folder: Path) -> dict[str, Any]:
    return search("Small", study, places, folder, note=lambda _: None)


def with_search(study: Params, **changes: Any) -> Params:
    changed = replace(study.study.search, **changes)
    return replace(study, study=replace(study.study, search=changed))


def test_the_budget_is_spent_and_every_trial_recorded(
    study: Params, places: Places, folder: Path
) -> None:
    """Protects the record: what was tried, with what came of it, and the lowest validation error
    as the winner."""
    record = quietly(study, places, folder)
    trials = record["trials"]
    assert len(trials) == record["budget"] == 5
    assert trials[0]["settings"] == study.study.search.first[0]
    assert len({json.dumps(trial["settings"], sort_keys=True) for trial in trials}) == 5
    for trial in trials:
        assert set(trial["settings"]) == KEYS
        errors = [trial["validation"][horizon]["mse"] for horizon in ("4", "6")]
        assert trial["value"] == pytest.approx(sum(errors) / 2)
    assert record["best"]["value"] == min(trial["value"] for trial in trials)
    assert record["best"]["settings"]["train.learning_rate"] != 1e-5
    assert json.loads(path_of(places, "Small").read_text()) == record


def test_no_test_window_is_read(
    study: Params, places: Places, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects from choosing by the test windows: with other rows there, nothing changes."""
    first = quietly(study, places, folder)
    original = room.bring

    def other(*arguments: Any) -> Any:
        table = original(*arguments)
        values = table.values.copy()
        values[720:] = 1e6
        return replace(table, values=values)

    monkeypatch.setattr(room, "bring", other)
    path_of(places, "Small").unlink()
    second = quietly(study, places, folder)
    values = [trial["value"] for trial in second["trials"]]
    assert [trial["value"] for trial in first["trials"]] == pytest.approx(values, rel=1e-4)


def test_a_killed_search_goes_on_as_if_it_had_not_been(
    study: Params, places: Places, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the trials before the kill, and the proposals after it from depending on it."""
    whole = quietly(study, places, folder)
    path_of(places, "Small").unlink()
    quietly(with_search(study, trials={"Small": 3}), places, folder)
    tried = []
    original = room._try
    monkeypatch.setattr(room, "_try", lambda *args: tried.append(args) or original(*args))
    again = quietly(study, places, folder)
    assert len(tried) == 2
    assert [trial["settings"] for trial in again["trials"]] == [
        trial["settings"] for trial in whole["trials"]
    ]
    assert quietly(study, places, folder) == again
    assert len(tried) == 2


def test_trials_of_other_settings_or_code_do_not_count(
    study: Params, places: Places, folder: Path
) -> None:
    """Protects from a winner that was found under another recipe."""
    small = with_search(study, trials={"Small": 2})
    quietly(small, places, folder)
    recipe = replace(study.study.recipes["dlinear"], train={"epochs": 1})
    recipes = {**study.study.recipes, "dlinear": recipe}
    other = replace(small, study=replace(small.study, recipes=recipes))
    trials = quietly(other, places, folder)["trials"]
    assert len(trials) == 2
    assert {trial["validation"]["4"]["epochs"] for trial in trials} == {1}
    wider = {**study.study.search.space, "train.epochs": (1, 2)}
    moved = with_search(other, space=wider, first=())
    trials = quietly(moved, places, folder)["trials"]
    assert len(trials) == 2
    assert all(set(trial["settings"]) == set(wider) for trial in trials)


def test_a_trial_that_fails_is_recorded_and_never_wins(
    study: Params, places: Places, folder: Path
) -> None:
    """Protects from a diverged training that ends the search, or leads it."""
    space = {"train.learning_rate": (1e30, 0.003), "model.kernel": (5,)}
    first = ({"train.learning_rate": 1e30, "model.kernel": 5},)
    record = quietly(with_search(study, space=space, first=first), places, folder)
    failed, fine = record["trials"]  # and the space is exhausted before the budget
    assert failed["value"] is None
    assert failed["failed"].startswith("the loss is")
    assert record["best"]["settings"] == fine["settings"]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("first", "named"),
    [
        ({"train.learning_rate": 0.003}, r"first\.0 has model\.kernel = None"),
        ({"train.learning_rate": 0.5, "model.kernel": 5}, r"has train\.learning_rate = 0\.5"),
        (
            {"train.learning_rate": 0.003, "model.kernel": 5, "model.width": 1},
            r"first\.0\.model\.width is not in study\.search\.space",
        ),
    ],
)
def test_first_settings_outside_the_space_are_named(
    study: Params, places: Places, folder: Path, first: dict[str, Any], named: str
) -> None:
    """Protects the sampler from a traceback about settings it cannot hold."""
    with pytest.raises(InputError, match=named):
        quietly(with_search(study, first=(first,)), places, folder)


@pytest.mark.usefixtures("folder")
def test_a_data_set_without_a_budget_is_named(study: Params, places: Places, folder: Path) -> None:
    """Protects from a search without an end, or none at all."""
    with pytest.raises(InputError, match="no budget for Gone"):
        search("Gone", study, places, folder, note=lambda _: None)


@pytest.mark.usefixtures("folder")
def test_a_key_that_is_no_setting_is_named(study: Params, places: Places, folder: Path) -> None:
    """Protects from a search over nothing."""
    other = with_search(study, space={"model.kernels": (3, 5)}, first=())
    with pytest.raises(InputError, match=r"model\.kernels"):
        quietly(other, places, folder)


def test_every_setting_of_the_projects_space_fits(params: Params) -> None:
    """Protects days of search from a choice that the model refuses in the last trial."""
    wanted = params.study.search
    for data in wanted.trials:
        for settings in wanted.first:
            settings_of(data, dict(settings), params)
        base = propose(replace(wanted, first=()), [])
        assert base is not None
        for key, choices in wanted.space.items():
            for choice in choices:
                settings_of(data, base | {key: choice}, params)


def test_the_recipe_holds_what_the_search_found(params: Params) -> None:
    """Protects ``best`` from settings typed by hand: they are those of the lowest validation error
    on record."""
    wanted = params.study.search
    chosen = params.study.recipes[wanted.recipe].data_sets
    for data in wanted.trials:
        record = json.loads((ROOT / "results" / "search" / f"{data}.json").read_text())
        assert record["space"] == {key: list(choices) for key, choices in wanted.space.items()}
        settings = record["best"]["settings"]
        assert {key: chosen[data][key] for key in wanted.space} == settings
