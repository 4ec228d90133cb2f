"""The served model over HTTP, and the module that defines it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pandas as pd
import pytest

from s2tx.forecasting import SERVE
from s2tx.forecasting.forecaster import Forecaster
from s2tx.params import Params
from s2tx.paths import Project
from s2tx.registry.package import register
from s2tx.registry.promote import promote
from s2tx.registry.store import address
from tests.tiny import CPU, tiny_table


def test_importing_it_sets_no_model() -> None:
    """MLflow keeps one global model: an import by a test or a tool must not become it."""
    import mlflow.models.model

    before = mlflow.models.model.__mlflow_model__
    import s2tx.forecasting.serve

    assert mlflow.models.model.__mlflow_model__ is before
    assert SERVE.samefile(s2tx.forecasting.serve.__file__)


@pytest.mark.slow
def test_it_answers_over_http(project: Project, tiny: Params) -> None:
    """The command of the README, with pickle forbidden; the answer is the forecast itself."""
    register(project, tiny, SERVE)
    promote(project, tiny)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": address(project),
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    command = "-m mlflow models serve -m models:/s2tx-tiny-h6@champion --env-manager local"
    log = (project.root / "serve.log").open("w+")
    child = subprocess.Popen(
        [sys.executable, *command.split(), "-p", str(port)],
        env=environment,
        cwd=project.root,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        frame = tiny_table().frame().tail(48)
        rows = json.loads(frame.to_json(orient="split", date_format="iso", index=False))
        body = json.dumps({"dataframe_split": rows}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            data=body,
            headers={"Content-Type": "application/json"},
        )
        give_up = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    predictions = json.load(answer)["predictions"]
                break
            except (urllib.error.URLError, ConnectionError):
                assert child.poll() is None, (project.root / "serve.log").read_text()
                assert time.monotonic() < give_up, (project.root / "serve.log").read_text()
                time.sleep(0.5)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait(20)
        log.close()
    served = pd.DataFrame(predictions).astype({"when": "datetime64[ns]"})
    here = Forecaster.load(project.model, CPU).predict(tiny_table().frame())
    pd.testing.assert_frame_equal(served, here, rtol=1e-5)
