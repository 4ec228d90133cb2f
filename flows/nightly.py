"""The night, from new rows to tomorrow's forecast.

``python -m flows.nightly`` runs it once, with no server; ``--serve`` stays and runs it on a
schedule, with no worker (and starts a Prefect server if there is none). Exit codes: 0 done (or
another night is at work), 1 failed, 2 the input or a setting is at fault.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout
from prefect import flow, get_run_logger
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.schedules import CronSchedule

from flows import server, stages
from flows.summary import Night
from s2tx import fingerprint
from s2tx.data import ingest, versions
from s2tx.data.findings import Finding
from s2tx.data.ingest import Ingested
from s2tx.data.read import clean_name
from s2tx.errors import InputError, S2TXError
from s2tx.evaluation import scoreboard
from s2tx.params import Params, load_params
from s2tx.paths import Project

ROOT = Path(__file__).parents[1]
ASIDE = "Another night is at work on this project: nothing was done"
VALIDATE = "validate"  # the stage after which a champion can forecast from the newest rows


@flow(name="nightly", flow_run_name="nightly")
def nightly(pull: bool = False, root: str | None = None) -> Night | None:
    """One night. Missed nights that start at once do the work once: the others step aside.

    Args:
        pull: bring the data back with DVC first, if ``data/`` is absent.
        root: of the project, by default the one that this file is part of. (Plain types only:
            Prefect reads the parameters' types without running this file.)

    Returns:
        What was made; None if another night is at work.
    """
    project = Project(Path(root) if root else ROOT)
    project.cache.mkdir(exist_ok=True)
    try:
        held = FileLock(project.night).acquire(blocking=False)
    except Timeout:
        get_run_logger().warning("%s", ASIDE)
        return None
    with held:
        ingest.await_others(project)
        return _night(project, pull)


def _night(project: Project, pull: bool) -> Night:
    """The steps, from top to bottom."""
    params = load_params(project.params)
    if pull:
        stages.pull(project)
    source = params.ingest.source
    ingested = _arrival(project, params, source) if source else None
    done: list[str] = []
    try:
        for name in versions.stage_order(project):
            stages.stage(project, name)
            done.append(name)
        registered = stages.register(project, params)
        decision = stages.promote(project, params)
    except Exception:
        if VALIDATE in done:
            _forecast_all_the_same(project, params)
        raise
    if decision.champion is None and not decision.promoted:
        raise InputError(
            f"There is no forecast, for no model is in service: {decision.reason}",
            "Do as that says, or change the settings, and run again",
        )
    forecast = stages.forecast(project, params)
    get_run_logger().info("Forecast: %s", forecast.path)
    stages.age(forecast, params)  # last: rows that are late are still worth a model and a forecast
    metrics = json.loads(project.metrics.read_text(encoding="utf-8"))
    scores = tuple(scoreboard.lines(metrics, params.promote.metric))
    return Night(project.root, ingested, scores, registered, decision, forecast)


def _arrival(project: Project, params: Params, source: str) -> Ingested:
    """New rows, versioned by DVC; git may lack a name or hold a lock, which costs no forecast."""
    arrived = stages.ingest(project, params, source)
    try:
        stages.commit(project, arrived)
    except S2TXError as error:
        cure = "The next night tries again; look with: s2tx doctor"
        uncommitted = Finding(
            "warning", "commit", None, f"data.dvc is not committed: {error}", cure
        )
        get_run_logger().warning("%s", uncommitted)
        return replace(arrived, findings=(*arrived.findings, uncommitted))
    return arrived


def _forecast_all_the_same(project: Project, params: Params) -> None:
    """After a failure, the forecast of the standing champion from the newest rows, if it can."""
    log = get_run_logger()
    try:
        made = stages.forecast(project, params)
    except Exception as error:  # it must not hide why the night failed
        log.error("The night failed, and there is no forecast either: %s", error)
    else:
        log.warning(
            "The night failed; the champion, version %d, forecast: %s", made.version, made.path
        )


def _serve(cron: str, pull: bool) -> int:
    """Stay and run on the schedule until interrupted; of nights that are due at once, one runs.

    Raises:
        InputError: ``cron`` is no schedule.
    """
    try:
        CronSchedule(cron=cron)
    except ValueError:
        raise InputError(
            f"--cron {cron!r} is no schedule",
            'Give minute, hour, day, month and weekday, such as "0 2 * * *"',
        ) from None
    with server.running() as pages:
        print(f"Nights run on the schedule {cron!r} (UTC); watch them at {pages}", flush=True)
        nightly.serve(
            name=_deployment(ROOT),
            cron=cron,
            limit=1,
            global_limit=ConcurrencyLimitConfig(
                limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
            ),
            parameters={"pull": pull},
        )
    return 0


def _deployment(root: Path) -> str:
    """Names this checkout among others on one server: of one name, each night is one's alone."""
    place = root.resolve()
    return f"{clean_name(place.name)}-{fingerprint.of_json(str(place))[:8]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.nightly", description=__doc__)
    parser.add_argument("--pull", action="store_true", help="dvc pull first, if data/ is absent")
    parser.add_argument("--serve", action="store_true", help="stay, and run on the schedule")
    parser.add_argument("--cron", default="0 2 * * *", help="with --serve (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        if options.serve:
            return _serve(options.cron, options.pull)
        night = nightly(pull=options.pull)
    except S2TXError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(night or ASIDE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
