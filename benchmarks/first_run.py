"""What a stranger waits for: the README's two commands in a fresh clone and a new environment.

``python -m benchmarks.first_run`` times ``make setup``, ``make run`` twice, ``dvc repro`` with
nothing to do, and ``make test``, and writes ``results/first_run.json``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.project import Clone, no_options, write_results

STEPS = (
    ("make setup", "make setup"),
    ("make run", "make run"),
    ("make run again", "make run"),
    ("dvc repro, nothing to do", ". .venv/bin/activate && dvc repro"),
    ("make test", "make test"),
)


def main() -> int:
    """The command line; returns the exit code."""
    no_options("first_run", __doc__)
    outside = Path(sys.executable).parent
    path = [place for place in os.environ["PATH"].split(os.pathsep) if Path(place) != outside]
    environment = {**os.environ, "PATH": os.pathsep.join(path)}
    environment.pop("VIRTUAL_ENV", None)
    seconds: dict[str, float] = {}
    with Clone.fresh() as clone:
        for name, command in STEPS:
            began = time.perf_counter()
            subprocess.run(command, shell=True, check=True, cwd=clone.root, env=environment)
            seconds[name] = time.perf_counter() - began
    write_results("first_run", {"seconds": seconds})
    for name, each in seconds.items():
        print(f"{name:26} {each:7.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
