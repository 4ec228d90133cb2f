"""One at a time, among the processes of a machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from s2tx.errors import S2TXError


@contextlib.contextmanager
def held(path: Path, patience: float) -> Iterator[None]:
    """Hold a lock file, in whose folder it is made; the system frees that of a killed process.

    Args:
        path: of the file.
        patience: seconds to wait for its holder.

    Raises:
        S2TXError: that was not long enough; names the file.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        raise S2TXError(
            f"another process has held {path} for {patience:.0f} s. Wait for it, or end it."
        ) from None
    try:
        yield
    finally:
        lock.release()
