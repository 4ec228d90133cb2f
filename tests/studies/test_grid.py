"""The grid must repeat nothing, resume what was killed, lose nothing and hide nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from s2tx.errors import InputError
from s2tx.params import Params, as_dict
from s2tx.studies import cell as one
from s2tx.studies.audit import audit
from s2tx.studies.cell import Places, drop_last
from s2tx.studies.collect import collect, read
from s2tx.studies.grid import Selection, main, run, select, settings_of
from s2tx.studies.settings import Setting
from tests.conftest import ROOT

NAME = "Small-4-dlinear-1"
COMPARED = ("naive", "dlinear", "s2tx")


def some(study: Params, *recipes: str, horizon: int = 4) -> list[Setting]:
    chosen = Selection(("Small",), (horizon,), recipes, (1,))
    return select(settings_of(study), chosen)


def states(settings: list[Setting], places: Places, folder: Path) -> dict[str, str]:
    return dict(run(settings, places, folder, note=lambda _: None))


def record(places: Places, name: str = NAME) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((places.results / "grid" / f"{name}.json").read_text())
    return found


def test_a_cell_is_scored_on_every_window_with_its_receipt(
    study: Params, places: Places, folder: Path
) -> None:
    """Protects the figures: all windows, the epoch chosen on validation, and a whole receipt."""
    assert states(some(study, "dlinear"), places, folder) == {NAME: ""}
    found = record(places)
    receipt = found["receipt"]
    assert receipt["windows_scored"] == 900 * 0.2 - 4 + 1
    assert receipt["split"] == {"train": [0, 630], "validation": [630, 720], "test": [720, 900]}
    best = min(found["history"], key=lambda epoch: epoch["val_mse"])
    assert found["validation"]["epoch"] == best["epoch"]
    assert found["validation"]["mse"] == best["val_mse"]
    assert receipt["seed"] == receipt["train"]["seed"] == 1
    for key in ("fingerprint", "weights_sha256", "code", "machine", "network", "window", "data"):
        assert receipt[key], key


@pytest.mark.usefixtures("folder")
def test_the_order_and_the_seeds(study: Params) -> None:
    """Protects the blocks: they come first, nothing comes twice, naive has one seed."""
    names = [setting.cell.name for setting in settings_of(study)]
    assert names[:3] == ["Small-4-dlinear-1", "Small-4-naive-1", "Small-4-dlinear-2"]
    assert len(names) == len(set(names)) == 2 * 2 * (2 * 2 + 1)


def test_nothing_finished_is_repeated(
    study: Params, places: Places, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects days of work: only what is new or has changed is trained."""
    settings = some(study, "dlinear", "naive")
    states(settings, places, folder)
    trained: list[str] = []
    original = one.run

    def counted(setting: Setting, *rest: Any) -> dict[str, Any]:
        trained.append(setting.cell.name)
        return original(setting, *rest)

    monkeypatch.setattr(one, "run", counted)
    assert states(settings, places, folder) == {NAME: "", "Small-4-naive-1": ""}
    assert trained == []
    recipe = replace(study.study.recipes["dlinear"], train={"epochs": 1})
    recipes = {**study.study.recipes, "dlinear": recipe}
    other = replace(study, study=replace(study.study, recipes=recipes))
    states(some(other, "dlinear", "naive"), places, folder)
    assert trained == [NAME]


class Killed(BaseException):
    """Stands for SIGKILL."""


