"""The steps of a night, each a Prefect task; retries only where the outside world can fail."""

from __future__ import annotations

from typing import Any

import pandas as pd
from prefect import Task, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from s2tx.data import versions
from s2tx.data.age import require_recent
from s2tx.data.ingest import Ingested
from s2tx.data.read import read_card
from s2tx.errors import InputError
from s2tx.forecasting import SERVE
from s2tx.forecasting.forecaster import Forecast
from s2tx.params import Params
from s2tx.paths import Project
from s2tx.registry.package import Registered
from s2tx.registry.promote import Decision


def _mendable(task: Task[Any, Any], run: Any, state: Any) -> bool:  # noqa: ARG001
    """Whether another try may help: never when the user's input is at fault."""
    try:
        state.result()
    except InputError:
        return False
    except Exception:
        return True
    return False


_OUTSIDE: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [10, 60],
    "retry_condition_fn": _mendable,
    "cache_policy": NO_CACHE,
}


@task(task_run_name="{name}", cache_policy=NO_CACHE)
def stage(project: Project, name: str) -> None:
    """Let DVC reproduce one stage; its output goes to this run's log, line by line."""
    versions.reproduce(project, name, get_run_logger().info)


@task(task_run_name="pull", **_OUTSIDE)
def pull(project: Project) -> None:
    """Bring the data back, if the card or its table is not there."""
    try:
        whole = (project.data / read_card(project).file).is_file()
    except InputError:
        whole = False
    if not whole:
        versions.pull(project)


@task(task_run_name="ingest", **_OUTSIDE)
def ingest(project: Project, params: Params, source: str) -> Ingested:
    """Bring in what is new; refused data end the night, the version stays.

    What was found, a failed push among it, is a warning: nothing is lost yet.
    """
    from s2tx.data.ingest import ingest as bring_in

    beside = project.root / source  # a worker may stand elsewhere
    arrived = bring_in(
        project,
        params,
        str(beside) if beside.exists() else source,
        append=params.ingest.append,
        name=params.ingest.name,
        time_column=params.ingest.time_column,
        step=params.ingest.step,
        begin=params.ingest.name is not None,
        night=True,
    )
    for finding in arrived.findings:
        get_run_logger().warning("%s", finding)
    return arrived


@task(task_run_name="commit", **_OUTSIDE)
def commit(project: Project, arrived: Ingested) -> None:
    """Give the version of the data a commit, if git lacks it."""
    versions.commit_data(project, f"Ingest {arrived.card.name}, {arrived.rows} rows")


@task(task_run_name="age", cache_policy=NO_CACHE)
def age(made: Forecast, params: Params) -> None:
    """Fail if the newest reading is too old: nobody would see that the source fell silent."""
    told = require_recent(pd.Timestamp(made.newest_reading), params.ingest.max_age_hours)
    get_run_logger().info("%s", told)


@task(task_run_name="register", **_OUTSIDE)
def register(project: Project, params: Params) -> Registered:
    """Send the run and register its model; the same model is registered once."""
    from s2tx.registry.package import register as put

    return put(project, params, SERVE)


@task(task_run_name="promote", **_OUTSIDE)
def promote(project: Project, params: Params) -> Decision:
    """Promote the new model or keep the champion."""
    from s2tx.registry.promote import promote as decide

    decision = decide(project, params, by="nightly")
    get_run_logger().info("%s", decision.reason)
    return decision


@task(task_run_name="forecast", **_OUTSIDE)
def forecast(project: Project, params: Params) -> Forecast:
    """Let the champion forecast from the newest rows."""
    from s2tx.forecasting.forecaster import forecast as look_ahead

    return look_ahead(project, params)
