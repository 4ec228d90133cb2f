"""DVC's lock of paths must not outlive who holds it, and must not be taken from who does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s2tx.data import dvc_locks

REPRO = "repro --single-item train"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def holder() -> Iterator[int]:
    """A process that was told what a DVC would be told."""
    words = [sys.executable, "-c", "input()", *REPRO.split()]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()


def hold(root: Path, *, write: dict[str, Any], read: dict[str, Any]) -> Path:
    path = root / ".dvc" / "tmp" / "rwlock"
    path.write_text(json.dumps({"write": write, "read": read}))
    return path


def note(pid: int, cmd: str) -> dict[str, Any]:
    return {"pid": pid, "cmd": cmd}


@pytest.mark.parametrize(
    "cmd", [f"/a b/dvc/__main__.py {REPRO}", f"/usr/bin/dvc {REPRO}", "ipykernel_launcher.py -f x"]
)
def test_a_living_holder_keeps_its_lock(root: Path, holder: int, cmd: str) -> None:
    """Protects a training at work from a second one on the same files. What no command of DVC wrote
    may be a notebook, whose words are no help: it is left alone."""
    path = hold(root, write={"out": note(holder, cmd)}, read={"in": [note(holder, cmd)]})
    before = path.read_bytes()
    assert dvc_locks.release(root) == []
    assert path.read_bytes() == before


def test_a_number_that_was_given_away_holds_nothing(root: Path, holder: int) -> None:
    """Protects nights after a kill: another process has the number, and DVC would wait for it."""
    alive, dead = note(holder, f"dvc {REPRO}"), note(os.getpid(), "dvc pull --quiet data.dvc")
    gone = note(2**22 + 1, "a notebook")
    path = hold(
        root,
        write={"a": dead, "b": alive, "c": gone},
        read={"a": [dead, alive], "b": [dead]},
    )
    told = dvc_locks.release(root)
    assert len(told) == 4
    assert all("is dropped" in line for line in told)
    assert json.loads(path.read_text()) == {"write": {"b": alive}, "read": {"a": [alive]}}


@pytest.mark.parametrize("text", ['{"write": {"a": {"pid', "[]", '{"write": {"a": 3}}', ""])
def test_a_torn_file_is_begun_anew(root: Path, text: str) -> None:
    """Protects every later command from one that was killed while it wrote."""
    path = root / ".dvc" / "tmp" / "rwlock"
    path.write_text(text)
    (told,) = dvc_locks.release(root)
    assert "torn" in told
    assert json.loads(path.read_text()) == {}


def test_where_nothing_is_locked_nothing_is_done(root: Path) -> None:
    """Protects a wait for DVC's other lock, which is no file of notes."""
    assert dvc_locks.release(root) == []
    assert list((root / ".dvc" / "tmp").iterdir()) == []
