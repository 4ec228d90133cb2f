"""A call in a process of its own: for its peak memory, and to be timed in turn with others.

``Worker("benchmarks.scaling:point", kind="s2tx", ...)`` starts Python, which calls that function
with those arguments; what it returns is called again at each ``seconds()``. Memory is what the
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
from typing import Any

from benchmarks.measure import clocked
from benchmarks.project import ROOT


class Worker:
    """The parent's end.

    Args:
        target: ``module:function``.
        limit_bytes: the process may allocate no more; it then reports that it did not run.
        arguments: keywords of the function, as JSON can carry them.
    """

    def __init__(self, target: str, limit_bytes: int | None = None, **arguments: Any) -> None:
        task = json.dumps({"target": target, "limit": limit_bytes, "arguments": arguments})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", task],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.not_run: str | None = None

    def ready(self) -> bool:
        """Wait until the function has returned; false if it, or its first call, did not."""
        self._ask(None)
        return self.not_run is None

    def seconds(self) -> float:
        """Call once more; NaN if it fails, and then ``not_run`` says why."""
        return float(self._ask("call").get("seconds", float("nan")))

    def close(self) -> int:
        """End the process; returns its peak of extra memory in bytes."""
        peak = int(self._ask("end").get("peak_bytes", 0))
        self._process.communicate()
        return peak

    def _ask(self, word: str | None) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        answer: dict[str, Any] = {}
        if self.not_run is None:
            try:
                if word is not None:
                    self._process.stdin.write(word + "\n")
                    self._process.stdin.flush()
                answer = json.loads(self._process.stdout.readline() or "{}")
            except BrokenPipeError:
                pass
            if not answer:
                self.not_run = f"the process ended with code {self._process.wait()}"
            self.not_run = answer.get("not_run", self.not_run)
        return answer


def race_workers(workers: dict[str, Worker], rounds: int) -> dict[str, list[float]]:
    """``measure.race`` over processes: those that are ready, in turn."""
    ready = {name: worker for name, worker in workers.items() if worker.ready()}
    times: dict[str, list[float]] = {name: [] for name in ready}
    for number in range(rounds):
        for name in list(ready) if number % 2 == 0 else list(ready)[::-1]:
            times[name].append(ready[name].seconds())
    return {name: each for name, each in times.items() if ready[name].not_run is None}


def _status(name: str) -> int:
    """A line of ``/proc/self/status`` in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def main() -> int:
    """The child's end: one line of JSON for each line that it is sent."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer

    def answer(**fields: Any) -> None:
        print(json.dumps(fields), file=answers, flush=True)

    task = json.loads(sys.argv[1])
    if task["limit"] is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (task["limit"], task["limit"]))
    module, function = task["target"].split(":")
    try:
        call = getattr(importlib.import_module(module), function)(**task["arguments"])
        before = _status("VmRSS")
        call()
        answer(ready=True)
        for line in sys.stdin:
            if line.strip() == "end":
                answer(peak_bytes=_status("VmHWM") - before)
                break
            answer(seconds=clocked(call))
    except ImportError as error:
        answer(not_run=str(error))
    except (MemoryError, RuntimeError) as error:
        limit = (
            "" if task["limit"] is None else f" under a limit of {task['limit'] / 2**30:.0f} GiB"
        )
        answer(not_run=f"{str(error).splitlines()[0]}{limit}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
