"""Protects the one door to DVC: its order of stages, its failures, its lock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from s2tx.data import versions
from s2tx.errors import InputError, S2TXError
from s2tx.paths import Project

STAGES = """
stages:
  last:
    cmd: python -c "print('the last')"
    deps: [b.txt]
  first:
    cmd: python -c "print('the first'); open('a.txt', 'w').write('a')"
    deps: [data]
    outs: [a.txt]
  second:
    cmd: python -c "import sys; sys.exit(int(open('code').read()))"
    deps: [a.txt, code]
    outs: [b.txt]
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("a repository")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    for words in (["init", "-q"], ["config", "core.analytics", "false"]):
        subprocess.run([sys.executable, "-m", "dvc", *words], cwd=root, check=True)
    (root / "data").mkdir()
    (root / "data" / "x.csv").write_text("x")
    (root / "code").write_text("1")
    project = Project(root)
    versions.add_data(project)
    (root / "dvc.yaml").write_text(STAGES)
    return project


@pytest.mark.slow
def test_the_order_is_dvc_s_own(repository: Project) -> None:
    """A flow that kept an order of its own would run stages on stale inputs."""
    assert versions.stage_order(repository) == ["first", "second", "last"]


@pytest.mark.slow
def test_output_comes_line_by_line_and_only_one_stage_runs(repository: Project) -> None:
    """A night's log must show what happens while it happens."""
    seen: list[str] = []
    versions.reproduce(repository, "first", seen.append)
    assert "the first" in seen
    assert (repository.root / "a.txt").read_text() == "a"
    assert not any("the last" in line for line in seen)


@pytest.mark.slow
@pytest.mark.parametrize(("code", "kind"), [("2", InputError), ("1", S2TXError), ("70", S2TXError)])
def test_the_stage_s_exit_code_survives(repository: Project, code: str, kind: type) -> None:
    """Bad data (2) and a broken program (1) want different people in the morning."""
    versions.reproduce(repository, "first", lambda _: None)
    (repository.root / "code").write_text(code)
    with pytest.raises(S2TXError, match=rf"stage second(?s:.*)exited with {code}") as failure:
        versions.reproduce(repository, "second", lambda _: None)
    assert type(failure.value) is kind


@pytest.mark.slow
def test_a_failing_push_says_why(repository: Project) -> None:
    """No remote: an error with DVC's own words."""
    with pytest.raises(S2TXError, match=r"dvc push data\.dvc failed: ERROR: .*no remote"):
        versions.push(repository)


@pytest.fixture
def committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A git repository with ``data.dvc`` in it, and nobody's settings but its own."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for variable in ("EMAIL", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.delenv(variable, raising=False)
    _git(tmp_path, "init", "--quiet")
    _git(tmp_path, "config", "user.useConfigOnly", "true")
    _git(tmp_path, "config", "user.name", "Test")
    _git(tmp_path, "config", "user.email", "test@example.org")
    (tmp_path / "data.dvc").write_text("one")
    versions.commit_data(Project(tmp_path), "One")
    return Project(tmp_path)


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout


def test_data_are_committed_alone_and_once(committed: Project) -> None:
    """Protects a night without new rows from an empty commit, and other work from going along."""
    root = committed.root
    (root / "other").write_text("somebody's work")
    _git(root, "add", "other")
    versions.commit_data(committed, "Nothing new")
    (root / "data.dvc").write_text("two")
    versions.commit_data(committed, "Two")
    assert _git(root, "log", "--format=%s").split() == ["Two", "One"]
    assert _git(root, "status", "--porcelain").split() == ["A", "other"]


def test_a_commit_that_failed_is_made_up_for(committed: Project) -> None:
    """Protects from a version that git never hears of, because the next try finds nothing new."""
    root = committed.root
    (root / "data.dvc").write_text("two")
    _git(root, "config", "--unset", "user.email")
    for _ in range(2):  # the second finds data.dvc staged by the first
        with pytest.raises(S2TXError, match=r"git commit .* data\.dvc .*failed"):
            versions.commit_data(committed, "Two")
    _git(root, "config", "user.email", "test@example.org")
    versions.commit_data(committed, "Two")
    assert _git(root, "show", "HEAD:data.dvc") == "two"