def test_a_killed_grid_goes_on_where_it_stood(
    study: Params, places: Places, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects a cell that was cut in the middle: same weights, no epoch twice."""
    settings = some(study, "s2tx", "dlinear")
    whole = replace(places, results=tmp_path / "whole", models=tmp_path / "whole models")
    states(settings, whole, folder)

    class Lines:
        epochs: list[int] = []  # noqa: RUF012

        def __init__(self, note: Any) -> None: ...

        def on_step(self, done: int, total: int) -> None: ...

        def on_epoch(self, epoch: Any) -> None:
            self.epochs.append(epoch.epoch)
            if self.epochs == [1, 2]:
                raise Killed

    monkeypatch.setattr("s2tx.studies.grid.Lines", Lines)
    with pytest.raises(Killed):
        states(some(study, "dlinear"), places, folder)
    assert not (places.results / "grid").exists()
    states(settings, places, folder)
    assert Lines.epochs == [1, 2, 3, 1]  # dlinear's third, then the epoch of s2tx
    for setting in settings:
        ours, theirs = record(places, setting.cell.name), record(whole, setting.cell.name)
        assert ours["receipt"]["weights_sha256"] == theirs["receipt"]["weights_sha256"]
        assert ours["test"] == theirs["test"]
    assert record(places)["seconds"]["resumed"]
    assert list(places.checkpoints.iterdir()) == []


def test_what_cannot_be_had_or_has_not_run_is_listed(
    study: Params, places: Places, folder: Path
) -> None:
    """Protects the reader from cells that vanish."""
    whole = settings_of(study)
    chosen = [setting for setting in whole if setting.cell.recipe == "naive"]
    reasons = dict(run(chosen, places, folder, lambda _: None))
    grid = collect(whole, COMPARED, places, {name: why for name, why in reasons.items() if why})
    assert sorted(grid["cells"]) == ["Small-4-naive-1", "Small-6-naive-1"]
    assert len(grid["cells"]) + len(grid["not_run"]) == len(whole)
    assert "gone.csv is not in the folder" in grid["not_run"]["Gone-6-s2tx-2"]
    assert grid["not_run"][NAME] == "not run yet"
    assert str(folder) not in json.dumps(grid)
    again = collect(whole, COMPARED, places, {})  # a run of something else keeps the reason
    assert again["not_run"] == grid["not_run"]


def test_a_cell_of_other_settings_is_no_result(study: Params, places: Places, folder: Path) -> None:
    """Protects the tables from figures of settings that are gone."""
    settings = some(study, "dlinear")
    states(settings, places, folder)
    for part, changed in (
        ("network", {"name": "dlinear", "kernel": 7}),
        ("network", {"name": "dlinear", "gone": 5}),
        ("train", as_dict(settings[0].train) | {"epochs": 9}),
        ("window", as_dict(settings[0].params.window) | {"look_back": 9}),
        ("data", {"sha256": "other", "rows": 900}),
        ("split", {"train": [0, 600], "validation": [600, 720], "test": [720, 900]}),
    ):
        old = record(places)
        file = places.record(settings[0].cell)
        receipt = old["receipt"] | {part: changed}
        file.write_text(json.dumps(old | {"key": "of old", "receipt": receipt}))
        assert read(places, settings[0]) is None
        grid = collect(settings, COMPARED, places, {})
        assert grid["cells"] == {}, part
        assert grid["not_run"][NAME] == "not run again since its settings changed"
        file.write_text(json.dumps(old))


def test_a_cell_of_earlier_code_stands_marked_until_it_is_run_again(
    study: Params, places: Places, folder: Path
) -> None:
    """Protects the reader from taking it for the present code's, and days of results from a changed
    comment; settings that the code gained since are what they were."""
    settings = some(study, "dlinear")
    states(settings, places, folder)
    old = record(places)
    del old["receipt"]["train"]["masking"]
    places.record(settings[0].cell).write_text(json.dumps(old | {"key": "of old"}))
    assert read(places, settings[0]) is None
    assert collect(settings, COMPARED, places, {})["cells"][NAME]["earlier_code"] is True
    states(settings, places, folder)
    assert collect(settings, COMPARED, places, {})["cells"][NAME]["earlier_code"] is False


def test_mean_and_deviation_over_seeds(study: Params, places: Places, folder: Path) -> None:
    """Protects from one lucky seed: how many there are stands beside the mean."""
    chosen = select(settings_of(study), Selection(("Small",), (4,), ("dlinear", "naive")))
    states(chosen, places, folder)
    trained, naive = collect(chosen, COMPARED, places, {})["summary"]
    a, b = (record(places, f"Small-4-dlinear-{seed}")["test"]["mse"] for seed in (1, 2))
    assert trained["seeds"] == [1, 2]
    assert trained["mse"]["mean"] == pytest.approx((a + b) / 2)
    assert trained["mse"]["deviation"] == pytest.approx(abs(a - b) / 2**0.5)
    assert (naive["mse"]["seeds"], naive["mse"]["deviation"]) == (1, None)


@pytest.mark.parametrize("recipe", ["dlinear", "naive", "s2tx"])
def test_an_audit_finds_the_same_figure(
    recipe: str, study: Params, places: Places, folder: Path
) -> None:
    """Protects the record: its checkpoint gives its figure; a changed figure is found."""
    states(some(study, recipe), places, folder)
    name = f"Small-4-{recipe}-1"
    found = audit(name, study, places, folder)
    assert found.agrees, found.faults
    assert found.recomputed == found.recorded
    assert found.drop_last == record(places, name)["test_drop_last"]
    forged = record(places, name)
    forged["test"]["mse"] *= 0.99
    (places.results / "grid" / f"{name}.json").write_text(json.dumps(forged))
    assert not audit(name, study, places, folder).agrees


def test_an_audit_of_what_is_not_there(study: Params, places: Places, folder: Path) -> None:
    """Protects from a traceback."""
    with pytest.raises(InputError, match="is not finished"):
        audit(NAME, study, places, folder)


def test_drop_last_leaves_out_the_newest_windows(
    study: Params, places: Places, folder: Path
) -> None:
    """Protects the explanation of a paper's figure: 128 of 177 windows, and another figure."""
    states(some(study, "naive"), places, folder)
    found = record(places, "Small-4-naive-1")
    assert found["test_drop_last"]["windows"] == 128
    assert "the last 49 of 177 windows left out" in found["test_drop_last"]["label"]
    assert found["test_drop_last"]["mse"] != found["test"]["mse"]
    table = one.bring(some(study, "naive")[0].entry, folder, folder)
    setting = some(study, "naive")[0]
    bundle, _ = one._trained(setting, table, places, ())
    from s2tx.data.split import find_borders

    borders = find_borders(len(table.times), table.card, setting.params.data, bundle.window)
    scores = one.score_test(bundle, table, borders, setting.params)
    assert drop_last(scores, 1)["mse"] == pytest.approx(scores.mse)
    assert drop_last(scores, 1000)["mse"] is None


def test_another_file_of_that_name_is_refused(study: Params, places: Places, folder: Path) -> None:
    """Protects from figures on edited data."""
    with (folder / "small.csv").open("a") as stream:
        stream.write("2030-01-01,1,2,3\n")
    (reason,) = states(some(study, "dlinear"), places, folder).values()
    assert "has sha256" in reason


@pytest.mark.usefixtures("folder")
def test_nothing_selected_is_the_users_fault(study: Params) -> None:
    """Protects from names that are all in the grid, not together, and run nothing."""
    chosen = Selection(horizons=(4,), cells=("Small-6-dlinear-1",))
    with pytest.raises(InputError, match="no cell of the grid is selected"):
        select(settings_of(study), chosen)


def test_the_command_runs_lists_and_says_what_failed(
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Protects a night's grid: a cell that fails is listed with its reason, the others go on, and
    the exit code tells."""
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    window = {"look_back": 48, "short_look_back": 24}
    fine = tree["study"]["recipes"]["dlinear"] | {"window": window, "data_sets": {}}
    tree["study"] |= {
        "data_sets": ["Small"],
        "horizons": [4],
        "seeds": [1],
        "first": [],
        "compared": ["wild", "dlinear"],
        "recipes": {
            "wild": fine | {"train": fine["train"] | {"learning_rate": 1e30}},
            "dlinear": fine | {"train": fine["train"] | {"epochs": 1}},
        },
        "searches": [],
    }
    tree["runtime"]["device"] = "cpu"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main(["--data-dir", str(folder)]) == 1
    grid = json.loads((tmp_path / "results" / "grid.json").read_text())
    assert list(grid["cells"]) == [NAME]
    assert grid["not_run"]["Small-4-wild-1"].startswith("failed: the loss is")
    capsys.readouterr()
    assert main(["--list"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["Small-4-wild-1", "open"], [NAME, "finished"]]
    assert main(["--recipes", "oracle"]) == 2
    (tmp_path / "none").mkdir()
    nowhere = ["--data-dir", str(tmp_path / "none"), "--results", str(tmp_path / "none")]
    assert main(nowhere) == 1  # nothing of what was asked for could be run


@pytest.mark.slow
def test_the_grid_needs_no_orchestrator() -> None:
    """Protects the run on a bare GPU machine: what it lacks is never imported."""
    lacking = ["mlflow", "prefect", "dvc", "great_expectations", "pydantic", "rich", "typer"]
    lacking += ["matplotlib", "filelock", "jinja2", "requests"]
    code = (
        f"import sys\nfor name in {lacking}: sys.modules[name] = None\n"
        "from s2tx.studies.grid import main\n"
        "sys.exit(main(['--list', '--data-sets', 'etth1']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert "ETTh1-96-best-2024" in done.stdout


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("selection", "told"),
    [
        (Selection(recipes=("dlinear", "pathctst")), "no recipe pathctst"),
        (Selection(cells=("Small-6-dlinear-1", "Small-6-dlinear-99")), "cell Small-6-dlinear-99"),
        (Selection(seeds=(1, 98, 99)), "no seed 98, 99"),
        (Selection(("small", "Smal")), "no data set smal"),
        (Selection(horizons=(6, 7)), "no horizon 7"),
    ],
)
def test_a_name_that_is_not_in_the_grid_is_told(
    study: Params, selection: Selection, told: str
) -> None:
    """Protects from a typing error that is found the morning after, as cells that were not run."""
    with pytest.raises(InputError, match=f"the grid has .*{told}"):
        select(settings_of(study), selection)
