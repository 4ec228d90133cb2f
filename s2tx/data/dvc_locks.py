"""DVC's locks of paths, freed where nobody holds them any more.

DVC notes in ``.dvc/tmp/rwlock`` which process reads or writes which path, and drops the note of a
process that is gone. Where the system has given its number to another process since, after a
restart say, DVC takes that one for the holder; and a file that was torn while it was written stops
every command. Neither mends itself, so a single kill could block every later night.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from s2tx.paths import write_text

_SAID = re.compile(r".*(?:(?<![.\w])dvc|__main__\.py) (.+)")  # what a command line says to DVC


def release(root: Path) -> list[str]:
    """Drop the notes of processes that hold nothing; says what was dropped, a line each.

    Args:
        root: of the DVC repository.
    """
    from dvc.config import Config
    from dvc.lock import LockError, make_lock

    path = root / ".dvc" / "tmp" / "rwlock"
    if not path.exists():
        return []
    by_link = Config(str(root / ".dvc"))["core"].get("hardlink_lock", False)
    try:
        # The lock under which DVC itself edits the file.
        with make_lock(f"{path}.lock", tmp_dir=str(path.parent), hardlink_lock=by_link):
            return _release(path)
    except LockError:
        return []  # somebody is at it


def _release(path: Path) -> list[str]:
    told: list[str] = []

    def living(at: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept = [note for note in found if _holds(note)]
        told.extend(
            f"{path}: process {note['pid']} ({note['cmd']}) is gone, its note is dropped: {at}"
            for note in found
            if note not in kept
        )
        return kept

    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
        wrote = {at: living(at, [note]) for at, note in notes.get("write", {}).items()}
        read = {at: living(at, found) for at, found in notes.get("read", {}).items()}
    except (ValueError, AttributeError, TypeError, KeyError):
        write_text(path, "{}")
        return [f"{path} was torn, and is begun anew"]
    if told:
        left = {
            "write": {at: note for at, kept in wrote.items() for note in kept},
            "read": {at: kept for at, kept in read.items() if kept},
        }
        write_text(path, json.dumps(left))
    return told


def _holds(note: dict[str, Any]) -> bool:
    """Whether the process that wrote a note lives: not another one, under its number.

    Where the note is of no command line of DVC's, whoever has the number is taken for its writer.
    """
    import psutil

    try:
        running = " ".join(psutil.Process(note["pid"]).cmdline())
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    said = _SAID.fullmatch(note["cmd"])
    return said is None or running.endswith(said[1])
