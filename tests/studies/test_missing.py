"""The study of missing values must hide what it says, from whom it says, and repeat nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s2tx.errors import InputError
from s2tx.params import Params, load_params
from s2tx.studies import grid
from s2tx.studies import missing as room
from s2tx.studies.cell import Places, bring
from s2tx.studies.missing import (
    Condition,
    cells_of,
    collect,
    conditions,
    examine,
    path_of,
    train_and_examine,
)
from s2tx.studies.settings import Cell, Setting, resolve
from s2tx.study_params import BlockParams, ConditionParams, DrawsParams, MissingParams
from tests.conftest import ROOT

CELL = Cell("Small", 4, "naive", 1)
BLOCKS = ConditionParams("block", (0.2, 0.5), (6,), ("mask", "forward"))
DRAWN = ConditionParams("block", (0.5,), (6,), ("mask", "forward"))
TAILS = ConditionParams("tail", (0.0,), (1, 3), ("forward",))


@pytest.fixture
def params(study: Params) -> Params:
    """Repeat-last and DLinear under blocks and tails."""
    missing = MissingParams(
        seed=3,
        block_steps=6,
        conditions=(BLOCKS, TAILS),
        test=(BlockParams(("Small",), (4,), ("naive", "dlinear"), 1),),
        draws=DrawsParams((3, 5), (DRAWN,), (BlockParams(("Small",), (4,), ("naive",), 1),)),
        trained=(BlockParams(("Small",), (4,), ("dlinear",), 1),),
        trained_rates=(0.4,),
        parts=(),
    )
    return replace(study, study=replace(study.study, missing=missing))


def quietly(_: str) -> None: ...


def finished(cell: Cell, params: Params, places: Places, folder: Path) -> Setting:
    """The setting of a cell that the grid has run."""
    setting = resolve(cell, params)
    list(grid.run([setting], places, folder, quietly))
    return setting


def test_every_condition_of_the_section_is_met_once() -> None:
    """Protects the table from an empty or a double column."""
    found = conditions((BLOCKS, TAILS))
    assert len(found) == len(set(found)) == 4 + 2
    assert Condition("block", 0.5, 6, "forward") in found
    assert Condition("tail", 0.0, 3, "forward") in found


def test_repeat_last_under_a_filled_tail_forecasts_the_value_before_it(
    params: Params, places: Places, folder: Path
) -> None:
    """Protects the whole way from the condition to the figure: with the newest step hidden and the
    last value filled in, repeat-last is one step late, and the targets are complete."""
    setting = finished(CELL, params, places, folder)
    record = examine(setting, params, places, folder, quietly)
    table = bring(setting.entry, folder, places.results)
    rows = range(720, 900 - 4 + 1)
    train = table.values[:630]
    scaled = (table.values - train.mean(axis=0)) / train.std(axis=0)
    for line in record["scores"]:
        if line["pattern"] == "tail":
            late = [(scaled[row : row + 4] - scaled[row - 1 - line["steps"]]) ** 2 for row in rows]
            assert line["mse"] == pytest.approx(np.mean(late), rel=1e-4)


def test_a_killed_study_repeats_nothing(
    params: Params, places: Places, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects hours of scoring; other weights are scored anew."""
    setting = finished(CELL, params, places, folder)
    whole = examine(setting, params, places, folder, quietly)
    path = path_of(places, CELL)
    path.write_text(
        json.dumps(whole | {"scores": whole["scores"][:4], "draws": whole["draws"][:3]})
    )
    scored: list[Any] = []
    original = room.score_under
    monkeypatch.setattr(room, "score_under", lambda *args: scored.append(args) or original(*args))
    again = examine(setting, params, places, folder, quietly)
    assert (again["scores"], again["draws"]) == (whole["scores"], whole["draws"])
    assert len(scored) == 2 + 1
    path.write_text(json.dumps(whole | {"key": "of other weights"}))
    examine(setting, params, places, folder, quietly)
    assert len(scored) == 3 + 6 + 4


def test_what_is_whole_needs_no_weights(params: Params, places: Places, folder: Path) -> None:
    """Protects a clone, which has the records and no weights, from a study that fails over cells
    with nothing left to do."""
    setting = finished(CELL, params, places, folder)
    whole = examine(setting, params, places, folder, quietly)
    shutil.rmtree(places.bundle(CELL))
    assert examine(setting, params, places, folder, quietly) == whole
    path_of(places, CELL).write_text(json.dumps(whole | {"scores": whole["scores"][:-1]}))
    with pytest.raises(InputError, match="git does not keep them"):
        examine(setting, params, places, folder, quietly)


