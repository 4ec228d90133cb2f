"""The registered model stands alone: no pickle, no working tree, never twice."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from s2tx.errors import InputError, S2TXError
from s2tx.forecasting import SERVE
from s2tx.forecasting.forecaster import Forecaster
from s2tx.params import Params
from s2tx.paths import Project
from s2tx.registry import tracking
from s2tx.registry.package import register
from s2tx.registry.promote import promote
from s2tx.registry.store import address, connect, experiment_id
from tests.tiny import CPU, put_on_disk, tiny_bundle, tiny_table


def _package(project: Project) -> Path:
    return next((project.mlruns / "artifacts").rglob("MLmodel")).parent


def test_the_same_model_is_registered_once(project: Project, tiny: Params) -> None:
    """A repeated night must not fill the registry; another model must get its own version."""
    first = register(project, tiny, SERVE)
    again = register(project, tiny, SERVE)
    assert (first.name, first.version, first.new) == ("s2tx-tiny-h6", 1, True)
    assert (again.version, again.run_id, again.new) == (1, first.run_id, False)
    put_on_disk(project, tiny_bundle(tiny_table(), tiny, shift=0.1))
    other = register(project, tiny, SERVE)
    assert (other.version, other.new) == (2, True)
    assert other.run_id != first.run_id


def test_a_version_says_what_it_is_of(project: Project, tiny: Params) -> None:
    """From a version one must get back to its run, its data and its weights."""
    made = register(project, tiny, SERVE)
    version = connect(project).get_model_version(made.name, str(made.version))
    assert version.run_id == made.run_id
    assert version.tags[tracking.FINGERPRINT] == tiny_bundle(tiny_table(), tiny).fingerprint
    assert version.tags[tracking.DATA] == tiny_table().card.sha256
    assert len(version.tags[tracking.WEIGHTS]) == 64
    assert version.tags[tracking.SEEN] == "2024-01-20T23:00:00"  # row 479, the last before the test


def test_a_version_says_nothing_of_rows_that_it_was_not_trained_on(
    project: Project, tiny: Params
) -> None:
    """Protects the gate from a stamp of other rows, or of another split, than the training's."""
    other = dataclasses.replace(tiny, data=dataclasses.replace(tiny.data, ratio=(0.6, 0.1, 0.3)))
    made = register(project, other, SERVE)
    version = connect(project).get_model_version(made.name, str(made.version))
    assert tracking.SEEN not in version.tags


def test_no_pickle_and_no_cache(project: Project, tiny: Params) -> None:
    """A pickle runs whatever its author likes on load: there must be none, by name or content."""
    register(project, tiny, SERVE)
    files = [path for path in _package(project).rglob("*") if path.is_file()]
    known = {".py", ".json", ".yaml", ".txt", ".safetensors", ".typed", ".j2", ""}
    assert {path.suffix for path in files} <= known
    assert not [path for path in files if path.read_bytes()[:1] == b"\x80"]
    assert [path.name for path in files if path.suffix == ""] == ["MLmodel"]
    requirements = (_package(project) / "requirements.txt").read_text()
    assert "torch==" in requirements
    assert "+cpu" not in requirements


@pytest.mark.slow
def test_it_serves_without_the_working_tree_and_with_pickle_forbidden(
    project: Project, tiny: Params, tmp_path: Path
) -> None:
    """What is in service must not change, or break, when somebody edits the sources."""
    made = register(project, tiny, SERVE)
    frame = tiny_table().frame()
    frame.to_parquet(tmp_path / "rows.parquet")
    script = f"""
import mlflow, pandas, sys
mlflow.set_tracking_uri({address(project)!r})
model = mlflow.pyfunc.load_model("models:/{made.name}/{made.version}")
model.predict(pandas.read_parquet("rows.parquet")).to_parquet("ahead.parquet")
import s2tx
print(s2tx.__file__)
assert "s2tx.registry" not in sys.modules, "serving needs no registry"
"""
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    environment["MLFLOW_DISABLE_TELEMETRY"] = "true"
    environment.pop("PYTHONPATH", None)
    child = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.strip().endswith("/code/s2tx/__init__.py"), child.stdout
    served = pd.read_parquet(tmp_path / "ahead.parquet")
    here = Forecaster.load(project.model, CPU).predict(frame)
    pd.testing.assert_frame_equal(served, here, rtol=1e-6)


def test_tables_with_a_zone_can_be_registered(project: Project, tiny: Params) -> None:
    """MLflow's datetime knows no zone; a table in UTC must not stop the night."""
    tiny_table(zone="UTC").write(project.table)
    assert register(project, tiny, SERVE).new


def test_a_model_that_does_not_predict_is_not_registered(
    project: Project, tiny: Params, tmp_path: Path
) -> None:
    """A version nobody can load must never appear, where a promotion could take it."""
    broken = tmp_path / "serve.py"
    broken.write_text(
        "import mlflow\n"
        "class Broken(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n"
        "        raise RuntimeError('broken')\n"
        "mlflow.models.set_model(Broken())\n"
    )
    before = list(sys.path)
    with pytest.raises(S2TXError, match="broken"):
        register(project, tiny, broken)
    assert not connect(project).search_model_versions()
    assert sys.path == before
    assert register(project, tiny, SERVE).version == 1


def test_without_a_model_there_is_a_cure(tmp_path: Path, tiny: Params) -> None:
    """`s2tx register` in a fresh clone."""
    with pytest.raises(InputError, match="dvc repro"):
        register(Project(tmp_path), tiny, SERVE)


@pytest.mark.parametrize(
    ("key", "value"), [("name", "ETTh2"), ("variates", ("load", "wind")), ("horizon", 7)]
)
def test_a_model_keeps_the_name_of_its_own_data_and_window(
    project: Project, tiny: Params, key: str, value: object
) -> None:
    """Protects the champion of one data set from another's model, and who changed a setting from
    a cure that leads back to itself."""
    params, table = tiny, tiny_table()
    if key == "horizon":
        params = dataclasses.replace(tiny, window=dataclasses.replace(tiny.window, horizon=value))  # type: ignore[arg-type]
    else:
        card = dataclasses.replace(table.card, **{key: value})  # type: ignore[arg-type]
        dataclasses.replace(table, card=card).write(project.table)
    for step in (lambda: register(project, params, SERVE), lambda: promote(project, params)):
        with pytest.raises(InputError, match=rf"trained with {key} .* now\. Run: dvc repro\."):
            step()
    client = connect(project)
    assert not client.search_model_versions()
    assert not client.search_runs([experiment_id(client, project)])


def test_rows_without_a_reading_are_the_inputs_fault(project: Project, tiny: Params) -> None:
    """The proof that a model predicts needs a reading: its lack is exit code 2, not tried again."""
    table = tiny_table()
    dark = table.values.copy()
    dark[-48:] = np.nan
    dataclasses.replace(table, values=dark).write(project.table)
    with pytest.raises(InputError, match="no variate of tiny has a reading"):
        register(project, tiny, SERVE)
    assert not connect(project).search_model_versions("name = 's2tx-tiny-h6'")
