"""A study of finished cells must neither lose what it found of others nor keep what is stale."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from s2tx.errors import InputError
from s2tx.params import Params
from s2tx.studies import finished
from s2tx.studies.cell import Places
from s2tx.studies.finished import Finished, run_over_cells
from s2tx.studies.grid import Selection, run, select, settings_of

NAMES = ("Small-4-naive-1", "Small-6-naive-1")


def test_cells_that_are_not_named_stay_until_they_are_trained_again(
    study: Params, places: Places, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects a page from showing what the last command happened to name, and from a figure of
    weights that are gone."""
    chosen = Selection(data_sets=("Small",), recipes=("naive",))
    list(run(select(settings_of(study), chosen), places, folder, lambda _: None))
    monkeypatch.setattr(finished, "load_params", lambda _: study)

    def examine(name: str, *given: Any) -> dict[str, Any]:
        done = Finished.open(name, *given)
        weights = done.record["receipt"]["weights_sha256"]
        cell = {"data": "Small", "horizon": done.cell.horizon, "recipe": "naive", "seed": 1}
        return {"cell": cell, "weights_sha256": weights}

    def look(name: str) -> list[int]:
        arguments = ["--cells", name, "--results", str(places.results)]
        arguments += ["--models", str(places.models), "--data-dir", str(folder)]
        assert run_over_cells("looked", None, examine, "none", arguments) == 0
        record = json.loads((places.results / "looked.json").read_text(encoding="utf-8"))
        assert all(each["receipt"]["machine"] for each in record["cells"])
        return [each["cell"]["horizon"] for each in record["cells"]]

    assert look(NAMES[0]) == [4]
    assert look(NAMES[1]) == [4, 6]
    assert look(NAMES[0]) == [6, 4]
    path = places.results / "grid" / f"{NAMES[1]}.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["receipt"]["weights_sha256"] = "others"
    path.write_text(json.dumps(record), encoding="utf-8")
    assert look(NAMES[0]) == [4]


def test_what_was_examined_stands_where_the_next_cell_fails(
    study: Params, places: Places, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects minutes of work, a cell, from the one after it."""
    (setting,) = select(settings_of(study), Selection(cells=(NAMES[0],)))
    list(run([setting], places, folder, lambda _: None))
    monkeypatch.setattr(finished, "load_params", lambda _: study)

    def examine(name: str, *given: Any) -> dict[str, Any]:
        done = Finished.open(name, *given)
        weights = done.record["receipt"]["weights_sha256"]
        return {"cell": dataclasses.asdict(done.cell), "weights_sha256": weights}

    arguments = ["--cells", *NAMES, "--results", str(places.results)]
    arguments += ["--models", str(places.models), "--data-dir", str(folder)]
    assert run_over_cells("looked", None, examine, "none", arguments) == 2
    record = json.loads((places.results / "looked.json").read_text(encoding="utf-8"))
    assert [each["cell"]["horizon"] for each in record["cells"]] == [setting.cell.horizon]


def test_who_lacks_the_weights_is_told_how_to_have_them_and_keep_the_record(
    study: Params, places: Places, folder: Path
) -> None:
    """Protects the published record from the cure: an audit has to be held against it."""
    (setting,) = select(settings_of(study), Selection(cells=(NAMES[0],)))
    list(run([setting], places, folder, lambda _: None))
    places.bundle(setting.cell).rename(places.models / "gone")
    with pytest.raises(InputError, match="are not here") as told:
        Finished.open(NAMES[0], study, places, folder)
    assert f"--results ELSEWHERE --models {places.models}" in str(told.value)
    assert "delete" not in str(told.value)