def test_draws_are_of_their_seeds_and_say_what_they_hide(
    params: Params, places: Places, folder: Path
) -> None:
    """Protects a verdict from one lucky mask, and from a rate that the test inputs do not have."""
    setting = finished(CELL, params, places, folder)
    record = examine(setting, params, places, folder, quietly)
    table = bring(setting.entry, folder, places.results)
    assert [(line["fill"], line["seed"]) for line in record["draws"]] == [
        ("mask", 3), ("mask", 5), ("forward", 3), ("forward", 5)
    ]  # fmt: skip
    window = setting.params.window
    for line in record["draws"]:
        visible = Condition("block", 0.5, 6, "mask").mask(table, line["seed"]).visible
        looks = [visible[row - window.look_back : row] for row in range(720, 900 - 4 + 1)]
        assert line["hidden"] == pytest.approx(1 - np.mean(looks))
    of_study = {(line["rate"], line["fill"]): line["mse"] for line in record["scores"]}
    assert record["draws"][0]["mse"] == of_study[0.5, "mask"]
    assert record["draws"][1]["mse"] != of_study[0.5, "mask"]
    [cell] = collect(params, places, {})["cells"]
    assert cell["draws"] == record["draws"]


def test_weights_that_are_not_those_of_the_record_are_refused(
    params: Params, places: Places, folder: Path
) -> None:
    """Protects the figures from a training that was killed between its weights and its record."""
    cell = Cell("Small", 4, "dlinear", 1)
    setting = finished(cell, params, places, folder)
    path = places.record(cell)
    record = json.loads(path.read_text())
    record["receipt"]["weights_sha256"] = "others"
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match="holds other weights than the record of Small-4-dlinear"):
        examine(setting, params, places, folder, quietly)
    shutil.rmtree(places.bundle(cell))  # as in a clone: git keeps the records alone
    with pytest.raises(InputError, match="weights of Small-4-dlinear-1 are not here"):
        examine(setting, params, places, folder, quietly)


def test_the_command_names_what_it_does_not_know_and_fails_where_a_cell_did(
    params: Params, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects a script from a study that did nothing and said that all is well."""
    monkeypatch.setattr(room, "load_params", lambda _: params)
    given = ["--data-dir", str(folder), "--results", str(tmp_path), "--models", str(tmp_path)]
    assert room.main([*given, "--cells", "Small-4-naive-1", "Small-4-none-1"]) == 2
    assert room.main([*given, "--protocols", "test"]) == 1  # no cell of the grid is finished
    assert (
        "is not finished"
        in json.loads((tmp_path / "missing.json").read_text())["not_run"]["Small-4-naive-1"]
    )
    with pytest.raises(SystemExit):
        room.main([*given, "--protocols", "tst"])


def test_a_cell_that_is_not_finished_is_named_with_the_cure(
    params: Params, places: Places, folder: Path
) -> None:
    """Protects from a table of weights that nobody trained."""
    with pytest.raises(InputError, match=r"s2tx study grid --cells Small-4-naive-1"):
        examine(resolve(CELL, params), params, places, folder, quietly)


def test_the_trained_protocol_hides_other_rows_in_training_than_in_test(
    params: Params, places: Places, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the protocol's two draws, and the training from running twice."""
    setting = resolve(Cell("Small", 4, "dlinear", 1), params)
    masks: list[Any] = []
    original = room.train
    monkeypatch.setattr(room, "train", lambda *args: masks.append(args[1]) or original(*args))
    record = train_and_examine(setting, 0.4, params, places, folder, quietly)
    assert train_and_examine(setting, 0.4, params, places, folder, quietly) == record
    assert len(masks) == 1
    hidden = ~masks[0].visible
    assert hidden.mean() == pytest.approx(0.4, abs=0.001)
    table = bring(setting.entry, folder, places.results)
    tested = ~Condition("block", 0.4, 6, "mask").mask(table, 3).visible
    assert 0.05 < (hidden & tested).mean() < 0.3
    assert record["scores"][0]["mse"] != record["clean"]["mse"]


def test_what_was_not_run_is_listed(params: Params, places: Places, folder: Path) -> None:
    """Protects the page from silent gaps: cells not run, and cells run in part."""
    setting = finished(CELL, params, places, folder)
    record = examine(setting, params, places, folder, quietly)
    path_of(places, CELL).write_text(json.dumps(record | {"scores": record["scores"][:1]}))
    path_of(places, Cell("Small", 4, "dlinear", 1), 0.4).write_text(json.dumps({"key": "of old"}))
    result = collect(params, places, {"Small-4-dlinear-1": "no weights"})
    assert [line["cell"]["recipe"] for line in result["cells"]] == ["naive"]
    assert result["cells"][0]["scores"] == record["scores"][:1]
    assert collect(params, places, {}) == result  # what was said of them stands, and grows not
    assert result["not_run"] == {
        "Small-4-naive-1": "not run yet; 5 of 10 conditions are",
        "Small-4-dlinear-1": "no weights",
        "Small-4-dlinear-1-trained-0.4": "not run again since settings, weights or code changed",
    }


def test_every_cell_of_the_projects_study_fits() -> None:
    """Protects hours of the study from a recipe that is not there or does not resolve."""
    project = load_params(ROOT / "params.yaml")
    cells = list(cells_of(project))
    assert {rate for _, rate in cells} == {None, *project.study.missing.trained_rates}
    scored = {setting.cell.recipe for setting, rate in cells if rate is None}
    assert scored >= set(project.study.missing.parts)
