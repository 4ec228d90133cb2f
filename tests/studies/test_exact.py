"""The solution must be the least, or a trained baseline is measured against nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from s2tx.data.split import find_borders
from s2tx.errors import InputError
from s2tx.params import Params
from s2tx.studies import exact
from s2tx.studies.cell import Places, bring
from s2tx.studies.collect import read
from s2tx.studies.grid import Selection, run, select, settings_of
from s2tx.training.bundle import Bundle


def test_no_other_linear_map_errs_less_on_the_train_windows(
    study: Params, places: Places, folder: Path
) -> None:
    """Protects the matrix, the bias and the windows that they are fitted to: against a solver that
    sees all windows at once, and by batches that must not matter."""
    (setting,) = select(settings_of(study), Selection(cells=("Small-6-dlinear-1",)))
    list(run([setting], places, folder, lambda _: None))
    table = bring(setting.entry, folder, places.project.cache)
    bundle = Bundle.load(places.bundle(setting.cell), study.runtime, torch.device("cpu"))
    window = bundle.window
    borders = find_borders(len(table.times), table.card, setting.params.data, window)
    origins = borders.origins("train", window.look_back, window.horizon)
    weight, bias = exact.solve(bundle, table, origins, batch_size=7)
    x_BLD, _, y_BHD, _ = bundle.windows(table).batch(torch.tensor(origins))
    x = x_BLD.transpose(1, 2).flatten(0, 1).double()
    y = y_BHD.transpose(1, 2).flatten(0, 1).double()
    least = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1)], dim=1), y).solution
    torch.testing.assert_close(weight, least[:-1].T, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(bias, least[-1], rtol=1e-4, atol=1e-6)


def test_finished_cells_are_solved_and_scored_on_the_windows_of_the_grid(
    study: Params, places: Places, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the comparison: a long training of the same cell ends at the figures that are
    written, and cells of other networks, or that nobody ran, are left alone."""
    recipe = study.study.recipes["dlinear"]
    train = {"epochs": 150, "learning_rate": 0.02, "averaging": None, "select": "last"}
    recipes = {**study.study.recipes, "dlinear": replace(recipe, train=train)}
    long = replace(study, study=replace(study.study, recipes=recipes))
    chosen = Selection(("Small",), (6,), ("dlinear", "naive"), (1,))
    list(run(select(settings_of(long), chosen), places, folder, lambda _: None))
    monkeypatch.setattr(exact, "load_params", lambda _: long)
    arguments = ["--data-dir", str(folder), "--results", str(places.results)]
    assert exact.main(arguments) == 0
    (found,) = json.loads((places.results / exact.FILE).read_text(encoding="utf-8"))["cells"]
    (setting,) = select(settings_of(long), Selection(cells=("Small-6-dlinear-1",)))
    record = read(places, setting)
    assert record is not None
    assert found["weights_sha256"] == record["receipt"]["weights_sha256"]
    for part in ("validation", "test"):
        for metric in ("mse", "mae"):
            assert found[part][metric] == pytest.approx(record[part][metric], rel=0.05)


def test_without_its_data_nothing_is_written(
    study: Params, places: Places, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects an earlier record from a run that could not read the data."""
    chosen = Selection(cells=("Small-6-dlinear-1",))
    list(run(select(settings_of(study), chosen), places, folder, lambda _: None))
    monkeypatch.setattr(exact, "load_params", lambda _: study)
    empty = folder / "empty"
    empty.mkdir()
    arguments = ["--data-dir", str(empty), "--results", str(places.results)]
    assert exact.main(arguments) == 2
    assert exact.main([*arguments[:2], "--results", str(empty)]) == 2  # nothing is finished
    assert not (places.results / exact.FILE).exists()


def test_what_was_solved_before_is_kept(
    study: Params, places: Places, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects minutes of work from the one data set that is not there, and an earlier record from
    a run over a part."""
    chosen = Selection(("Small",), (), ("dlinear",), (1,))
    list(run(select(settings_of(study), chosen), places, folder, lambda _: None))
    monkeypatch.setattr(exact, "load_params", lambda _: study)
    arguments = ["--data-dir", str(folder), "--results", str(places.results)]
    assert exact.main(arguments) == 0
    whole = json.loads((places.results / exact.FILE).read_text(encoding="utf-8"))["cells"]
    assert len(whole) == 2
    solve = exact.examine
    left = [solve]

    def once(*words: Any) -> dict[str, Any]:
        if not left:
            raise InputError("gone", "Bring it")
        return left.pop()(*words)

    monkeypatch.setattr(exact, "examine", once)
    assert exact.main(arguments) == 2
    again = json.loads((places.results / exact.FILE).read_text(encoding="utf-8"))["cells"]
    assert sorted(again, key=str) == sorted(whole, key=str)
