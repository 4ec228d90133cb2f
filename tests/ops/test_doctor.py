"""The doctor finds what is amiss, names the cure, and never falls ill itself."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
from pathlib import Path

import pytest

from s2tx.forecasting import SERVE
from s2tx.ops import doctor
from s2tx.params import Params
from s2tx.paths import Project
from s2tx.registry import store
from s2tx.registry.package import register
from s2tx.registry.promote import promote
from tests.tiny import tiny_table


def _by_name(project: Project) -> dict[str, doctor.Check]:
    return {check.name: check for check in doctor.examine(project)}


def test_an_empty_folder_gets_cures_and_nothing_else(tmp_path: Path) -> None:
    """On a machine where nothing is right, every line must still come, and no folder be made."""
    checks = doctor.examine(Project(tmp_path))
    sick = {check.name for check in checks if not check.ok}
    assert {"params", "data", "DVC remote", "champion"} <= sick
    assert all(check.cure and check.found for check in checks)
    assert list(tmp_path.iterdir()) == []


def test_a_champion_that_loads_is_healthy(
    project: Project, tiny: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one whose files are gone is not, though the alias still points to it."""
    monkeypatch.setattr(doctor, "load_params", lambda _: tiny)
    assert not _by_name(project)["champion"].ok
    register(project, tiny, SERVE)
    promote(project, tiny)
    found = _by_name(project)
    assert found["champion"].ok
    assert "version 1 loads" in found["champion"].found
    assert found["MLflow"].ok
    for weights in (project.mlruns / "artifacts").rglob("artifacts/bundle/*.safetensors"):
        weights.unlink()
    sick = _by_name(project)["champion"]
    assert not sick.ok
    assert "Go back with: s2tx rollback" in sick.found
    assert "dvc repro" not in sick.found + sick.cure  # a new model would not mend it


def test_data_are_those_of_their_card(
    project: Project, tiny: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects from a night that starts on half a pull: any file at all is no data set.

    And where a bound is set, from a table that no longer grows.
    """
    project.data.mkdir()
    (project.data / "tiny.csv").write_text("when,load\n")
    found = doctor._check("data", doctor._data, project, "cure")
    assert not found.ok
    assert "dataset.json does not exist" in found.found
    assert found.cure.startswith("Bring it with: dvc pull data.dvc")  # its own, and once
    assert "Bring it" not in found.found
    rows = "".join(f"2024-01-01 {hour:02}:00:00,{hour}\n" for hour in range(9))
    text = f"when,load\n{rows}"
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    card = dataclasses.replace(tiny_table().card, sha256=sha256, variates=("load",))
    (project.data / "tiny.csv").write_text(text)
    (project.data / "dataset.json").write_text(card.to_json())
    found = doctor._check("data", doctor._data, project, "cure")
    assert found.ok
    assert "tiny, 9 rows in" in found.found
    limited = dataclasses.replace(tiny.ingest, max_age_hours=24.0)
    for ingest, fresh in ((tiny.ingest, True), (limited, False)):
        params = dataclasses.replace(tiny, ingest=ingest)
        monkeypatch.setattr(doctor, "load_params", lambda _, params=params: params)
        age = doctor._check("freshness", doctor._age, project, "cure")
        assert age.ok is fresh
        assert age.found.startswith("the newest reading is of 2024-01-01 08:00:00, ")
    (project.data / "tiny.csv").write_text(text + rows)
    assert "its card declares" in doctor._check("data", doctor._data, project, "cure").found


def test_a_night_that_could_not_commit_is_found(
    project: Project, tiny: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service account without a name would fail the first night that brings new rows."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("HOME", str(project.root))
    fed = dataclasses.replace(tiny, ingest=dataclasses.replace(tiny.ingest, source="load.csv"))
    subprocess.run(["git", "init", "-q", project.root], check=True)
    subprocess.run(["git", "-C", project.root, "config", "user.useConfigOnly", "true"], check=True)
    commit = ["git", "-C", project.root, "commit", "-q", "--allow-empty", "-m", "a night's"]
    (project.root / "data.dvc").write_text("one")
    uncommitted = (["add", "data.dvc"], ["commit", "-q", "--only", "data.dvc", "-m", "data"])
    for params, who, ok in (
        (tiny, (), True),
        (fed, (), False),
        (fed, ("COMMITTER",), False),
        (fed, ("COMMITTER", "AUTHOR"), True),
    ):
        monkeypatch.setattr(doctor, "load_params", lambda _, params=params: params)
        for each in who:
            monkeypatch.setenv(f"GIT_{each}_NAME", "Nightly")
            monkeypatch.setenv(f"GIT_{each}_EMAIL", "nightly@example.org")
        check = _by_name(project)["git"]
        if ok and params is fed:
            assert not check.ok
            assert "data.dvc is not committed" in check.found
            for words in uncommitted:
                subprocess.run(["git", "-C", project.root, *words], check=True)
            check = _by_name(project)["git"]
        assert check.ok == ok, check
        if params is fed:
            assert (subprocess.run(commit, check=False).returncode == 0) == ok
    assert "Nightly <nightly@example.org>" in check.found


def test_an_unreachable_server_is_found(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor is asked exactly when something is down: it must not hang or raise."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    found = _by_name(project)
    assert not found["MLflow"].ok
    assert "127.0.0.1:9" in found["MLflow"].found
    assert not any("secret" in check.found for check in found.values())
    monkeypatch.setattr(store, "connect", lambda _: None)
    assert _by_name(project)["MLflow"].found == "http://me:***@127.0.0.1:9"


def test_a_check_that_breaks_is_a_finding(tmp_path: Path) -> None:
    """Whatever a check runs into must not hide the checks after it."""

    def broken(_: Project) -> str:
        raise ZeroDivisionError("oh")

    check = doctor._check("x", broken, Project(tmp_path), "cure")
    assert check == doctor.Check("x", False, "ZeroDivisionError: oh", "cure")
