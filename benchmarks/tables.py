"""The figures of README and docs, made from ``results/*.json`` and never typed.

``python -m benchmarks.tables`` rewrites what stands between the two markers in the README and in
docs/performance.md, and, once there are ``results/grid.json`` and ``results/missing.json``, their
pages.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks import gaps_page, grid_page, missing_page, performance_page, searches_page
from benchmarks.markdown import commit_text
from benchmarks.project import RESULTS, ROOT, no_options
from s2tx.params import load_params
from s2tx.paths import write_text
from s2tx.studies.settings import Cell
from s2tx.study_params import StudyParams

BEGIN = "<!-- results:begin (python -m benchmarks.tables) -->"
END = "<!-- results:end -->"
SEARCHES = RESULTS / "search"
README = ROOT / "README.md"
PERFORMANCE = ROOT / "docs" / "performance.md"


def render() -> str:
    """What stands between the markers."""
    grid = [*grid_page.readme(_read("grid")), ""] if has_grid() else []
    return "\n".join([*grid, *_scores(_read("pipeline")["runs"]), *_trust(_read("trust"))])


def performance() -> str:
    """What stands between the markers of docs/performance.md."""
    return performance_page.render(
        {name: _read(name) for name in ("scan", "train_step", "inference", "scaling")}
    )


def benchmarks() -> str:
    """The whole of docs/benchmarks.md."""
    context, exact = (_of_the_grid(_read_any(name)) for name in ("context", "exact"))
    return grid_page.page(_read("grid"), context, exact)


def searches() -> str:
    """The whole of docs/searches.md."""
    records = [_read(f"search/{path.stem}") for path in sorted(SEARCHES.glob("*.json"))]
    found = {(each["recipe"], each["data"]) for each in records}
    waiting = [
        f"`{each.recipe}` on {data}"
        for each in _study().searches
        for data in each.data_sets
        if (each.recipe, data) not in found
    ]
    return searches_page.page(records, waiting)


def missing() -> str:
    """The whole of docs/missing-values.md."""
    gaps, newest = (_of_the_grid(_read_any(name)) for name in ("gaps", "newest"))
    return missing_page.page(_read("missing"), _parts(), gaps, newest)


def missing_cells() -> str:
    """The whole of docs/missing-cells.md."""
    return missing_page.cells(_read("missing"), _parts())


def _parts() -> tuple[str, ...]:
    return _study().missing.parts


def _study() -> StudyParams:
    return load_params(ROOT / "params.yaml").study


def has_missing() -> bool:
    """Whether the study of missing values was ever run."""
    return (RESULTS / "missing.json").exists()


def has_grid() -> bool:
    """Whether any cell of the grid was ever collected."""
    return (RESULTS / "grid.json").exists()


def insert(page: str, text: str) -> str:
    """``page`` with ``text`` between the markers."""
    head, rest = page.split(BEGIN)
    return f"{head}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}"


def _read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _read_any(name: str) -> Any:
    """None where it was never run."""
    return _read(name) if (RESULTS / f"{name}.json").exists() else None


def _of_the_grid(record: Any) -> Any:
    """What a study found of the weights that the grid has; the names of other cells are ``stale``.

    None where it was never run, or found nothing of them.
    """
    if record is None:
        return None
    weights = {name: cell["weights_sha256"] for name, cell in _read("grid")["cells"].items()}
    split: dict[bool, list[Any]] = {True: [], False: []}
    for found in record["cells"]:
        name = Cell(**found["cell"]).name
        split[weights.get(name) == found["weights_sha256"]].append(found)
    stale = [Cell(**found["cell"]).name for found in split[False]]
    return record | {"cells": split[True], "stale": stale} if split[True] else None


def _trust(trust: dict[str, Any]) -> Iterator[str]:
    runs = trust["runs"]
    killed = sum(name.startswith("killed") for name in runs)
    hashes = len({run["weights_sha256"] for run in runs.values()})
    yield ""
    yield (
        f"The same training {len(runs)} times from scratch, {killed} of them killed with SIGKILL "
        f"and started again: {hashes} weight hash{'' if hashes == 1 else 'es'} "
        "(`python -m benchmarks.trust`, [results/trust.json](results/trust.json))."
    )


def _scores(runs: dict[str, Any]) -> Iterator[str]:
    yield (
        "Real data through the whole pipeline, every test window scored, MSE / MAE standardised by "
        "the train rows; made by `python -m benchmarks.pipeline`, with receipts in "
        "[results/pipeline.json](results/pipeline.json)."
    )
    yield ""
    yield "| data | look-back → horizon | windows | S2TX | DLinear | seasonal naive | repeat last |"
    yield "|---|---|---|---|---|---|---|"
    for name, run in runs.items():
        if "not_run" in run:
            yield f"| {name} | not run: {run['not_run']} | | | | | |"
            continue
        window, test = run["receipt"]["window"], run["metrics"]["test"]
        scores = (
            f"{test[model]['mse']:.3f} / {test[model]['mae']:.3f}"
            for model in ("s2tx", "dlinear", "seasonal_naive", "repeat_last")
        )
        span = f"{window['look_back']} → {window['horizon']}"
        yield f"| {name} | {span} | {run['metrics']['windows']} | {' | '.join(scores)} |"
    yield ""
    settings = "; ".join(
        f"{name} with {_settings(run)}" for name, run in runs.items() if run.get("settings")
    )
    commits = {commit_text(run["receipt"]["code"]) for run in runs.values() if "receipt" in run}
    yield (
        "The S2TX is recipe `best` of each set, with fewer epochs where they are named. Changed in "
        f"`params.yaml` of the time (commit {', '.join(sorted(commits))}): "
        f"{settings}."
    )


def _settings(run: dict[str, Any]) -> str:
    """What of ``params.yaml`` a run had changed."""
    return ", ".join(f"`{key}` {json.dumps(value)}" for key, value in run["settings"].items())


def main() -> int:
    """The command line; returns the exit code."""
    no_options("tables", __doc__)
    for page, text in ((README, render()), (PERFORMANCE, performance())):
        write_text(page, insert(page.read_text(encoding="utf-8"), text))
    write_text(searches_page.PAGE, searches())
    if has_grid():
        write_text(grid_page.PAGE, benchmarks())
    if has_missing():
        write_text(missing_page.PAGE, missing())
        write_text(missing_page.CELLS, missing_cells())
        missing_page.draw(_read("missing"), _parts())
        if (gaps := _of_the_grid(_read_any("gaps"))) is not None:
            gaps_page.draw(gaps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
