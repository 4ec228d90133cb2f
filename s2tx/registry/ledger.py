"""The append-only record of decisions, and the one way in which the champion changes.

A line is written and on the disk *before* the alias moves. If the machine stops in between, the
next move finds the difference and writes it down, so the alias is always where the ledger says, or
one recorded step away from it. Moves are compare-and-set under a file lock: of two promotions that
saw the same champion, one wins. (The lock holds among the processes of one machine; machines that
share an MLflow server should share one nightly.)
"""

from __future__ import annotations

import getpass
import json
import logging
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2tx.errors import S2TXError
from s2tx.paths import Project
from s2tx.registry.store import locked

if TYPE_CHECKING:
    from mlflow import MlflowClient

ALIAS = "champion"
WEIGHTS = "weights_sha256"  # of the model that a line promotes
Line = dict[str, Any]
_log = logging.getLogger(__name__)


class ConflictError(S2TXError):
    """The champion is not the one that the decision was about."""


def path_of(project: Project) -> Path:
    return project.mlruns / "ledger.jsonl"


def read(path: Path) -> list[Line]:
    """All whole lines, oldest first; a line torn by a crash is passed over."""
    if not path.exists():
        return []
    lines: list[Line] = []
    for number, text in enumerate(path.read_bytes().split(b"\n"), 1):
        if not text.strip():
            continue
        try:
            lines.append(json.loads(text))
        except ValueError:
            _log.warning("%s, line %d is torn and is passed over", path, number)
    return lines


def append(path: Path, line: Line) -> None:
    """Add a line with the time and the person or machine; on the disk when this returns."""
    stamped = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **line}
    stamped.setdefault("by", who())
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as stream:
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                stream.write(b"\n")  # the line before was torn: it stays, on its own
        stream.write(json.dumps(stamped, ensure_ascii=False).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def who() -> str:
    """The person and machine, as far as the system tells."""
    try:
        return f"{getpass.getuser()}@{platform.node()}"
    except (KeyError, OSError):
        return platform.node() or "unknown"


def champion(client: MlflowClient, name: str) -> int | None:
    """The version that holds the alias, or None.

    Raises:
        mlflow.exceptions.MlflowException: the registry fails.
    """
    from mlflow.exceptions import MlflowException

    try:
        return int(client.get_model_version_by_alias(name, ALIAS).version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def record(project: Project, line: Line) -> None:
    """Write down a decision that moves nothing."""
    with locked(project, "ledger"):
        append(path_of(project), line)


def move(
    project: Project, client: MlflowClient, name: str, expected: int | None, new: int, line: Line
) -> None:
    """Move the alias from ``expected`` to ``new``, the line first.

    Raises:
        ConflictError: the alias is not at ``expected``; nothing was moved.
    """
    with locked(project, "ledger"):
        found = champion(client, name)
        settle(project, name, found)
        if found != expected:
            raise ConflictError(
                f"the champion of {name} is version {found}, no longer {expected}: someone else "
                "moved it meanwhile. Decide again."
            )
        append(path_of(project), {**line, "name": name, "from": expected, "to": new})
        client.set_registered_model_alias(name, ALIAS, str(new))


def settled(project: Project, client: MlflowClient, name: str) -> int | None:
    """The version in service, with the ledger brought in line; no move comes between."""
    with locked(project, "ledger"):
        found = champion(client, name)
        settle(project, name, found)
    return found


def settle(project: Project, name: str, found: int | None) -> None:
    """Write down where the alias is, if the last line about it says something else."""
    said = reigns(read(path_of(project)), name)
    if found is not None and (said[-1] if said else None) != found:
        reason = (
            f"the ledger had version {said[-1] if said else None}, the alias is at {found}: a move "
            "was interrupted, or made outside this project"
        )
        line = {"action": "settle", "name": name, "from": said[-1] if said else None, "to": found}
        append(path_of(project), {**line, "reason": reason})


def reigns(lines: list[Line], name: str) -> list[int]:
    """The champions that a rollback may return to, oldest first; the last is the one in service."""
    stack: list[int] = []
    for line in lines:
        version = line.get("to")
        if line.get("name") != name or version is None:
            continue
        if line["action"] != "promote" and version in stack:
            while stack[-1] != version:
                stack.pop()  # what came after it is undone
        elif not stack or stack[-1] != version:
            stack.append(version)
    return stack


def promoted(lines: list[Line], name: str) -> dict[int, str]:
    """Versions that won, and the hash of the weights with which each did last."""
    return {
        line["to"]: line[WEIGHTS]
        for line in lines
        if line.get("name") == name and line["action"] == "promote" and WEIGHTS in line
    }


def withdrawn(lines: list[Line], name: str) -> set[int]:
    """Versions that a rollback took out of service, and that nobody has put back by name."""
    out: set[int] = set()
    for line in lines:
        if line.get("name") == name and line.get("to") is not None:
            if line["action"] == "rollback" and line.get("from") is not None:
                out.add(line["from"])
            out.discard(line["to"])
    return out
