"""The face: quick help, clear exit codes, JSON that a script can read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from s2tx.cli import main
from s2tx.cli.app import app
from s2tx.errors import S2TXError
from s2tx.forecasting.forecaster import Forecast
from s2tx.paths import Project
from tests.conftest import ROOT

COMMANDS = {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "s2tx", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def test_help_imports_nothing_heavy() -> None:
    """Protects ``s2tx --help`` from taking seconds."""
    heavy = ["torch", "pandas", "numpy", "mlflow", "dvc", "great_expectations", "prefect", "numba"]
    code = (
        "import sys; from typer.testing import CliRunner; from s2tx.cli.app import app; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself(command: str) -> None:
    """Protects a newcomer from a command without help."""
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert len(result.output) > 100


def test_outside_a_project_every_command_is_the_users_fault(tmp_path: Path) -> None:
    """Protects scripts: exit code 2, one line on stderr, no traceback, nothing written."""
    done = run("validate", cwd=tmp_path)
    assert done.returncode == 2
    assert "params.yaml does not exist" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["ingest"], ["nonsense"], ["forecast", "--days", "3"]])
def test_wrong_usage_is_exit_code_2(words: list[str], tmp_path: Path) -> None:
    """Protects scripts from mistaking a typo for a failure of the work."""
    assert run(*words, cwd=tmp_path).returncode == 2


def test_other_failures_are_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the difference between the user's fault and the world's."""

    def fail() -> None:
        raise S2TXError("the registry is on fire")

    monkeypatch.setattr("s2tx.cli.app.app", fail)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1


@pytest.mark.parametrize("stage", ["validate", "inject", "baseline", "evaluate", "report"])
def test_inputs_of_stages_that_are_not_there_are_named(
    stage: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Protects from a traceback when a stage is run by hand before those above it."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["s2tx", stage])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert "does not exist" in told or "no " in told


def test_a_broken_table_is_refused_and_put_aside(tmp_path: Path) -> None:
    """Protects the nightly script: exit code 2, the place and the value, the file in quarantine."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / ".dvc").mkdir()
    bad = tmp_path / "bad.csv"
    bad.write_text("date,load\n2024-01-01 00:00:00,1.0\n2024-01-01 01:00:00,oops\n")
    done = run("ingest", str(bad), cwd=tmp_path)
    assert done.returncode == 2
    assert "line 3" in done.stderr
    assert "oops" in done.stderr
    assert not (tmp_path / "data").exists()
    assert len(list((tmp_path / "quarantine").glob("bad-*/report.json"))) == 1
    done = run("ingest", str(bad), "--append", "--step", "1h", cwd=tmp_path)
    assert done.returncode == 2
    assert "--step goes with a new version" in done.stderr


def test_nothing_is_ingested_while_a_night_is_at_work(tmp_path: Path) -> None:
    """Protects a night that trains for hours from a table that is another at its end."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / ".dvc").mkdir()
    night = Project(tmp_path).night
    night.parent.mkdir()
    with FileLock(night):
        done = run("ingest", "substation-demo", cwd=tmp_path)
    assert (done.returncode, "a night is at work" in done.stderr) == (1, True)
    assert not Project(tmp_path).data.exists()
    assert run("ingest", "nothing", cwd=tmp_path).returncode == 2  # it is looked for
    with FileLock(night, blocking=False):  # it was given back
        pass


@pytest.mark.parametrize("words", [["forecast"], ["forecast", "--json"]])
def test_gaps_are_warned_of_beside_the_result(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Protects a person from a forecast from nothing, and scripts from a warning in their JSON."""
    made = Forecast(
        path=tmp_path / "x.csv",
        about=tmp_path / "x.csv.json",
        sha256="0" * 64,
        rows=6,
        name="s2tx-tiny-h6",
        version=1,
        newest="2024-01-01",
        newest_reading="2024-01-01",
        first="2024-01-02",
        last="2024-01-07",
        missing={"load": 0.25, "oil": 1.0, "wind": 0.0},
        unseen=("oil",),
    )
    monkeypatch.setattr("s2tx.forecasting.forecaster.forecast", lambda *_, **__: made)
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(app, words)
    assert result.stderr == f"warning: {made.warning}\n"
    for told in ("25.0% of load", "train mean: oil"):
        assert told in result.stderr
    assert "wind" not in result.stderr
    if "--json" in words:
        assert json.loads(result.stdout)["unseen"] == ["oil"]


def test_json_is_one_object(tmp_path: Path) -> None:
    """Protects scripts that read ``--json``."""
    done = run("doctor", "--json", cwd=tmp_path)
    checks = json.loads(done.stdout)
    assert {"name", "ok", "found", "cure"} <= set(checks[0])
    assert done.returncode == 1  # an empty folder has no data
