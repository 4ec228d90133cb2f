"""Runs: one for each fingerprint (code, data and params of a training), however often it repeats.

``Recorder`` follows a training while it goes on and never disturbs it. ``sync`` sends what lies on
disk, as often as one likes: it is how a run that MLflow missed gets there later.
"""

from __future__ import annotations

import json
import logging
import math
import platform
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2tx import fingerprint as identity
from s2tx.data.table import Table
from s2tx.errors import InputError
from s2tx.params import Params, as_dict
from s2tx.paths import Project
from s2tx.registry.store import (
    address,
    connect,
    experiment_id,
    guarded,
    locked,
    without_password,
)
from s2tx.training.bundle import read_config, weights_hash
from s2tx.training.fit import Epoch
from s2tx.training.train import fingerprint

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

FINGERPRINT = "s2tx.fingerprint"
WEIGHTS = "s2tx.weights_sha256"
CONFIG = "s2tx.config_sha256"
DATA = "s2tx.data_sha256"
SEEN = "s2tx.seen_until"  # stamp of the last row that training or its validation read
_SENT = "s2tx.sent"
_PLACE = "s2tx.place"
_BATCH = 900  # MLflow takes at most 1000 metrics, 100 params and 100 tags a call
_log = logging.getLogger(__name__)


class Recorder:
    """A ``Watch`` (see ``s2tx.training.fit``) that sends each epoch to MLflow as it ends.

    No method raises. After the first failure it says so once and is silent from then on: the
    history file holds everything, and ``sync`` sends it later.

    Args:
        project: its validated table is what will be trained on.
        params: logged whole.
    """

    def __init__(self, project: Project, params: Params) -> None:
        self._client: MlflowClient | None = None
        self._uri = address(project)
        self._sent: dict[str, set[int]] = {}
        try:
            table = Table.read(project.table)
            mark = fingerprint(table, params.model, params.train, params)
            client = connect(project)
            card = table.card
            with locked(project, "runs"):
                self._run_id = _find_or_create(
                    client, project, mark, card.name, card.sha256, params.window.horizon
                )
                _send_params(client, self._run_id, params)
                _end_stopped(client, project)
                client.set_tag(self._run_id, _PLACE, _place(project))
                client.update_run(self._run_id, status="RUNNING")
            self._client = client
        except Exception as error:
            self._give_up(error)

    def on_step(self, done: int, total: int) -> None:
        """Nothing: curves are by epoch."""

    def on_epoch(self, epoch: Epoch) -> None:
        """Send the epoch's line of the history."""
        if self._client is None:
            return
        try:
            _send_curves(self._client, self._run_id, [asdict(epoch)], self._sent)
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._client = None
        shown = without_password(error, self._uri)
        _log.warning("This run is not tracked for now, training goes on: %s", shown)


def try_sync(project: Project, params: Params) -> str | None:
    """``sync``, or a warning and None where MLflow fails: a stage has done its work without it."""
    try:
        return sync(project, params)
    except InputError:
        raise
    except Exception as error:
        shown = without_password(error, address(project))
        _log.warning("The run is not in MLflow yet, send it with s2tx track: %s", shown)
        return None


@guarded
def sync(project: Project, params: Params) -> str:
    """Send the run on disk: params, curves, scores, files, model and tags; mark it complete.

    What is there already is not sent again, and a repeat changes nothing. Scores, plots and report
    are left out while they are of another model than the one on disk, and so are params while the
    model was not trained with them.

    Returns:
        The id of the run.

    Raises:
        InputError: there is no trained model on disk.
        UnreachableError: MLflow does not answer.
    """
    config = read_config(project.model)
    card, mark, horizon = config["data"], str(config["fingerprint"]), config["window"]["horizon"]
    own = _are_of(params, project, mark)
    client = connect(project)
    # One sender at a time: none sends twice, and SQLite is never asked to write two things at once.
    with locked(project, "runs"):
        run_id = _find_or_create(client, project, mark, card["name"], card["sha256"], horizon)
        if own:
            _send_params(client, run_id, params)
        _send(client, project, run_id, mark, [project.params] if own else [])
    return run_id


