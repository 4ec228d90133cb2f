"""What a failing store says goes into logs and the ledger: no password may go with it."""

from __future__ import annotations

import traceback
from urllib.parse import quote

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from requests import HTTPError

from s2tx.errors import S2TXError
from s2tx.forecasting import SERVE
from s2tx.params import Params
from s2tx.paths import Project
from s2tx.registry import champion, ledger, package, store, tracking
from s2tx.registry import promote as gate
from s2tx.registry.promote import promote
from s2tx.registry.store import (
    UnreachableError,
    address,
    connect,
    experiment_id,
    locked,
    without_password,
)
from tests.tiny import CPU


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://u:p@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:a/b@h/db", "postgresql://u:***@h/db"),
        ("http://u:a@b@h:5000", "http://u:***@h:5000"),
        ("http://u:p@h/x@y", "http://u:***@h/x@y"),
        ("http://u@h:5000/p", "http://u@h:5000/p"),
        ("http://h:5000", "http://h:5000"),
        ("sqlite:////a:b/mlflow.db", "sqlite:////a:b/mlflow.db"),
    ],
)
def test_the_password_alone_is_hidden(uri: str, shown: str) -> None:
    """Protects the rest of the address, by which a person finds the server."""
    assert without_password(uri, uri) == shown
    assert without_password(f"call of {uri}/api failed", uri) == f"call of {shown}/api failed"


@given(password=st.text(st.characters(codec="ascii", exclude_characters="@%"), min_size=1))
def test_no_form_of_the_password_is_left(password: str) -> None:
    """Protects from a library that decodes the address before it complains of it."""
    uri = f"postgresql://u:{quote(password, safe='')}@h/db"
    for told in (uri, f"postgresql://u:{password}@h/db"):
        assert without_password(told, uri) == "postgresql://u:***@h/db"


def test_the_ledger_holds_no_password(
    project: Project, tiny: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the record that goes wherever the project goes: MLflow repeats its address."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://nightly:hunter2@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UnreachableError) as caught:
        promote(project, tiny)

    def fails(*_: object) -> None:
        raise OSError(f"no route to {address(project)}")

    monkeypatch.setattr("s2tx.registry.promote.connect", fails)
    with pytest.raises(OSError, match="no route"):
        promote(project, tiny)
    first, second = (line["reason"] for line in ledger.read(ledger.path_of(project)))
    for told in ("".join(traceback.format_exception(caught.value)), first, second):
        assert "nightly:***@127.0.0.1:9" in told
        assert "hunter2" not in told


@pytest.mark.parametrize("kind", [MlflowException, HTTPError])
def test_nothing_that_mlflow_says_later_holds_the_password(
    project: Project, tiny: Params, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    """Protects logs and pages of runs: a store that fails after the first call repeats its address
    too."""
    client = connect(project)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://nightly:hunter2@db/mlflow")

    class Failing:
        tracking_uri = address(project)

        def __getattr__(self, name: str) -> object:
            def fail(*_: object, **__: object) -> None:
                raise kind(f"(OperationalError) {self.tracking_uri}: server closed")

            return fail if hasattr(client, name) else None

    for room in (champion, gate, package, tracking):
        monkeypatch.setattr(room, "connect", lambda _: Failing())
    monkeypatch.setattr(tracking, "experiment_id", lambda *_: "0")
    for call in (
        lambda: promote(project, tiny),
        lambda: gate.rollback(project, tiny),
        lambda: package.register(project, tiny, SERVE),
        lambda: tracking.sync(project, tiny),
        lambda: champion.load_champion(project, "s2tx-tiny-h6", CPU),
    ):
        with pytest.raises(S2TXError, match=r"nightly:\*\*\*@db/mlflow") as caught:
            call()
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_the_lock_that_is_held_is_the_one_that_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects from a search for the holder of another lock, and from a traceback."""
    connect(project)
    monkeypatch.setattr(store, "PATIENCE", 0.1)
    monkeypatch.setattr(store, "OPENING", 0.1)
    held = project.mlruns / ".mlflow.db.lock"
    with FileLock(held), locked(project, "runs"), pytest.raises(S2TXError) as told:
        experiment_id(None, project)  # type: ignore[arg-type]
    assert str(told.value).startswith(f"another process has held {held} for")
    with FileLock(held), pytest.raises(S2TXError) as told:
        connect(project)
    assert not isinstance(told.value, UnreachableError)  # the server is not to blame
    with (
        FileLock(project.mlruns / ".runs.lock"),
        pytest.raises(S2TXError, match=r"held .*\.runs\.lock"),
        locked(project, "runs"),
    ):
        pytest.fail("two held it")
