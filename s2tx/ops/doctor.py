"""Is this machine fit to run the pipeline? One line a thing, each with its cure."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from s2tx.data import versions
from s2tx.data.age import newest_reading, require_recent
from s2tx.data.profile import take_out_sentinels
from s2tx.data.read import read_current
from s2tx.errors import InputError, S2TXError
from s2tx.params import load_params
from s2tx.paths import Project
from s2tx.registry.store import address, begun, without_password

_SPACE = 5  # GiB that a night should find free
_NO_COMMIT = (
    "Tell it who you are: git config user.name NAME; git config user.email ADDRESS; "
    "then: git add data.dvc && git commit data.dvc"
)


@dataclass(frozen=True)
class Check:
    """What was looked at.

    Attributes:
        name: in a word or two.
        ok: nothing needs doing.
        found: what is there.
        cure: what to do if it is not ok.
    """

    name: str
    ok: bool
    found: str
    cure: str


class _NotOkError(Exception):
    """What was found is not good enough."""


def examine(project: Project) -> list[Check]:
    """Look at everything the pipeline needs; changes nothing and never raises."""
    return [
        _check(name, look, project, cure)
        for name, look, cure in (
            ("Python", _python, "Install Python 3.11 or newer, remove .venv, and run: make setup"),
            ("params", _params, "Mend params.yaml, or restore it: git checkout params.yaml"),
            ("torch", _torch, "Set runtime.device to auto in params.yaml, or mend the driver"),
            ("backends", _backends, "Set runtime.scan and runtime.layers to auto in params.yaml"),
            ("data", _data, "Bring them back: dvc pull data.dvc; or others in: s2tx ingest"),
            ("freshness", _age, "See why the source brings nothing newer"),
            ("DVC remote", _remote, "See: dvc remote list; then dvc push"),
            ("git", _git, _NO_COMMIT),
            ("MLflow", _mlflow, "Start the server that MLFLOW_TRACKING_URI names, or unset it"),
            ("champion", _champion, "See what it says; s2tx rollback goes back to the one before"),
            ("Prefect", _prefect, "Install it anew: make setup"),
            ("disk", _disk, f"Free some space: a night should find {_SPACE} GiB"),
        )
    ]


def _check(name: str, look: Callable[[Project], str], project: Project, cure: str) -> Check:
    try:
        return Check(name, True, look(project), cure)
    except InputError as error:
        return Check(name, False, error.what, error.cure)
    except (_NotOkError, S2TXError) as error:
        return Check(name, False, str(error), cure)
    except Exception as error:
        shown = without_password(f"{type(error).__name__}: {error}", address(project))
        return Check(name, False, shown, cure)


def _python(project: Project) -> str:  # noqa: ARG001
    return f"{platform.python_version()} at {sys.executable}"


def _params(project: Project) -> str:
    load_params(project.params)
    return str(project.params)


def _torch(project: Project) -> str:
    import torch

    from s2tx.training.runtime import pick_device

    device = pick_device(load_params(project.params).runtime)
    threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} processors"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return f"torch {torch.__version__} on {name}, {threads}"


def _backends(project: Project) -> str:
    from s2tx import zoo
    from s2tx.training.runtime import pick_device

    params = load_params(project.params)
    device = pick_device(params.runtime)
    zoo.build(params.model, params.window, 1, params.runtime, device)
    used = zoo.backends(params.model, params.runtime, device)
    return ", ".join(f"{part}: {name}" for part, name in used.items())


def _data(project: Project) -> str:
    current = read_current(project)
    return f"{current.card.name}, {len(current.frame)} rows in {project.data / current.card.file}"


def _age(project: Project) -> str:
    params, current = load_params(project.params), read_current(project)
    published = current.frame[list(current.card.variates)].to_numpy(np.float64)
    values, _ = take_out_sentinels(published, params.validate.sentinels)
    return require_recent(newest_reading(current.times, values), params.ingest.max_age_hours)


def _remote(project: Project) -> str:
    absent = versions.not_pushed(project)
    if absent:
        raise _NotOkError(absent)
    return "reachable, and holds the current data"


def _git(project: Project) -> str:
    """A night with a source of new rows commits ``data.dvc``."""
    if load_params(project.params).ingest.source is None:
        return "no night commits, as ingest.source is null"
    who = versions.committer(project)
    if versions.not_committed(project):
        raise _NotOkError("data.dvc is not committed: git cannot bring this version back")
    there = "data.dvc is committed" if (project.root / "data.dvc").exists() else "no data.dvc yet"
    return f"{there}; nights commit as {who}"


def _mlflow(project: Project) -> str:
    from s2tx.registry.store import connect

    if not begun(project):
        return "no run yet; the first one makes mlruns/mlflow.db"
    connect(project)
    uri = address(project)
    return without_password(uri, uri)


def _champion(project: Project) -> str:
    from s2tx.registry.champion import load_champion
    from s2tx.registry.package import current_card, model_name

    params = load_params(project.params)
    name = model_name(current_card(project), params.window)
    if not begun(project):
        raise InputError(
            f"{name} has no champion yet", "Make one: dvc repro, s2tx register, s2tx promote"
        )
    _, version = load_champion(project, name, params.runtime)
    return f"{name} version {version} loads"


def _prefect(project: Project) -> str:  # noqa: ARG001
    with contextlib.redirect_stdout(None):
        import prefect

    return f"Prefect {prefect.__version__}"


def _disk(project: Project) -> str:
    free = shutil.disk_usage(project.root).free / 2**30
    if free < _SPACE:
        raise _NotOkError(f"{free:.1f} GiB free")
    return f"{free:.0f} GiB free"
