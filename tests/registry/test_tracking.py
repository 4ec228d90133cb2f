"""Runs: found by fingerprint, sent once, and never in training's way."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from s2tx.errors import InputError, S2TXError
from s2tx.params import Params
from s2tx.paths import Project, write_text
from s2tx.registry import tracking
from s2tx.registry.store import UnreachableError, connect, experiment_id
from s2tx.training.fit import Epoch
from tests.tiny import put_on_disk, tiny_bundle, tiny_table

NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens
EPOCHS = [Epoch(1, 1.0, 2.0, 3.0, 0.1), Epoch(2, 0.5, 1.0, 1.5, 0.1)]


def _runs(project: Project) -> list:  # type: ignore[type-arg]
    client = connect(project)
    return list(client.search_runs([experiment_id(client, project)]))


def test_a_repeated_sync_changes_nothing(project: Project, tiny: Params) -> None:
    """A night that repeats must not make a second run, nor draw its curves twice."""
    first = tracking.sync(project, tiny)
    before = _runs(project)
    (project.root / ".cache").mkdir(exist_ok=True)
    assert tracking.sync(project, tiny) == first
    after = _runs(project)
    assert [run.to_dictionary() for run in after] == [run.to_dictionary() for run in before]
    assert [p.step for p in connect(project).get_metric_history(first, "val_mse")] == [1, 2]


def test_a_run_holds_all_that_explains_it(project: Project, tiny: Params) -> None:
    """Params, curves, scores, files, environment and identity; lacking one, nobody can retrace."""
    run_id = tracking.sync(project, tiny)
    run = _runs(project)[0]
    assert run.info.status == "FINISHED"
    assert run.data.params["train.seed"] == str(tiny.train.seed)
    assert run.data.params["baseline.train.epochs"] == str(tiny.baseline.train.epochs)
    assert not any(key.startswith("study.") for key in run.data.params)
    assert run.data.metrics["test.s2tx.mse"] == 0.5
    assert run.data.metrics["val_mae"] == 1.5
    assert run.data.tags[tracking.DATA] == tiny_table().card.sha256
    assert run.data.tags["s2tx.data"] == "tiny"
    assert len(run.data.tags[tracking.WEIGHTS]) == 64
    folder = project.mlruns / "artifacts" / run_id / "artifacts"
    held = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert held == {
        "params.yaml",
        "history.json",
        "bundle/config.json",
        "bundle/model.safetensors",
        "evaluate/metrics.json",
        "evaluate/receipt.json",
        "plots/horizon.csv",
        "report/report.html",
        "environment/constraints.txt",
        "environment/machine.json",
    }
    assert "numpy==" in (folder / "environment" / "constraints.txt").read_text()


def test_a_run_keeps_the_settings_it_was_trained_with(project: Project, tiny: Params) -> None:
    """Protects the record of a run from an edit of params.yaml after its training."""
    run_id = tracking.sync(project, tiny)
    trained, held = _runs(project)[0].data.params, project.params.read_text()
    project.params.write_text(f"{held}# edited\n")
    assert tracking.sync(project, _edited(tiny)) == run_id
    assert _runs(project)[0].data.params == trained
    sent = project.mlruns / "artifacts" / run_id / "artifacts" / "params.yaml"
    assert sent.read_text() == held


def test_a_run_that_is_sent_late_gets_no_other_settings(
    project: Project, tiny: Params, caplog: pytest.LogCaptureFixture
) -> None:
    """Protects from a run with settings nobody trained with, made after MLflow was down."""
    with caplog.at_level(logging.WARNING, logger="s2tx"):
        run_id = tracking.sync(project, _edited(tiny))
    assert "changed since the model on disk was trained" in caplog.text
    assert not _runs(project)[0].data.params
    assert not (project.mlruns / "artifacts" / run_id / "artifacts" / "params.yaml").exists()
    assert tracking.sync(project, tiny) == run_id
    assert _runs(project)[0].data.params["train.epochs"] == str(tiny.train.epochs)


def _edited(tiny: Params) -> Params:
    return dataclasses.replace(tiny, train=dataclasses.replace(tiny.train, epochs=99))


def test_scores_of_an_older_model_are_not_sent(project: Project, tiny: Params) -> None:
    """After train and before evaluate, metrics.json still belongs to the model before."""
    metrics = project.metrics.read_text()
    receipt = project.receipt.read_text()
    put_on_disk(project, tiny_bundle(tiny_table(), tiny, shift=0.1))
    write_text(project.metrics, metrics)
    write_text(project.receipt, receipt)
    run_id = tracking.sync(project, tiny)
    assert "test.s2tx.mse" not in _runs(project)[0].data.metrics
    assert not (project.mlruns / "artifacts" / run_id / "artifacts" / "evaluate").exists()


def test_new_scores_replace_the_old_ones(project: Project, tiny: Params) -> None:
    """The run must show what the files say now: evaluate may run again with other settings."""
    run_id = tracking.sync(project, tiny)
    scores = json.loads(project.metrics.read_text())
    scores["test"]["s2tx"]["mse"] = 0.25
    write_text(project.metrics, json.dumps(scores))
    assert tracking.sync(project, tiny) == run_id
    assert _runs(project)[0].data.metrics["test.s2tx.mse"] == 0.25
    assert len(connect(project).get_metric_history(run_id, "test.repeat_last.mse")) == 1


def test_the_curve_over_missing_inputs_has_percent_as_its_steps(
    project: Project, tiny: Params
) -> None:
    """The run must show how a model bears gaps as a curve, once, and as the files say now."""
    key = "missing_curve.s2tx.mse"

    def points(run_id: str) -> list[tuple[int, float]]:
        history = connect(project).get_metric_history(run_id, key)
        return [(point.step, point.value) for point in history]

    run_id = tracking.sync(project, tiny)
    assert points(run_id) == [(0, 0.5), (40, 0.6)]
    scores = json.loads(project.metrics.read_text())
    scores["missing_curve"]["s2tx"]["mse"][1] = 0.7
    write_text(project.metrics, json.dumps(scores))
    tracking.sync(project, tiny)
    assert points(run_id) == [(0, 0.5), (40, 0.6), (40, 0.7)]
    assert _runs(project)[0].data.metrics[key] == 0.7
    tracking.sync(project, tiny)
    assert len(points(run_id)) == 3


def test_live_curves_and_sync_meet_in_one_run(project: Project, tiny: Params) -> None:
    """What was sent live must not be sent again, and a resumed training goes on in its run."""
    tracking.Recorder(project, tiny).on_epoch(EPOCHS[0])
    assert _runs(project)[0].info.status == "RUNNING"
    resumed = tracking.Recorder(project, tiny)
    resumed.on_step(1, 2)
    for epoch in EPOCHS:
        resumed.on_epoch(epoch)
    run_id = tracking.sync(project, tiny)
    assert [run.info.run_id for run in _runs(project)] == [run_id]
    points = connect(project).get_metric_history(run_id, "train_loss")
    assert [(p.step, p.value) for p in points] == [(1, 1.0), (2, 0.5)]


def test_a_stopped_training_does_not_run_for_ever(project: Project, tiny: Params) -> None:
    """Protects who looks at MLflow: what a kill or a failure left is not at work; others are."""
    with_seed = {
        seed: dataclasses.replace(tiny, train=dataclasses.replace(tiny.train, seed=seed))
        for seed in (1, 2)
    }
    client = connect(project)
    elsewhere = client.create_run(experiment_id(client, project)).info.run_id
    client.set_tag(elsewhere, "s2tx.place", "another machine:/project")

    def states() -> dict[str, str]:
        return {
            run.data.params.get("train.seed", "elsewhere"): run.info.status
            for run in _runs(project)
        }

    tracking.Recorder(project, with_seed[1])
    assert states() == {"elsewhere": "RUNNING", "1": "RUNNING"}
    tracking.Recorder(project, with_seed[2])
    assert states() == {"elsewhere": "RUNNING", "1": "KILLED", "2": "RUNNING"}
    tracking.Recorder(project, with_seed[1])  # it resumes
    assert states() == {"elsewhere": "RUNNING", "1": "RUNNING", "2": "KILLED"}


def test_training_goes_on_without_mlflow(
    project: Project,
    tiny: Params,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server that is down must cost a training one warning, and the run gets there later."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with caplog.at_level(logging.WARNING, logger="s2tx"):
        recorder = tracking.Recorder(project, tiny)
        recorder.on_epoch(EPOCHS[0])
        recorder.on_epoch(EPOCHS[1])
        assert tracking.try_sync(project, tiny) is None
    assert len([r for r in caplog.records if "training goes on" in r.message]) == 1
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9 .* s2tx track"):
        tracking.sync(project, tiny)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    tracking.sync(project, tiny)
    assert _runs(project)[0].data.metrics["val_mse"] == 1.0


def test_a_server_that_dies_meanwhile_is_no_error(
    project: Project, tiny: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store may go away between two epochs, not only at the start."""
    recorder = tracking.Recorder(project, tiny)

    def broken(*_: object) -> None:
        raise OSError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(tracking, "_send_curves", broken)
        recorder.on_epoch(EPOCHS[0])
        assert tracking.try_sync(project, tiny) is None
    recorder.on_epoch(EPOCHS[1])
    assert "val_mse" not in _runs(project)[0].data.metrics


