"""A Prefect server to be scheduled by: the one that is there, or one of our own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

from prefect.settings import PREFECT_API_URL, temporary_settings

from s2tx.errors import S2TXError

PATIENCE = 180.0  # seconds for a server to come up
GRACE = 15.0  # seconds for it to go


@contextlib.contextmanager
def running(port: int = 4200) -> Iterator[str]:
    """Within the block there is a server that schedules, and Prefect speaks to it.

    ``PREFECT_API_URL``, if set, names it; else the one on this machine's ``port`` is used, or
    started for as long as the block lasts. (The temporary server of a single run schedules
    nothing.)

    Yields:
        The address of its pages.

    Raises:
        S2TXError: it does not come up.
    """
    named = PREFECT_API_URL.value()
    if named:
        yield named.removesuffix("/api")
        return
    pages = f"http://127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        if not _answers(pages):
            stack.enter_context(_started(pages, port))
        stack.enter_context(temporary_settings({PREFECT_API_URL: f"{pages}/api"}))
        yield pages


@contextlib.contextmanager
def _started(pages: str, port: int) -> Iterator[None]:
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
    with subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL) as child:
        try:
            give_up = time.monotonic() + PATIENCE
            while not _answers(pages):
                if child.poll() is not None or time.monotonic() > give_up:
                    raise S2TXError(
                        f"no Prefect server came up at {pages}. See: prefect server start"
                    )
                time.sleep(0.5)
            yield
        finally:
            child.terminate()
            try:
                child.wait(GRACE)
            except subprocess.TimeoutExpired:
                child.kill()


def _answers(pages: str) -> bool:
    try:
        with urllib.request.urlopen(f"{pages}/api/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
