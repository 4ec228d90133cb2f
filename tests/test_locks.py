"""A lock is waited for, given back whatever happens, and named where it is not to be had."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from s2tx.errors import S2TXError
from s2tx.locks import held


def test_one_holds_it_at_a_time(tmp_path: Path) -> None:
    """Protects what two would write at once, and the next from a lock that an error left behind."""
    path = tmp_path / "a folder" / "x.lock"

    def fail() -> None:
        with held(path, 0.1):
            with pytest.raises(Timeout):
                FileLock(path).acquire(blocking=False)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    lock = FileLock(path, thread_local=False).acquire(blocking=False).lock
    with (
        pytest.raises(S2TXError, match=r"another process has held .*x\.lock for 0 s"),
        held(path, 0.1),
    ):
        pytest.fail("two held it")
    threading.Timer(0.3, lock.release).start()
    with held(path, 30):
        pass


def test_what_fails_within_is_not_taken_for_the_lock(tmp_path: Path) -> None:
    """Protects from a search for the holder of another lock."""
    with pytest.raises(Timeout), held(tmp_path / "x.lock", 0.1):
        raise Timeout("another.lock")
