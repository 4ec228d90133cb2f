"""The one door to MLflow: where the store is, and a client that answers or an error that says why.

By default everything lies in ``mlruns/``: runs and versions in ``mlflow.db`` (SQLite), files in
``artifacts/``. ``MLFLOW_TRACKING_URI``, if set, moves all of it. No global URI is set: the client
carries its own.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar
from urllib.parse import quote, unquote

from s2tx.errors import S2TXError
from s2tx.locks import held
from s2tx.paths import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient

_P = ParamSpec("_P")
_Made = TypeVar("_Made")
EXPERIMENT = "s2tx"
PATIENCE = 600.0  # seconds to wait for another process's turn
OPENING = 120.0  # and for its opening of the database
_SQLITE = "sqlite:///"
# Up to the @ before the host; SQLAlchemy lets a password hold a slash, requests an @.
_PASSWORD = re.compile(r"://[^:/@]*:(.*?)@(?=[^@/]*(?:/|$))")
# An operator's own values win. MLflow retries for minutes: training must not wait that long.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class UnreachableError(S2TXError):
    """MLflow does not answer; nothing was changed there."""


def address(project: Project) -> str:
    """The tracking URI: ``MLFLOW_TRACKING_URI``, else SQLite below the project's root."""
    database = project.mlruns.resolve() / "mlflow.db"
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{database}"


def begun(project: Project) -> bool:
    """Whether there is a store to ask: a server is named, or a run has made the database."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or (project.mlruns / "mlflow.db").exists()


def without_password(text: object, uri: str) -> str:
    """``text``, an error's say, without the password in ``uri``, however it is encoded there."""
    shown, found = str(text), _PASSWORD.search(uri)
    if found:
        plain = unquote(found[1])
        for form in (found[1], plain, quote(plain, safe="")):
            shown = shown.replace(f":{form}@", ":***@")
    return shown


def connect(project: Project) -> MlflowClient:
    """A client whose store exists and answers.

    Raises:
        UnreachableError: it does not; the message names the address and the cure.
        S2TXError: the project was copied or moved, and its store points to where it was; or
            another process holds the database's lock.
    """
    uri = address(project)
    for key, value in _SETTINGS.items():
        os.environ.setdefault(key, value)
    from mlflow import MlflowClient

    for chatty in ("mlflow.store", "mlflow.pyfunc", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        # Two processes that first open a new database would race in its migration.
        with _one_at_a_time(uri):
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            found = client.get_experiment_by_name(EXPERIMENT)
    except S2TXError:  # the database's lock is held
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        message = (
            f"MLflow at {uri} does not answer ({type(error).__name__}: {reason}). Start it or mend "
            "MLFLOW_TRACKING_URI, then send the run with: s2tx track"
        )
        raise UnreachableError(without_password(message, uri)) from None
    home = project.mlruns.resolve()
    expected = _artifacts(home)
    if found and _sqlite_folder(uri) == home and found.artifact_location != expected:
        raise S2TXError(
            f"{project.mlruns / 'mlflow.db'} keeps its files in {found.artifact_location}, not in "
            f"{expected}: the project was copied or moved. Put it back there, or begin anew here, "
            f"without its runs, versions and champions: remove {project.mlruns}"
        )
    return client


def guarded(
    function: Callable[Concatenate[Project, _P], _Made],
) -> Callable[Concatenate[Project, _P], _Made]:
    """``function(project, ...)``, whose errors of MLflow hold no password: ``S2TXError``.

    ``connect`` asks once; a store may fail at any later call, and MLflow repeats its address.
    """

    @functools.wraps(function)
    def told(project: Project, /, *words: _P.args, **named: _P.kwargs) -> _Made:
        try:
            return function(project, *words, **named)
        except S2TXError:
            raise
        except Exception as error:
            from mlflow.exceptions import MlflowException
            from requests import RequestException

            if not isinstance(error, MlflowException | RequestException):
                raise
            uri = address(project)
            message = f"MLflow at {uri} failed ({error}). See what it says, and run again"
            raise S2TXError(without_password(message, uri)) from None

    return told


def experiment_id(client: MlflowClient, project: Project) -> str:
    """The id of the project's experiment; made, or brought back from the bin, if need be."""
    uri = address(project)
    with _one_at_a_time(uri):
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            place = _sqlite_folder(uri)
            location = _artifacts(place) if place else None
            made: str = client.create_experiment(EXPERIMENT, artifact_location=location)
            return made
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        known: str = found.experiment_id
        return known


@contextlib.contextmanager
def locked(project: Project, name: str) -> Iterator[None]:
    """Hold the lock called ``name`` among the processes of this project; waits for its turn.

    Raises:
        S2TXError: another process holds it for ``PATIENCE``.
    """
    with held(project.mlruns / f".{name}.lock", PATIENCE):
        yield


def _sqlite_folder(uri: str) -> Path | None:
    return Path(uri.removeprefix(_SQLITE)).resolve().parent if uri.startswith(_SQLITE) else None


def _artifacts(folder: Path) -> str:
    """Where a SQLite store in ``folder``, resolved, keeps its files."""
    return (folder / "artifacts").as_uri()


@contextlib.contextmanager
def _one_at_a_time(uri: str) -> Iterator[None]:
    folder = _sqlite_folder(uri)
    if folder is None:
        yield
        return
    with held(folder / ".mlflow.db.lock", OPENING):
        yield
