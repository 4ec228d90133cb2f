"""A small good table, a project around it, and DVC out of the way where it is not the subject."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from s2tx import fingerprint
from s2tx.data import expectations, versions
from s2tx.data.ingest import ingest
from s2tx.params import Params, WindowParams
from s2tx.paths import Project

ROWS = 600


def good_frame(rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    """Hourly, three variates, nothing wrong with it."""
    random = np.random.default_rng(seed)
    hours = np.arange(rows)
    noise = random.normal(0, 0.5, (rows, 3))  # row by row: a longer table begins like a shorter
    frame = pd.DataFrame({"date": pd.date_range("2024-01-01", periods=rows, freq="1h")})
    for number, name in enumerate(("load", "wind", "oil")):
        wave = 10 + 3 * np.sin(2 * np.pi * (hours + 3 * number) / 24)
        frame[name] = np.round(wave + noise[:, number], 3)
    return frame


def write(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False, lineterminator="\n")
    return path


@pytest.fixture
def frame() -> pd.DataFrame:
    return good_frame()


@pytest.fixture(scope="session")
def small(params: Params) -> Params:
    """The project's settings with windows that fit the small table."""
    window = WindowParams(look_back=48, short_look_back=24, horizon=12)
    return dataclasses.replace(params, window=window)


def _record(project: Project) -> None:
    (project.root / "data.dvc").write_text(repr(snapshot(project.data)))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project; DVC is a stand-in that records the hash of what stands in ``data/``."""
    place = Project(tmp_path / "a project")
    (place.root / ".dvc").mkdir(parents=True)

    monkeypatch.setattr(versions, "add_data", _record)
    monkeypatch.setattr(versions, "push", lambda _: None)
    return place


@pytest.fixture
def unjudged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Great Expectations out of the way: for tests of what happens around a validation."""
    monkeypatch.setattr(expectations, "judge", lambda *_: [])


@pytest.fixture(scope="session")
def _served(tmp_path_factory: pytest.TempPathFactory, small: Params) -> Path:
    """A project with the good table in service as ``my``, made once."""
    place = tmp_path_factory.mktemp("served")
    (place / "project" / ".dvc").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(versions, "add_data", _record)
        patch.setattr(versions, "push", lambda _: None)
        ingest(Project(place / "project"), small, str(write(good_frame(), place / "my.csv")))
    return place / "project"


@pytest.fixture
def served(_served: Path, project: Project) -> Project:
    """The small project, with the good table in service under the name ``my``."""
    shutil.copytree(_served, project.root, dirs_exist_ok=True)
    return project


def snapshot(folder: Path) -> dict[str, str]:
    """Every file below a folder with its hash."""
    if not folder.exists():
        return {}
    return {
        path.relative_to(folder).as_posix(): fingerprint.of_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
