"""Protects from programs that outlive the one that started them, and from waiting for them."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from s2tx import child

# A program that starts another one, as DVC starts a stage; both live for a minute.
PARENT = """
import os, signal, subprocess, sys, time
if sys.argv[1] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(grandchild.pid, flush=True)
time.sleep(60)
"""


class Told(BaseException):
    """As the signal of a night that is told to stop: no ``except Exception`` sees it."""


def _gone(pid: int) -> bool:
    """Not there, or a zombie that only its new parent can bury."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        os.kill(pid, 0)
        return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


@pytest.mark.parametrize("ears", ["hears", "deaf"])
def test_a_block_that_is_left_ends_the_program_and_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ears: str
) -> None:
    """Protects a night told to stop from hanging, and DVC's lock from a stage that lives on."""
    monkeypatch.setattr(child, "GRACE", 0.5)
    pids: list[int] = []

    def work() -> None:
        with child.running([sys.executable, "-c", PARENT, ears], tmp_path) as program:
            assert program.stdout is not None
            pids.extend([program.pid, int(program.stdout.readline())])
            raise Told

    began = time.monotonic()
    with pytest.raises(Told):
        work()
    while not all(map(_gone, pids)) and time.monotonic() - began < 30:
        time.sleep(0.01)
    assert time.monotonic() - began < 30


def test_a_block_that_ends_waits_for_the_program(tmp_path: Path) -> None:
    """Protects the exit code and the last line of a program that is left in peace."""
    script = "import time; print('one', flush=True); time.sleep(0.2); raise SystemExit('two')"
    with child.running([sys.executable, "-c", script], tmp_path) as program:
        assert program.stdout is not None
        assert [line.strip() for line in program.stdout] == ["one", "two"]
    assert program.returncode == 1


def test_programs_of_other_threads_end_too(tmp_path: Path) -> None:
    """Protects Ctrl-C: it reaches the main thread, and programs are read in others."""
    ready = threading.Event()
    codes: list[int] = []

    def read() -> None:
        with child.running([sys.executable, "-c", PARENT, "hears"], tmp_path) as program:
            assert program.stdout is not None
            for _ in program.stdout:
                ready.set()
        codes.append(program.returncode)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    assert ready.wait(30)
    child.end_all()
    thread.join(30)
    assert len(codes) == 1
    assert codes[0] < 0