def test_the_uri_moves_everything(
    project: Project,
    tiny: Params,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    empty_store: Path,
) -> None:
    """MLFLOW_TRACKING_URI must move runs and files alike, leaving nothing in the project."""
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    (elsewhere / "x.db").write_bytes(empty_store.read_bytes())
    before = (project.mlruns / "mlflow.db").read_bytes()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}/x.db")
    tracking.sync(project, tiny)
    assert list(elsewhere.rglob("report.html"))
    assert (project.mlruns / "mlflow.db").read_bytes() == before
    assert not (project.mlruns / "artifacts").exists()


@pytest.mark.parametrize("how", [shutil.copytree, shutil.move])
def test_a_project_elsewhere_leaves_the_first_alone(
    project: Project, tiny: Params, tmp_path: Path, how: Callable[..., object]
) -> None:
    """Protects a project's files from its copy, and a moved one from advice that cannot help."""
    tracking.sync(project, tiny)
    there = Project(tmp_path / "elsewhere")
    how(project.root, there.root)
    before = sorted(project.root.rglob("*"))
    old, new = project.mlruns.as_uri(), there.mlruns.as_uri()
    with pytest.raises(S2TXError, match=f"in {old}/artifacts, not in {new}/artifacts.* remove "):
        tracking.sync(there, tiny)
    assert sorted(project.root.rglob("*")) == before


def test_at_once_is_one_run(project: Project, tiny: Params) -> None:
    """Two processes that send the same run at the same time must find each other."""
    with ThreadPoolExecutor(2) as pool:
        ids = list(pool.map(lambda _: tracking.sync(project, tiny), range(2)))
    assert ids[0] == ids[1]
    assert len(_runs(project)) == 1


def test_without_a_model_there_is_no_run(tmp_path: Path, tiny: Params) -> None:
    """`s2tx track` before the first training names the cure and makes no folder."""
    with pytest.raises(InputError, match="dvc repro"):
        tracking.sync(Project(tmp_path), tiny)
    assert list(tmp_path.iterdir()) == []


def test_names_are_ones_mlflow_accepts() -> None:
    """A variate called `p (mbar)` must not make the whole run unsendable."""
    tree = {"a": {"p (mbar)": 1, "b": {"c": 2}}, "d": None}
    assert dict(tracking.flatten(tree)) == {"a.p _mbar_": 1, "a.b.c": 2, "d": None}