def _are_of(params: Params, project: Project, mark: str) -> bool:
    """Whether the training ``mark`` had these params; said aloud where it had others."""
    try:
        table = Table.read(project.table)
        own = fingerprint(table, params.model, params.train, params) == mark
    except InputError:
        own = False
    if not own:
        _log.warning(
            "Settings, code or data changed since the model on disk was trained: its run keeps the "
            "settings that it has, if any. Train anew with: dvc repro"
        )
    return own


def _send(
    client: MlflowClient, project: Project, run_id: str, mark: str, settings: list[Path]
) -> None:
    """Everything on disk that the run does not hold yet."""
    weights = weights_hash(project.model)
    scored = _scored_files(project, mark, weights)
    files = {"": [*settings, project.history], "bundle": [project.model], **scored}
    content = identity.of_json([_contents(files), weights])
    run = client.get_run(run_id)
    if run.data.tags.get(_SENT) == content and run.info.status == "FINISHED":
        return
    if project.history.exists():
        records = json.loads(project.history.read_text(encoding="utf-8"))
        _send_curves(client, run_id, records, {})
    if scored:
        _send_scores(client, run_id, json.loads(project.metrics.read_text(encoding="utf-8")))
    for folder, paths in files.items():
        for path in filter(Path.exists, paths):
            send = client.log_artifacts if path.is_dir() else client.log_artifact
            send(run_id, str(path), folder or None)
    _send_environment(client, run_id)
    for key, value in ((WEIGHTS, weights), (_SENT, content)):
        client.set_tag(run_id, key, value)
    client.set_terminated(run_id, "FINISHED")


def find(client: MlflowClient, project: Project, mark: str) -> str | None:
    """The id of the run with this fingerprint, the oldest if there are several."""
    runs = client.search_runs(
        [experiment_id(client, project)],
        f"tags.`{FINGERPRINT}` = '{mark}'",
        order_by=["attributes.start_time ASC"],
        max_results=1,
    )
    return runs[0].info.run_id if runs else None


def _place(project: Project) -> str:
    """Where a training runs: machine and folder."""
    return f"{platform.node()}:{project.root.resolve()}"


