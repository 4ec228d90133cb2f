"""MLflow gets every cell once, and never stops a grid."""

from __future__ import annotations

from pathlib import Path

import pytest

from s2tx.params import Params
from s2tx.registry.store import connect, experiment_id
from s2tx.studies import tracking
from s2tx.studies.cell import Places
from s2tx.studies.grid import Selection, run, select, settings_of
from tests.tiny import empty_store

__all__ = ["empty_store"]


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_each_cell_is_one_run_below_one_parent(
    study: Params, places: Places, folder: Path, empty_store: Path
) -> None:
    """Protects MLflow's page from doubles: a grid that is started again sends nothing twice."""
    project = places.project
    project.mlruns.mkdir(parents=True)
    (project.mlruns / "mlflow.db").write_bytes(empty_store.read_bytes())
    chosen = select(settings_of(study), Selection(("Small",), (4,), ("dlinear", "naive"), (1,)))
    for _ in range(2):
        send = tracking.sender(project, print)
        assert send is not None
        assert not any(dict(run(chosen, places, folder, lambda _: None, send)).values())
    client = connect(project)
    runs = client.search_runs([experiment_id(client, project)])
    parents = [each for each in runs if "mlflow.parentRunId" not in each.data.tags]
    cells = [each for each in runs if each not in parents]
    assert (len(parents), len(cells)) == (1, 2)
    assert {each.data.tags["mlflow.parentRunId"] for each in cells} == {parents[0].info.run_id}
    (trained,) = [each for each in cells if each.data.params["recipe"] == "dlinear"]
    assert trained.info.status == "FINISHED"
    assert trained.data.metrics["test.mse"] > 0
    assert len(client.get_metric_history(trained.info.run_id, "val_mse")) == 3


def test_without_mlflow_nothing_is_sent(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects a bare machine, and one whose server is down: the grid goes on and says so."""
    assert tracking.sender(places.project, print) is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    notes: list[str] = []
    assert tracking.sender(places.project, notes.append) is None
    assert "MLflow is left out" in notes[0]
