"""A call in a process of its own: for its peak memory, and to be timed in turn with others.

``Worker("benchmarks.scaling:point", kind="ours", ...)`` starts Python, which calls that function
with those arguments; what it returns is called at each ``seconds()``. Extra memory is what the
process held at most, less what it held before the first call, so imports and weights do not count.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measure import clocked
from benchmarks.project import ROOT

_SHARE = 0.85  # of the memory that is free now: a worker that wants more is told so


class Memory(NamedTuple):
    """Bytes of main memory that a process held at most: in all, and since its first call."""

    peak_bytes: int
    extra_bytes: int


class Worker:
    """The parent's end.

    Args:
        target: ``module:function``.
        arguments: its keywords, as JSON can carry them.
    """

    def __init__(self, target: str, **arguments: Any) -> None:
        task = json.dumps({"target": target, "arguments": arguments})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", task],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.not_run: str | None = None

    def ready(self) -> bool:
        """Wait until the function has returned; if it fails, ``not_run`` says why."""
        self._answer()
        return self.not_run is None

    def seconds(self) -> float:
        """Call once; NaN if that fails, and then ``not_run`` says why."""
        return float(self._answer("call").get("seconds", float("nan")))

    def close(self) -> Memory | None:
        """End the process."""
        found = self._answer("end").get("memory")
        self._process.communicate()
        return None if found is None else Memory(*found)

    def _answer(self, word: str | None = None) -> dict[str, Any]:
        if self.not_run is not None:
            return {}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = ""
        try:
            if word is not None:
                self._process.stdin.write(word + "\n")
                self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            pass
        code = None if line else self._process.wait()
        answer: dict[str, Any] = json.loads(line or f'{{"not_run": "it ended with code {code}"}}')
        self.not_run = answer.get("not_run")
        return answer


def race_workers(workers: dict[str, Worker], rounds: int) -> dict[str, list[float]]:
    """``measure.race`` over processes; those that fail are left out, and say why."""
    for worker in workers.values():
        worker.ready()
    for worker in workers.values():
        worker.seconds()  # one after another: their peaks of memory do not meet
    times: dict[str, list[float]] = {name: [] for name in workers}
    for number in range(rounds):
        for name in list(workers) if number % 2 == 0 else list(workers)[::-1]:
            times[name].append(workers[name].seconds())
    return {name: each for name, each in times.items() if workers[name].not_run is None}


# --- The child's end ----------------------------------------------------------------------------


def _kibibytes(file: str, name: str) -> int:
    """A line of a file under ``/proc``, in bytes."""
    for line in Path(file).read_text(encoding="ascii").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def main() -> int:
    """One line of JSON when ready, and one for each line that it is sent."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer

    def answer(**fields: Any) -> None:
        print(json.dumps(fields), file=answers, flush=True)

    task = json.loads(sys.argv[1])
    limit = int(_SHARE * _kibibytes("/proc/meminfo", "MemAvailable"))
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    module, function = task["target"].split(":")
    try:
        call = getattr(importlib.import_module(module), function)(**task["arguments"])
        before = _kibibytes("/proc/self/status", "VmRSS")
        answer(ready=True)
        for line in sys.stdin:
            if line.strip() == "end":
                peak = _kibibytes("/proc/self/status", "VmHWM")
                answer(memory=Memory(peak, peak - before))
                break
            answer(seconds=clocked(call))
    except (ImportError, MemoryError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        answer(not_run=reason if isinstance(error, ImportError) else f"{reason} ({limit:,} free)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
