"""The search must choose on validation windows, within its budget, and hide no trial."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s2tx.errors import InputError
from s2tx.fingerprint import of_json
from s2tx.params import Params
from s2tx.studies import search as room
from s2tx.studies.cell import Places
from s2tx.studies.search import (
    _confidence,
    _judge,
    _selected,
    path_of,
    propose,
    search,
    settings_of,
)
from s2tx.studies.settings import resolve
from tests.conftest import ROOT
from tests.studies.conftest import SEARCH

KEYS = {"train.learning_rate", "model.kernel"}


def quietly(study: Params, places: Places, folder: Path) -> dict[str, Any]:
    return search(study.study.searches[0], "Small", study, places, folder, note=lambda _: None)


def with_search(study: Params, **changes: Any) -> Params:
    changed = replace(study.study.searches[0], **changes)
    return replace(study, study=replace(study.study, searches=(changed,)))


def test_the_budget_is_spent_and_every_trial_recorded(
    study: Params, places: Places, folder: Path
) -> None:
    """Protects the record: what was tried, with what came of it, and who was the champion."""
    record = quietly(study, places, folder)
    trials = record["trials"]
    assert len(trials) == record["budget"] == 5
    assert trials[0]["settings"] == {"train.learning_rate": 1e-5, "model.kernel": 3}
    assert len({json.dumps(trial["settings"], sort_keys=True) for trial in trials}) == 5
    for trial in trials:
        assert set(trial["settings"]) == KEYS
        errors = [trial["validation"][horizon]["mse"] for horizon in ("4", "6")]
        assert trial["value"] == pytest.approx(sum(errors) / 2)
        for horizon, blocks in trial["block_mse"].items():
            error = trial["validation"][horizon]["mse"]
            assert sum(blocks) / len(blocks) == pytest.approx(error, rel=0.02)
    assert [trial["promoted"] for trial in trials[:2]] == [True, True]  # 1e-5 hardly learns
    champions = [trial for trial in trials if trial["promoted"]]
    assert record["best"] == {key: champions[-1][key] for key in ("settings", "value")}
    assert record["best"]["settings"]["train.learning_rate"] != 1e-5
    assert json.loads(path_of(places, "dlinear", "Small").read_text()) == record


def test_a_long_horizon_counts_as_much_as_a_short_one() -> None:
    """Protects horizons with few stretches: the error that is compared is the mean over horizons,
    and the confidence must be of the same."""
    short = np.full(30, -0.03) + np.linspace(-0.001, 0.001, 30)
    long = np.array([0.30, 0.29, 0.31])
    assert _confidence([short, long]) > 0.99
    assert _confidence([-short, -long]) < 0.01
    assert _confidence([short, long / 20]) < 0.01


@pytest.mark.parametrize("counts", [(30, 3), (30,), (3, 3)])
def test_luck_wins_as_seldom_as_the_confidence_says(counts: tuple[int, ...]) -> None:
    """Protects the plain settings from a test that is too sure of a few stretches."""
    random = np.random.default_rng(0)
    won = [
        _confidence(
            [random.normal(0, spread, n) for n, spread in zip(counts, (1, 3), strict=False)]
        )
        >= 0.9
        for _ in range(2000)
    ]
    assert 0.07 < np.mean(won) < 0.13


def test_a_single_stretch_proves_nothing() -> None:
    """Protects short validations, where the spread of the gain cannot be told."""
    assert _confidence([np.full(30, 1.0), np.array([1.0])]) == 0.0
    assert _confidence([np.zeros(3), np.zeros(3)]) == 0.0


def test_records_that_were_set_aside_bear_the_hash_of_their_contents() -> None:
    """Protects earlier searches from being edited without a trace."""
    for path in (ROOT / "results" / "search" / "earlier").glob("*.json"):
        record = json.loads(path.read_text())
        assert path.stem.rpartition("-")[2] == of_json(record)[:12], path.name


@pytest.mark.parametrize(
    ("spread", "value", "wanted", "promoted"),
    [
        (0.001, 0.48, 0.9, True),
        (0.2, 0.48, 0.9, False),  # lower, but not sure
        (0.2, 0.48, 0.0, True),  # a baseline has the benefit of the doubt
        (0.2, 0.51, 0.0, False),  # but not of a higher error
    ],
)
def test_a_lower_error_must_be_as_sure_as_the_search_wants(
    spread: float, value: float, wanted: float, promoted: bool
) -> None:
    """Protects the plain settings of `best`, as the lowest of many errors on few windows is often
    luck, and baselines from being held back by the same rule."""
    noise = spread * np.resize([1.0, -1.0], 20)
    champion = {"value": 0.5, "block_mse": {"4": [0.5] * 20}}
    trial = {"value": value, "block_mse": {"4": list(value + noise)}}
    assert _judge(trial, champion, wanted)["promoted"] is promoted


def test_each_challenger_differs_from_the_champion_in_one_setting(
    study: Params, places: Places, folder: Path
) -> None:
    """Protects the search from leaving a change of the champion untried before the sampler."""
    trials = quietly(study, places, folder)["trials"]
    champion = trials[0]["settings"]
    for trial in trials[1:4]:
        changed = [key for key in KEYS if trial["settings"][key] != champion[key]]
        assert len(changed) == 1
        champion = trial["settings"] if trial["promoted"] else champion


def test_barred_settings_are_never_tried(study: Params, places: Places, folder: Path) -> None:
    """Protects a recipe from a winner that is no longer what its name says."""
    barred = {"train.learning_rate": 0.003, "model.kernel": 5}
    wanted = with_search(study, barred=(barred,), trials=6)
    record = quietly(wanted, places, folder)
    assert len(record["trials"]) == 5  # all that are left of six
    assert all(trial["settings"] != barred for trial in record["trials"])
    for wrong in ({"model.kernels": 5}, {"model.kernel": 4}):
        with pytest.raises(ValueError, match=r"barred\.0\.model\.kernel"):
            with_search(study, barred=(wrong,))
    with pytest.raises(ValueError, match="leave the first choices"):
        with_search(study, barred=({"model.kernel": 3},))


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
    path_of(places, "dlinear", "Small").unlink()
    second = quietly(study, places, folder)
    for one, other in zip(first["trials"], second["trials"], strict=True):
        assert one["value"] == pytest.approx(other["value"], rel=1e-4)
        assert one["promoted"] == other["promoted"]
        for horizon, blocks in one["block_mse"].items():
            assert blocks == pytest.approx(other["block_mse"][horizon], rel=1e-4)


def test_a_killed_search_goes_on_as_if_it_had_not_been(
    study: Params, places: Places, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the trials before the kill, and the proposals after it from depending on it."""
    whole = quietly(study, places, folder)
    path_of(places, "dlinear", "Small").unlink()
    quietly(with_search(study, trials=3), places, folder)
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
    assert not (path_of(places, "dlinear", "Small").parent / "earlier").exists()


