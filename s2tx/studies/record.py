"""What a study writes: one JSON file a record, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s2tx.paths import write_text


def read_record(path: Path) -> dict[str, Any] | None:
    """The record in a file; None if there is no file."""
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return record


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write beside and rename; folders are made."""
    write_text(path, json.dumps(record, indent=1) + "\n")
