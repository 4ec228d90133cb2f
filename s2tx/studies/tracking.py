"""Each finished cell as an MLflow run under one parent, where MLflow is installed and set up."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from s2tx.paths import Project
from s2tx.studies.settings import Cell

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARENT = "grid"
KEY = "s2tx.grid_cell"


def sender(
    project: Project, note: Callable[[str], None]
) -> Callable[[dict[str, Any]], None] | None:
    """What sends a cell's record; None where MLflow is not installed, or was never set up here.

    It is set up where ``MLFLOW_TRACKING_URI`` is set or ``mlruns/`` exists. Sending never stops a
    grid: after the first failure it is noted once, and the records on disk hold everything.
    """
    wanted = os.environ.get("MLFLOW_TRACKING_URI") or (project.mlruns / "mlflow.db").exists()
    if not wanted or importlib.util.find_spec("mlflow") is None:
        return None
    try:
        from s2tx.registry.store import address, connect, experiment_id, without_password

        client = connect(project)
        experiment = experiment_id(client, project)
        parent = _find_or_create(client, experiment, PARENT, {})
    except Exception as error:
        note(f"MLflow is left out: {without_password(error, address(project))}")
        return None
    working = True

    def send(record: dict[str, Any]) -> None:
        nonlocal working
        try:
            if working:
                _send(client, experiment, parent, record)
        except Exception as error:
            working = False
            shown = without_password(error, address(project))
            note(f"MLflow is left out from here on: {shown}")

    return send


def _send(client: MlflowClient, experiment: str, parent: str, record: dict[str, Any]) -> None:
    """One run a key, however often it is sent."""
    from mlflow.entities import Metric, Param

    name = Cell(**record["cell"]).name
    run = _find_or_create(
        client, experiment, record["key"], {"mlflow.parentRunId": parent, "mlflow.runName": name}
    )
    if client.get_run(run).info.status == "FINISHED":
        return
    now = int(time.time() * 1000)
    scores = {f"test.{key}": value for key, value in record["test"].items()}
    metrics = [Metric(key, value, now, 0) for key, value in scores.items()]
    metrics += [
        Metric(key, float(value), now, epoch["epoch"])
        for epoch in record["history"]
        for key, value in epoch.items()
        if key != "epoch"
    ]
    params = record["cell"] | {"look_back": record["receipt"]["window"]["look_back"]}
    client.log_batch(
        run, metrics=metrics[:900], params=[Param(key, str(value)) for key, value in params.items()]
    )
    client.log_dict(run, record, "cell.json")
    client.set_terminated(run, "FINISHED")


def _find_or_create(client: MlflowClient, experiment: str, key: str, tags: dict[str, str]) -> str:
    found = client.search_runs([experiment], f"tags.`{KEY}` = '{key}'", max_results=1)
    if found:
        known: str = found[0].info.run_id
        return known
    made: str = client.create_run(
        experiment, tags={KEY: key} | tags, run_name=tags.get("mlflow.runName", key)
    ).info.run_id
    return made
