"""A file is replaced whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from s2tx.paths import Project, write_beside, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """Protects results from a crash in the middle of writing."""
    target = tmp_path / "sub" / "file.txt"
    write_text(target, "old")

    def die() -> None:
        with write_beside(target) as part:
            part.write_text("half of the n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        die()
    assert target.read_text() == "old"
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


def test_naming_a_place_makes_nothing(tmp_path: Path) -> None:
    """Protects a folder from being littered by a look at it."""
    project = Project(tmp_path)
    for name in dir(project):
        if not name.startswith("_"):
            getattr(project, name)
    assert list(tmp_path.iterdir()) == []
