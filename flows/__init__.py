"""Prefect: when things run, with which retries, and what happens around the DAG.

Prefect looks for ``prefect.toml`` where a process begins. A night that cron begins in another
folder keeps to it all the same: it is made known here, before Prefect is imported. What the
environment says goes first.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]


def _settings(tree: dict[str, Any], prefix: str = "PREFECT") -> Iterator[tuple[str, str]]:
    """Names and values as Prefect reads them from the environment."""
    for key, value in tree.items():
        name = f"{prefix}_{key.upper()}"
        if isinstance(value, dict):
            yield from _settings(value, name)
        else:
            yield name, str(_ROOT / value if name == "PREFECT_HOME" else value)


if (_ROOT / "prefect.toml").exists():
    for _name, _value in _settings(tomllib.loads((_ROOT / "prefect.toml").read_text("utf-8"))):
        os.environ.setdefault(_name, _value)
