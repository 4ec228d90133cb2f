"""A record must be read as it was written, and be whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from s2tx.studies.record import read_record, write_record


def test_what_is_written_is_read_and_what_is_not_there_is_none(tmp_path: Path) -> None:
    """Protects a study's resume: a missing file is no error, a finished one comes back whole."""
    path = tmp_path / "new" / "cell.json"
    assert read_record(path) is None
    write_record(path, {"mse": 0.1 + 0.2, "failed": None})
    assert read_record(path) == {"mse": 0.1 + 0.2, "failed": None}


def test_what_is_no_json_leaves_the_old_record(tmp_path: Path) -> None:
    """Protects hours of training from a record that was cut off while it was written."""
    path = tmp_path / "cell.json"
    write_record(path, {"mse": 1.0})
    with pytest.raises(TypeError):
        write_record(path, {"mse": object()})
    assert read_record(path) == {"mse": 1.0}
