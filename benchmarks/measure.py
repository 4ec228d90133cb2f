"""Times that a noisy machine bends little: contestants in turn, round after round, side by side.

``race`` gives each contestant one figure a round; ``ratio`` compares two round by round, so that
what slows the machine for a while slows both. A contestant that cannot run is listed with the
reason (``gather``), never left out.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch

T = TypeVar("T")
Call = Callable[[], object]


def options(command: str, about: str | None) -> bool:
    """The command line of a benchmark; returns whether ``--quick`` was asked for."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{command}", description=about)
    parser.add_argument("--quick", action="store_true", help="a smoke test that writes nothing")
    quick: bool = parser.parse_args().quick
    return quick


# --- Who runs -----------------------------------------------------------------------------------


def gather(builders: Mapping[str, Callable[[], T]]) -> tuple[dict[str, T], dict[str, str]]:
    """Build every contestant; those that cannot be built, with the reason and the cure."""
    made: dict[str, T] = {}
    not_run: dict[str, str] = {}
    for name, build in builders.items():
        try:
            made[name] = build()
        except ImportError as error:
            not_run[name] = str(error)
    return made, not_run


# --- Times --------------------------------------------------------------------------------------


def race(contestants: Mapping[str, Call], rounds: int, slot: float = 0.1) -> dict[str, list[float]]:
    """Seconds of one call of each contestant, one figure a round.

    Args:
        contestants: what is timed; each is first called twice, untimed.
        rounds: how often everyone runs, in turn, every second round in the opposite order.
        slot: seconds that one turn should last; a shorter call is repeated, its median counts.
    """
    repeats = {name: _repeats(call, slot) for name, call in contestants.items()}
    times: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants)
    for number in range(rounds):
        for name in order if number % 2 == 0 else order[::-1]:
            seconds = [clocked(contestants[name]) for _ in range(repeats[name])]
            times[name].append(median(seconds))
    return times


def clocked(call: Call) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _repeats(call: Call, slot: float) -> int:
    """Warm up, and find how many calls fill ``slot`` seconds; at least one."""
    call()
    return max(1, round(slot / clocked(call)))


def ratio(times: Sequence[float], base: Sequence[float]) -> float:
    """How many times longer ``times`` are than ``base``: the median of the rounds' ratios."""
    return median(mine / other for mine, other in zip(times, base, strict=True))


def summary(times: Mapping[str, Sequence[float]], base: str) -> dict[str, dict[str, float]]:
    """Median and shortest time of everyone, and how many times longer than ``base``'s."""
    return {
        name: {
            "median_s": median(each),
            "min_s": min(each),
            "rounds": len(each),
            "times_ours": ratio(each, times[base]),
        }
        for name, each in times.items()
    }


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def target(what: str, found: float | None, wanted: float, *, at_least: bool) -> dict[str, Any]:
    """A promise and whether it was kept; ``found`` is None where what it needs did not run."""
    met = None if found is None else bool(found >= wanted if at_least else found <= wanted)
    return {"what": what, "wanted": wanted, "found": found, "met": met}


# --- What is shown ------------------------------------------------------------------------------


def conditions() -> dict[str, Any]:
    """What else a reader needs to judge a time; beside the receipt in the results."""
    return {
        "dtype": "float32",
        "threads": torch.get_num_threads(),
        "processor": processor(),
        "load_before": round(os.getloadavg()[0], 2),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
    }


def processor() -> str:
    """The processor's name, as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: with rich where it is installed, else in plain columns."""
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        print(f"\n{title}\n{plain(header, rows)}", flush=True)
        return
    table = Table(*header, title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    Console(width=max(100, Console().width)).print(table)


def plain(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text, the first to the left and the others to the right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def show_times(
    title: str, results: Mapping[str, Mapping[str, float]], not_run: Mapping[str, str]
) -> None:
    """Print what ``summary`` made, and below it who did not run, and why."""
    rows = [
        [name, ms(each["median_s"]), ms(each["min_s"]), f"{each['times_ours']:.2f}"]
        for name, each in results.items()
    ]
    show(title, ["", "median ms", "min ms", "times ours"], rows)
    for name, reason in not_run.items():
        print(f"not run: {name}: {reason}")


def show_targets(targets: Iterable[Mapping[str, Any]]) -> None:
    """Print every promise with what was found."""
    for each in targets:
        word = {True: "met", False: "MISSED", None: "not run"}[each["met"]]
        found = "-" if each["found"] is None else f"{each['found']:.3g}"
        print(f"{word:8} {each['what']}: {found} (target {each['wanted']:g})")


def ms(seconds: float) -> str:
    """Milliseconds with three digits that mean something."""
    value = seconds * 1e3
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
