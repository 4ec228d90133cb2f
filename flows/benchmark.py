"""The grid's cells as Prefect tasks: the work of ``s2tx study grid``, several cells at once.

``python -m flows.benchmark --workers 2 --data-dir FOLDER``. Each cell is a process of its own, so
that none draws from another's random numbers; finished cells are not repeated. Exit codes: 0 all
are finished, 1 a cell is not, 2 the input or a setting is at fault.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner

from s2tx import child
from s2tx.errors import S2TXError
from s2tx.params import load_params
from s2tx.paths import Project
from s2tx.studies.collect import collect, read
from s2tx.studies.grid import Selection, places_of, select, settings_of

ROOT = Path(__file__).parents[1]


@task(task_run_name="{name}", cache_policy=NO_CACHE)
def cell(root: str, name: str, data_dir: str | None) -> str:
    """Run one cell; its output goes to this run's log, and its last line is returned."""
    command = [sys.executable, "-m", "s2tx.studies.grid", "--no-collect", "--cells", name]
    command += ["--data-dir", data_dir] if data_dir else []
    with child.running(command, root) as program:
        line = ""
        for line in program.stdout or ():
            get_run_logger().info(line.rstrip())
    if program.returncode:
        raise S2TXError(f"{name} failed with exit code {program.returncode}: {line.strip()}")
    return line.strip()


@flow(name="benchmark", flow_run_name="benchmark")
def benchmark(
    data_dir: str | None = None,
    data_sets: list[str] | None = None,
    horizons: list[int] | None = None,
    recipes: list[str] | None = None,
    seeds: list[int] | None = None,
    root: str | None = None,
) -> dict[str, str]:
    """Fan out the cells in the order of worth, and collect them into ``results/grid.json``.

    Returns:
        Why each chosen cell that is not finished is not; empty if all are.
    """
    project = Project(Path(root) if root else ROOT)
    params = load_params(project.params)
    places = places_of(project)
    whole = settings_of(params)
    selection = Selection(
        tuple(data_sets or ()), tuple(horizons or ()), tuple(recipes or ()), tuple(seeds or ())
    )
    chosen = select(whole, selection)
    runs: dict[str, Any] = {
        each.cell.name: cell.submit(str(project.root), each.cell.name, data_dir) for each in chosen
    }
    try:
        for run in runs.values():
            run.wait()
    except BaseException:  # told to stop: the cells are read in threads, which no signal reaches
        for run in runs.values():
            run.wrapped_future.cancel()
        child.end_all()
        raise
    # A failure is the reason that stands in the cell's place; the others go on.
    unfinished = {}
    for each in chosen:
        end = runs[each.cell.name].result(raise_on_failure=False)
        if isinstance(end, Exception) or read(places, each) is None:
            unfinished[each.cell.name] = str(end)
    collect(whole, params.study.compared, places, unfinished)
    return unfinished


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.benchmark", description=__doc__)
    parser.add_argument("--workers", type=int, default=1, help="cells at once (default: 1)")
    parser.add_argument("--data-dir", type=Path, help="folder of the published CSV files")
    parser.add_argument("--data-sets", nargs="+", metavar="NAME")
    parser.add_argument("--horizons", nargs="+", type=int, metavar="STEPS")
    parser.add_argument("--recipes", nargs="+", metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED")
    options = parser.parse_args(arguments)
    if options.workers < 1:
        parser.error(f"--workers is {options.workers}: give 1 or more")
    try:
        runner: Any = ThreadPoolTaskRunner(max_workers=options.workers)
        wide = benchmark.with_options(task_runner=runner)
        folder = str(options.data_dir.resolve()) if options.data_dir else None
        unfinished = wide(
            folder, options.data_sets, options.horizons, options.recipes, options.seeds
        )
    except S2TXError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for name, reason in unfinished.items():
        print(f"{name}: {reason}", file=sys.stderr)
    return 1 if unfinished else 0


if __name__ == "__main__":
    sys.exit(main())