def test_what_another_search_trained_is_not_trained_again(
    study: Params, places: Places, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects hours from a space that is drawn anew, and the order of trials from what was known:
    they are those of a search that starts from nothing."""
    quietly(study, places, folder)
    turned = {key: choices[::-1] for key, choices in study.study.searches[0].space.items()}
    other = with_search(study, space=turned, trials=6)
    trained: list[Any] = []
    attempt = room._try
    monkeypatch.setattr(room, "_try", lambda *a: trained.append(a) or attempt(*a))
    record = quietly(other, places, folder)
    assert len(record["trials"]) == 6  # the whole space
    assert len(trained) == 1
    assert record["trials"][0]["settings"] == {"train.learning_rate": 0.01, "model.kernel": 5}
    assert record["trials"][0]["promoted"]
    assert quietly(study, places, folder)["trials"][0]["settings"]["train.learning_rate"] == 1e-5
    assert len(trained) == 1


def test_trials_of_other_settings_or_code_do_not_count(
    study: Params, places: Places, folder: Path
) -> None:
    """Protects from a winner that was found under another recipe, and what was tried before from
    being lost."""
    small = with_search(study, trials=2)
    first = quietly(small, places, folder)
    recipe = replace(study.study.recipes["dlinear"], train={"epochs": 1})
    recipes = {**study.study.recipes, "dlinear": recipe}
    other = replace(small, study=replace(small.study, recipes=recipes))
    trials = quietly(other, places, folder)["trials"]
    assert len(trials) == 2
    assert {trial["validation"]["4"]["epochs"] for trial in trials} == {1}
    wider = {**study.study.searches[0].space, "train.epochs": (1, 2)}
    moved = with_search(other, space=wider)
    trials = quietly(moved, places, folder)["trials"]
    assert len(trials) == 2
    assert all(set(trial["settings"]) == set(wider) for trial in trials)
    earlier = path_of(places, "dlinear", "Small").parent / "earlier"
    kept = [json.loads(each.read_text()) for each in earlier.iterdir()]
    assert kept == [first]  # what the second found is among the trials of the third


def test_a_trial_that_fails_is_recorded_and_never_wins(
    study: Params, places: Places, folder: Path
) -> None:
    """Protects from a diverged training that ends the search, or leads it."""
    space = {"train.learning_rate": (1e30, 0.003), "model.kernel": (5,)}
    record = quietly(with_search(study, space=space), places, folder)
    failed, fine = record["trials"]  # and the space is exhausted before the budget
    assert failed["value"] is None
    assert failed["failed"].startswith("the loss is")
    assert record["best"]["settings"] == fine["settings"]


def test_names_select_searches_and_a_wrong_one_is_told(study: Params) -> None:
    """Protects from a night that searches everything, or nothing, for a name misspelt."""
    searches = (
        replace(SEARCH, data_sets=("Small", "Gone")),
        replace(SEARCH, recipe="s2tx", space={}),
    )
    params = replace(study, study=replace(study.study, searches=searches))
    whole = [(searches[0], "Small"), (searches[0], "Gone"), (searches[1], "Small")]
    assert _selected(params, (), ()) == whole
    assert _selected(params, ("dlinear",), ()) == whole[:2]
    assert _selected(params, (), ("Small",)) == whole[::2]
    for recipes, data_sets in (((), ("Smal",)), (("dlinear", "naive"), ()), (("s2tx",), ("Gone",))):
        with pytest.raises(InputError, match="no search that is selected is of"):
            _selected(params, recipes, data_sets)


@pytest.mark.usefixtures("folder")
def test_a_key_that_is_no_setting_is_named(study: Params, places: Places, folder: Path) -> None:
    """Protects from a search over nothing."""
    other = with_search(study, space={"model.kernels": (3, 5)})
    with pytest.raises(InputError, match=r"model\.kernels"):
        quietly(other, places, folder)


def test_every_setting_of_the_projects_space_fits(params: Params) -> None:
    """Protects days of search from a choice that the model refuses in the last trial."""
    for wanted in params.study.searches:
        base = propose(wanted, [], None)
        assert base == {key: choices[0] for key, choices in wanted.space.items()}
        for data in wanted.data_sets:
            for key, choices in wanted.space.items():
                for choice in choices:
                    settings_of(wanted, data, base | {key: choice}, params)


def test_the_recipes_hold_what_the_searches_found(params: Params) -> None:
    """Protects recipes from settings typed by hand: they are those of the champion on record."""
    for path in (ROOT / "results" / "search").glob("*.json"):
        record = json.loads(path.read_text())
        recipe, data = record["recipe"], record["data"]
        assert path.stem == f"{data}-{recipe}"
        [(wanted, _)] = _selected(params, (recipe,), (data,))
        space = {key: list(choices) for key, choices in wanted.space.items()}
        # The order of the keys decides the trials.
        assert list(record["space"].items()) == list(space.items())
        assert record["barred"] == [dict(each) for each in wanted.barred]
        assert record["budget"] == wanted.trials == len(record["trials"])
        assert (record["horizons"], record["seed"]) == (list(wanted.horizons), wanted.seed)
        assert record["confidence"] == wanted.confidence
        found = settings_of(wanted, data, record["best"]["settings"], params)
        assert [resolve(each.cell, params).key for each in found] == [each.key for each in found]
