"""Programs that this one starts: they end with the block that reads them, however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

GRACE = 5.0  # seconds between the request to end and the kill
_living: set[subprocess.Popen[str]] = set()  # of all threads, since a signal reaches only one


@contextlib.contextmanager
def running(
    command: Sequence[str], folder: Path | str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A program in a process group of its own; its output, errors among it, is in ``stdout``.

    Whatever leaves the block early, a signal that raises above all, ends the program and all that
    it started; else the block's end waits for it.
    """
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as child:
        _living.add(child)
        try:
            yield child
        except BaseException:
            _end(child)
            raise
        finally:
            _living.discard(child)


def end_all() -> None:
    """End what runs in other threads; their blocks read the end of its output."""
    for child in list(_living):
        _end(child)


def _end(child: subprocess.Popen[str]) -> None:
    """Ask the group to end, and kill after ``GRACE`` seconds what is still there."""
    give_up = time.monotonic() + GRACE
    with contextlib.suppress(OSError):  # no such group: it has ended
        try:
            os.killpg(child.pid, signal.SIGTERM)
            while time.monotonic() < give_up:
                child.poll()  # the group lasts until its leader is asked for
                os.killpg(child.pid, 0)
                time.sleep(0.02)
        finally:
            os.killpg(child.pid, signal.SIGKILL)