def _end_stopped(client: MlflowClient, project: Project) -> None:
    """End the runs of trainings that were stopped here: nobody else would, and they look alive.

    One training at a time runs here; another's run, or one that resumes, ends as it should.
    """
    running = client.search_runs(
        [experiment_id(client, project)], "attributes.status = 'RUNNING'", max_results=1000
    )
    place = _place(project)
    for run in running:
        if run.data.tags.get(_PLACE) == place:
            client.set_terminated(run.info.run_id, "KILLED")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings, under dotted names that MLflow accepts."""
    for key, value in tree.items():
        name = prefix + "".join(c if c.isalnum() or c in "_-/ " else "_" for c in str(key))
        if isinstance(value, Mapping):
            yield from flatten(value, f"{name}.")
        else:
            yield name, value


def _find_or_create(
    client: MlflowClient,
    project: Project,
    mark: str,
    data: str,
    data_sha256: str,
    horizon: int,
) -> str:
    """The run of this fingerprint; the caller holds the lock ``runs``."""
    run_id = find(client, project, mark)
    if run_id is None:
        commit = identity.git_commit(project.root)
        tags = {FINGERPRINT: mark, "s2tx.data": data, DATA: data_sha256}
        tags |= {"mlflow.source.name": "s2tx train"}
        tags |= {"s2tx.git_commit": commit} if commit else {}
        tags |= {"mlflow.source.git.commit": commit.split("+")[0]} if commit else {}
        name = f"{data}-h{horizon}-{mark[:8]}"
        experiment = experiment_id(client, project)
        run_id = str(client.create_run(experiment, tags=tags, run_name=name).info.run_id)
    return run_id


def _send_params(client: MlflowClient, run_id: str, params: Params) -> None:
    """The settings that the run was trained with."""
    from mlflow.entities import Param

    # A logged param cannot be changed: what is not part of the fingerprint keeps the value
    # that the run first had, and the file params.yaml in the run has the newest.
    known = client.get_run(run_id).data.params
    # Every section but the grid's, which no run of the product reads.
    read = {name: section for name, section in as_dict(params).items() if name != "study"}
    leaves = {key: str(value)[:6000] for key, value in flatten(read)}
    absent = [Param(key, value) for key, value in leaves.items() if key not in known]
    for start in range(0, len(absent), 100):
        client.log_batch(run_id, params=absent[start : start + 100])


def _send_curves(
    client: MlflowClient, run_id: str, records: list[Any], sent: dict[str, set[int]]
) -> None:
    """Send what ``sent`` (curve -> steps, filled from MLflow as needed) does not hold."""
    from mlflow.entities import Metric

    now, fresh = int(time.time() * 1000), []
    for record in records:
        step = int(record["epoch"])
        for key, value in record.items():
            if key == "epoch" or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if key not in sent:
                sent[key] = {point.step for point in client.get_metric_history(run_id, key)}
            if step not in sent[key]:
                sent[key].add(step)
                fresh.append(Metric(key, float(value), now, step))
    _send_metrics(client, run_id, fresh)


def _send_scores(client: MlflowClient, run_id: str, tree: Mapping[str, Any]) -> None:
    """Send what differs from the run: numbers, and curves with percent missing as their step."""
    from mlflow.entities import Metric

    known, now = client.get_run(run_id).data.metrics, int(time.time() * 1000)
    fresh = [
        Metric(key, float(value), now, 0)
        for key, value in flatten(tree)
        if isinstance(value, int | float) and math.isfinite(value) and known.get(key) != value
    ]
    percent = [round(100 * rate) for rate in tree.get("missing_rates", ())]
    for key, values in flatten({"missing_curve": tree.get("missing_curve", {})}):
        history = client.get_metric_history(run_id, key)
        newest = {point.step: point.value for point in sorted(history, key=lambda p: p.timestamp)}
        fresh += [
            Metric(key, value, now, step)
            for step, value in zip(percent, values, strict=True)
            if math.isfinite(value) and newest.get(step) != value
        ]
    _send_metrics(client, run_id, fresh)


def _send_metrics(client: MlflowClient, run_id: str, fresh: list[Metric]) -> None:
    for start in range(0, len(fresh), _BATCH):
        client.log_batch(run_id, metrics=fresh[start : start + _BATCH])


def _scored_files(project: Project, mark: str, weights: str) -> dict[str, list[Path]]:
    """What evaluate and report made, by folder in the run; nothing if it is of another model."""
    try:
        receipt = json.loads(project.receipt.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    of_this = (receipt.get("fingerprint"), receipt.get("weights_sha256")) == (mark, weights)
    if not of_this or not project.metrics.exists():
        return {}
    return {
        "evaluate": [project.metrics, project.receipt],
        "plots": [project.plots],
        "report": [project.report.parent],
    }


def _contents(files: Mapping[str, list[Path]]) -> list[tuple[str, str]]:
    """Place in the run and sha256 of every file, sorted."""
    found = []
    for folder, paths in files.items():
        for path in paths:
            inside = sorted(path.rglob("*")) if path.is_dir() else [path]
            for file in filter(Path.is_file, inside):
                place = file.relative_to(path if path.is_dir() else path.parent)
                found.append((f"{folder}/{place.as_posix()}", identity.of_file(file)))
    return sorted(found)


def _send_environment(client: MlflowClient, run_id: str) -> None:
    """The machine, and the packages in a form that pip takes as constraints."""
    packages = {
        f"{dist.metadata['Name']}=={dist.version}"
        for dist in metadata.distributions()
        if dist.metadata["Name"]
    }
    with tempfile.TemporaryDirectory() as folder:
        texts = {
            "machine.json": json.dumps(identity.machine(), indent=2),
            "constraints.txt": "\n".join(sorted(packages, key=str.lower)),
        }
        for name, text in texts.items():
            (Path(folder) / name).write_text(text + "\n", encoding="utf-8")
        client.log_artifacts(run_id, folder, "environment")
