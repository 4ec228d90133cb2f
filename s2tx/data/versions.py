"""The one door to DVC: version the data, bring it back, and run the stages.

DVC runs as a child process of this Python, so that its stages find the same ``s2tx``. When another
process holds DVC's lock, every call waits and tries again, and frees what a dead one left locked; a
call that is told to stop ends DVC and its stage too.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from s2tx import child
from s2tx.data import dvc_locks
from s2tx.errors import InputError, S2TXError
from s2tx.paths import Project

PATIENCE = 300.0  # seconds to wait for another process's lock
PAUSE = 1.0
_GIT_PATIENCE = 120.0  # seconds for a hook
_LOCKED = re.compile(
    r"^ERROR: .*(Unable to acquire lock|is busy, it is being blocked|RWLock-file .* format error|"
    r"Unable to read RWLock-file)",
    re.M,
)
_ERROR = re.compile(r"^ERROR: .*", re.M | re.S)
_EXITED = re.compile(r"failed to run: .*, exited with (\d+)")
_TAIL = 20  # lines of output that an error quotes


def require_repository(project: Project) -> None:
    """Fail early where data cannot be versioned.

    Raises:
        InputError: the project's root is no DVC repository.
    """
    if not (project.root / ".dvc").is_dir():
        raise InputError(
            f"{project.root} is no DVC repository",
            "Run from the project's root, or make one with: git init && dvc init",
        )


def add_data(project: Project) -> None:
    """Record what stands in ``data/`` in DVC's cache and in ``data.dvc``; nothing new, no change.

    Raises:
        S2TXError: DVC failed.
    """
    _dvc(project, "add", "data")


def commit_data(project: Project, message: str) -> None:
    """Commit ``data.dvc``, and it alone, so that git can bring this version back.

    Where it is committed already, nothing happens: called after every ingest, it makes up for a
    commit that failed or was never reached.

    Raises:
        S2TXError: git failed; the version is in DVC's cache all the same.
    """
    if not_committed(project):
        _git(project, "add", "data.dvc")
        _git(project, "commit", "--quiet", "--only", "data.dvc", "-m", message)


def not_committed(project: Project) -> bool:
    """Whether git lacks ``data.dvc`` as it stands; not where there is none.

    Raises:
        S2TXError: git failed.
    """
    # Told of ignored and untracked files too, whatever git's settings: neither is committed.
    asked = ("status", "--porcelain", "--ignored", "--untracked-files=normal", "data.dvc")
    return _git(project, *asked) != ""


def committer(project: Project) -> str:
    """In whose name git commits here.

    Raises:
        S2TXError: git knows nobody.
    """
    # A commit needs both.
    author, _ = (_git(project, "var", f"GIT_{who}_IDENT") for who in ("AUTHOR", "COMMITTER"))
    return author.rsplit(" ", 2)[0]


def push(project: Project) -> None:
    """Copy the current version of the data to the default remote.

    Raises:
        S2TXError: the remote cannot be reached, or there is none.
    """
    _dvc(project, "push", "data.dvc")


def pull(project: Project) -> None:
    """Bring the version of the data that ``data.dvc`` names from the default remote.

    Raises:
        S2TXError: the remote cannot be reached, or lacks it.
    """
    _dvc(project, "pull", "data.dvc")


def not_pushed(project: Project) -> str:
    """What the default remote lacks of the current version, in DVC's words; empty if nothing.

    Raises:
        S2TXError: the remote cannot be reached, or there is none.
    """
    said = _dvc(project, "status", "--cloud", "data.dvc").strip()
    return "" if "in sync" in said else said


def stage_order(project: Project) -> list[str]:
    """Names of the stages of ``dvc.yaml``, in the order in which DVC reproduces them."""
    import networkx  # type: ignore[import-untyped]  # a dependency of DVC
    from dvc.repo import Repo
    from dvc.stage import PipelineStage

    with Repo(str(project.root)) as repo:
        graph = repo.index.graph
        # As DVC's own plan: each stage after all that it depends on.
        return [
            str(stage.name)
            for stage in networkx.dfs_postorder_nodes(graph)
            if isinstance(stage, PipelineStage)
        ]


def reproduce(project: Project, stage: str, on_line: Callable[[str], None]) -> None:
    """Let DVC run one stage if it is stale, and nothing before or after it.

    Args:
        project: where ``dvc.yaml`` stands.
        stage: its name there.
        on_line: called with each line of output, as it comes.

    Raises:
        InputError: the stage refused its input (it ended with exit code 2).
        S2TXError: it failed otherwise; quotes the end of its output.
    """
    code, output = _run(project, ["repro", "--single-item", stage], on_line)
    if code == 0:
        return
    exited = _EXITED.search(output)
    tail = "\n".join(output.splitlines()[-_TAIL:])
    if exited and int(exited[1]) == InputError.exit_code:
        raise InputError(f"stage {stage} refused its input:\n{tail}", "Mend what it names")
    raise S2TXError(f"stage {stage} failed:\n{tail}")


def _git(project: Project, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=project.root,
            stdin=subprocess.DEVNULL,  # a hook, or who signs, may ask; nobody would answer
            capture_output=True,
            text=True,
            check=False,
            timeout=_GIT_PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise S2TXError(f"git {' '.join(words)} failed: {error}") from None
    if done.returncode:
        raise S2TXError(f"git {' '.join(words)} failed: {done.stderr or done.stdout}".strip())
    return done.stdout


def _dvc(project: Project, *words: str) -> str:
    code, output = _run(project, list(words), lambda _: None)  # not --quiet: it hides errors too
    if code:
        said = _ERROR.search(output)
        raise S2TXError(f"dvc {' '.join(words)} failed: {(said[0] if said else output).strip()}")
    return output


def _run(project: Project, words: list[str], on_line: Callable[[str], None]) -> tuple[int, str]:
    """Run DVC, streaming its output; (exit code, the last lines)."""
    scripts = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([scripts, os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
    }
    give_up = time.monotonic() + PATIENCE
    while True:
        lines: deque[str] = deque(maxlen=500)
        command = [sys.executable, "-m", "dvc", *words]
        with child.running(command, project.root, environment) as dvc:
            for line in dvc.stdout or ():
                lines.append(line)
                on_line(line.rstrip("\n"))
        output = "".join(lines)
        locked = dvc.returncode != 0 and _LOCKED.search(output)
        if not locked or time.monotonic() >= give_up:
            return dvc.returncode, output
        for told in dvc_locks.release(project.root):
            on_line(told)
        time.sleep(PAUSE)