def test_a_hook_that_asks_or_hangs_is_a_failure(
    committed: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the night from waiting for an answer for ever, and from a machine without git."""
    hook = committed.root / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nread answer || exit 1\n")
    hook.chmod(0o755)
    (committed.root / "data.dvc").write_text("two")
    with pytest.raises(S2TXError, match=r"git commit .* failed"):
        versions.commit_data(committed, "Two")
    hook.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(versions, "_GIT_PATIENCE", 0.5)
    with pytest.raises(S2TXError, match="timed out"):
        versions.commit_data(committed, "Two")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(S2TXError, match=r"git status .*failed"):
        versions.commit_data(committed, "Two")


def test_an_ignored_data_file_is_no_success(committed: Project) -> None:
    """Protects from silence where a rule of .gitignore keeps data.dvc out of git."""
    root = committed.root
    _git(root, "rm", "--quiet", "--cached", "data.dvc")
    _git(root, "commit", "--quiet", "-m", "Gone")
    (root / ".gitignore").write_text("*.dvc")
    with pytest.raises(S2TXError, match=r"git add data\.dvc failed"):
        versions.commit_data(committed, "Two")


def _fake_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Project:
    """A stand-in for the program: ``python -m dvc`` finds this module first."""
    (tmp_path / "dvc.py").write_text(script)
    monkeypatch.setattr(versions, "PAUSE", 0.01)
    return Project(tmp_path)


LOCKED = """
import pathlib, sys
tries = pathlib.Path("tries")
count = int(tries.read_text()) + 1 if tries.exists() else 1
tries.write_text(str(count))
if count < 3:
    sys.exit("ERROR: Unable to acquire lock. Most likely another DVC process is running")
"""


def test_a_held_lock_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC gives up at once; two nightly runs that meet must not fail for it."""
    project = _fake_dvc(tmp_path, monkeypatch, LOCKED)
    versions.add_data(project)
    assert (tmp_path / "tries").read_text() == "3"


def test_patience_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that nobody frees must end as an error, not as a night without one."""
    project = _fake_dvc(tmp_path, monkeypatch, LOCKED.replace("< 3", "< 10**9"))
    monkeypatch.setattr(versions, "PATIENCE", 0.2)
    with pytest.raises(S2TXError, match="Unable to acquire lock"):
        versions.add_data(project)


@pytest.mark.slow
@pytest.mark.parametrize("torn", [False, True])
def test_a_lock_that_a_killed_run_left_blocks_no_night(
    repository: Project, monkeypatch: pytest.MonkeyPatch, torn: bool
) -> None:
    """DVC takes this process, which has the dead one's number, for the holder; and stops at a torn
    file."""
    lock = repository.root / ".dvc" / "tmp" / "rwlock"
    holder = {"pid": os.getpid(), "cmd": "/usr/bin/dvc repro --single-item first"}
    held = {str(repository.root / name): holder for name in ("a.txt", "data")}
    notes = json.dumps({"write": held, "read": {}})
    lock.write_text(notes[: -20 if torn else None])
    (repository.root / "a.txt").unlink(missing_ok=True)
    monkeypatch.setattr(versions, "PAUSE", 0.01)
    seen: list[str] = []
    versions.reproduce(repository, "first", seen.append)
    assert (repository.root / "a.txt").read_text() == "a"
    assert any("torn" in line if torn else "is dropped" in line for line in seen)
    lock.write_text(notes[: -20 if torn else None])
    versions.add_data(repository)
    assert "dvc repro" not in lock.read_text()


def test_a_call_that_is_told_to_stop_ends_dvc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A night that hangs on DVC is killed, and DVC lives on and keeps its lock."""
    script = "import time\nprint('begun')\ntime.sleep(60)"
    project = _fake_dvc(tmp_path, monkeypatch, script)

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        versions.reproduce(project, "any", stop)
    assert time.monotonic() - began < 30


def test_the_stage_finds_this_python_s_scripts(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """`cmd: s2tx train` must be the s2tx of this environment, activated or not."""
    monkeypatch.setenv("PATH", "/usr/bin")
    project = _fake_dvc(tmp_path, monkeypatch, "import os; print(os.environ['PATH'])")
    seen: list[str] = []
    versions.reproduce(project, "any", seen.append)
    assert seen[0].split(":")[0] == str(Path(sys.executable).parent)


def test_lines_are_not_held_back(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Output that comes all at the end is no progress."""
    go = tmp_path / "go"
    script = (
        "import pathlib, time\nprint('begun')\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.01)\nprint('done')"
    )
    project = _fake_dvc(tmp_path, monkeypatch, script)
    seen: list[str] = []
    run = threading.Thread(target=versions.reproduce, args=(project, "any", seen.append))
    run.start()
    until = time.monotonic() + 20
    while not seen and time.monotonic() < until:
        time.sleep(0.01)
    assert seen == ["begun"]
    go.touch()
    run.join(20)
    assert seen == ["begun", "done"]
