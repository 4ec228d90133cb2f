"""``docs/benchmarks.md`` and the README's table of the grid, made from ``results/``.

What others publish is in ``benchmarks/published.yaml``, with its sources. A cell that was not run
stands as not run, with the reason below the tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from statistics import fmean
from typing import Any

import yaml

from benchmarks import claims_page, study_page
from benchmarks.grid_results import NAIVE, Grid
from benchmarks.markdown import gap, left_out, spread, table
from benchmarks.project import ROOT
from s2tx.studies.settings import Cell

PAGE = ROOT / "docs" / "benchmarks.md"
PUBLISHED = ROOT / "benchmarks" / "published.yaml"
# The recipes whose published rerun ours must come near, and by how much.
RERUN = ("dlinear", "patchtst", "itransformer")
NEAR = 0.02
NOT_RUN = "not run"

INTRODUCTION = """# Benchmarks

<!-- Made by `python -m benchmarks.tables` from results/grid.json: do not edit. -->

For a reader who does not trust us. Every figure is MSE / MAE on values standardised by the train
rows, over **every** test window, counted in the tables; `±` is the sample deviation over seeds.

`paper` is the published S2TX (with SST's norm before the head); `best` has the parts and settings
that erred less than others of S2TX on validation windows of ETTh1, ETTh2, ETTm1 and Weather. On
Exchange nothing was searched.

**Trained alike**: S2TX, SST and PatchTST have as many epochs, the same loss, a rate that falls to
nothing (SST's is a third), and averaged weights of which the last are kept. On ETTm1 and Weather
they see every fourth window, DLinear and iTransformer every one. Batches of the three are of 128,
and of 32, so four times the steps, where a search took them: `best` on ETTh2, ETTm1 and Weather,
PatchTST on ETTh2 and ETTm1. On Weather both could be twice as wide: `best` took it, PatchTST erred
more so. `paper` and SST had no such choices.

**Not tuned alike**: of `best` many settings were searched, look-back and batch among them, of
PatchTST these two and on Weather the width, of DLinear and iTransformer the look-back, of SST the
learning rate by hand, of `paper` nothing. Settings were chosen by validation errors; yet the test
errors of one search were known when the next was planned. [selection.md](selection.md) tells what
was tried, in order, and what was not clean about it; [searches.md](searches.md) has every trial of
the last searches.

Published figures come from longer trainings with other choices: the section on the baselines holds
ours against them.

Each cell has a receipt in `results/grid/` (data hash, split, settings, code, weights hash, machine,
history). `s2tx study grid` makes what is missing; `s2tx audit CELL` scores a cell again from its
weights, also under the protocol that drops the last windows, which may explain a paper's figure.
The recipes are in section `study` of `params.yaml`.
"""


def page(
    tree: Mapping[str, Any],
    context: Mapping[str, Any] | None = None,
    exact: Mapping[str, Any] | None = None,
) -> str:
    """The whole of ``docs/benchmarks.md``.

    Args:
        tree: ``results/grid.json``.
        context: ``results/context.json``.
        exact: ``results/exact.json``.
    """
    grid, published = Grid.of(tree), yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))
    parts = [INTRODUCTION, "\n".join(claims_page.claims(grid, published))]
    for data in grid.data_sets():
        parts.append("\n".join(_of_data_set(grid, data, published)))
    parts.append("\n".join(_reruns(grid, published)))
    if exact:
        parts.append("\n".join(_exact(tree["cells"], exact)))
    parts.append("\n".join(_parts(grid)))
    if context:
        parts.append("\n".join(study_page.context(context)))
    parts.append("\n".join(_foresight(tree["cells"])))
    parts.append("\n".join(_dropped(tree["cells"])))
    parts.append("\n".join(_times(grid)))
    parts.append("\n".join(_not_run(grid)))
    parts.append("\n".join(study_page.earlier(tree["cells"])))
    machine = tree["receipt"]["machine"]
    gpus = sorted({cell["machine"] for cell in tree["cells"].values()})
    parts.append(
        "## Sources\n\n"
        + "\n".join(
            f"- {each['label']}: {each['source']}." for each in published["tables"].values()
        )
        + f"\n- Ours: computed on {', '.join(gpus)}; collected with torch {machine['torch']} from "
        "the sources named in `results/grid.json`."
    )
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def readme(tree: Mapping[str, Any]) -> Iterator[str]:
    """The README's table: the average over all horizons, where each was run."""
    grid = Grid.of(tree)
    recipes = grid.recipes
    yield (
        "MSE averaged over the horizons, every test window scored, lower is better. `paper` is "
        "S2TX as published, `best` has the settings of it that erred least on validation windows "
        "(on Exchange none were searched). How, every cell "
        "with its seeds and receipt, and what others publish are in "
        "[docs/benchmarks.md](docs/benchmarks.md) (`s2tx study grid`):"
    )
    yield ""
    yield from table(
        ["data", *recipes],
        ([data, *(_number(grid.average(data, each)) for each in recipes)]
         for data in grid.data_sets()),
    )  # fmt: skip
    yield ""
    yield from claims_page.headline(grid)


def _of_data_set(grid: Grid, data: str, published: Mapping[str, Any]) -> Iterator[str]:
    recipes, horizons = grid.recipes, grid.horizons(data)
    yield f"## {data}"
    yield ""
    rows = [["look-back", "", *(_look_back(grid, data, recipe) for recipe in recipes)]]
    for horizon in horizons:
        lines = [grid.lines.get((data, horizon, recipe)) for recipe in recipes]
        windows = next((str(line["windows"]) for line in lines if line), "")
        rows.append([str(horizon), windows, *map(_score, lines)])
    averages = [_number(grid.average(data, recipe)) for recipe in recipes]
    rows.append(["average MSE", "", *averages])
    yield from table(["horizon", "windows", *recipes], rows)
    columns = {name: each for name, each in published["tables"].items() if data in each["figures"]}
    if not columns:
        return
    yield ""
    yield "Beside what others publish; the gap is from the best published MSE."
    yield ""
    ours = [name for name in ("best", "paper") if name in recipes]
    rows = []
    for horizon in horizons:
        if horizon not in published["horizons"]:
            continue
        at = published["horizons"].index(horizon)
        row = [str(horizon)]
        for recipe in ours:
            mse = grid.mse(data, horizon, recipe)
            row += [_score(grid.lines.get((data, horizon, recipe)))]
            row += [gap(mse, columns["best"]["figures"][data][at][0]) if "best" in columns else ""]
        for each in columns.values():
            mse, mae = each["figures"][data][at]
            row.append(f"{mse:.3f} / {mae:.3f}")
        rows.append(row)
    heads = [head for recipe in ours for head in (recipe, f"gap of {recipe}")]
    yield from table(["horizon", *heads, *(each["label"] for each in columns.values())], rows)


def _look_back(grid: Grid, data: str, recipe: str) -> str:
    """Of the networks that read one."""
    found = {
        line["look_back"]
        for (at, _, name), line in grid.lines.items()
        if (at, name) == (data, recipe)
    }
    return "/".join(map(str, sorted(found))) if found and recipe not in NAIVE else ""


def _parts(grid: Grid) -> Iterator[str]:
    """The recipes that are not compared everywhere: each is another one with a part changed."""
    yield "## What the parts are worth"
    yield ""
    yield (
        "The same recipe, trained again with a part changed (`paper_no_cross` has no "
        "cross-attention, say: `params.yaml` has each), beside the whole one; means over the seeds "
        "of each. The noise is that of the claims; a change within it is no evidence."
    )
    yield ""
    rows = []
    for data, horizon, recipe in grid.lines:
        whole = _whole(recipe, [name for at, H, name in grid.lines if (at, H) == (data, horizon)])
        if recipe in grid.recipes or whole is None:
            continue
        mine, other = (grid.lines[data, horizon, name]["mse"] for name in (recipe, whole))
        rows.append(
            [
                data,
                str(horizon),
                recipe,
                _score(grid.lines[data, horizon, recipe]),
                whole,
                f"{mine['mean']:.4f} against {other['mean']:.4f}",
                f"{mine['seeds']} / {other['seeds']}",
                gap(mine["mean"], other["mean"]),
                f"{grid.noise(data, [horizon], recipe, whole) / other['mean']:.1%}",
            ]
        )
    heads = ["data", "horizon", "recipe", "MSE / MAE", "the whole", "MSE", "seeds"]
    yield from table([*heads, "change", "noise"], rows)


def _whole(recipe: str, names: Sequence[str]) -> str | None:
    """The recipe that another is a variant of: the longest name that it begins with."""
    found = [name for name in names if recipe.startswith(f"{name}_")]
    return max(found, key=len, default=None)


def _foresight(cells: Mapping[str, Any]) -> Iterator[str]:
    """Which recipe the validation windows would take, and which the test windows show best."""
    yield "## Does validation choose well?"
    yield ""
    yield (
        "Of the trained recipes that ran with the first seed: the one with the lowest validation "
        "MSE, which is all that a user can know, and the one that the test windows show best, "
        "which nobody may choose by. Where much is lost, the validation months are not like the "
        "test months, and a choice among recipes is worth little."
    )
    yield ""
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for cell in cells.values():
        if cell.get("validation") and cell["seed"] == min(each["seed"] for each in cells.values()):
            groups.setdefault((cell["data"], cell["horizon"]), []).append(cell)
    rows = []
    for (data, horizon), group in groups.items():
        chosen = min(group, key=lambda cell: float(cell["validation"]["mse"]))
        lowest = min(group, key=lambda cell: float(cell["mse"]))
        rows.append(
            [
                data,
                str(horizon),
                str(len(group)),
                *(
                    f"`{cell['recipe']}` ({cell['validation']['mse']:.3f} -> {cell['mse']:.3f})"
                    for cell in (chosen, lowest)
                ),
                gap(chosen["mse"], lowest["mse"]),
            ]
        )
    heads = ["data", "horizon", "recipes", "lowest validation (its test)", "lowest test", "lost"]
    yield from table(heads, rows)
    yield ""
    taken = ", ".join(f"{data} `{recipe}`" for data, recipe in _by_validation(groups))
    if taken:
        yield (f"Of those that ran at each of these horizons, the lowest mean over them: {taken}.")


def _by_validation(
    groups: Mapping[tuple[str, int], Sequence[Mapping[str, Any]]],
) -> Iterator[tuple[str, str]]:
    """For each data set, the recipe with the lowest validation MSE, averaged over its horizons."""
    for data in dict.fromkeys(data for data, _ in groups):
        of_data = [
            {cell["recipe"]: float(cell["validation"]["mse"]) for cell in group}
            for (at, _), group in groups.items()
            if at == data
        ]
        everywhere = set.intersection(*(set(each) for each in of_data))
        if everywhere:
            yield data, min(everywhere, key=lambda name: sum(each[name] for each in of_data))


def _dropped(cells: Mapping[str, Any]) -> Iterator[str]:
    """Figures under the protocol that leaves windows out, beside ours."""
    yield "## What dropping the last batch does"
    yield ""
    yield (
        "SST's released test loader leaves out the last, incomplete batch of 128 windows, the "
        "newest ones. The same weights, scored both ways. The column *last batch dropped* is no "
        "result of ours; it may explain other people's figures."
    )
    yield ""
    rows = []
    for cell in cells.values():
        dropped = cell.get("test_drop_last") or {}
        if cell["recipe"] not in ("paper", "sst") or dropped.get("mse") is None:
            continue
        if cell["seed"] != min(each["seed"] for each in cells.values()):
            continue
        rows.append(
            [
                Cell(cell["data"], cell["horizon"], cell["recipe"], cell["seed"]).name,
                f"{cell['mse']:.4f} ({cell['windows']})",
                f"{dropped['mse']:.4f} ({dropped['windows']})",
                gap(dropped["mse"], cell["mse"]),
            ]
        )
    yield from table(["cell", "every window", "last batch dropped", "change"], rows)


def _times(grid: Grid) -> Iterator[str]:
    yield "## Seconds of training"
    yield ""
    yield (
        "Mean over seeds. Each training ran on one thread, with another beside it: what a cell "
        "costs here, not who is faster (see [performance.md](performance.md)). One that was killed "
        "and went on does not count."
    )
    yield ""
    spent: dict[tuple[str, int, str], list[float]] = {}
    for each in grid.cells:
        if not each.get("resumed"):
            place = each["data"], each["horizon"], each["recipe"]
            spent.setdefault(place, []).append(each["seconds"])
    rows = []
    for data in grid.data_sets():
        for horizon in grid.horizons(data):
            found = [spent.get((data, horizon, recipe)) for recipe in grid.recipes]
            if any(found):
                cells = ["" if each is None else f"{fmean(each):.0f}" for each in found]
                rows.append([data, str(horizon), *cells])
    yield from table(["data", "horizon", *grid.recipes], rows)


def _reruns(grid: Grid, published: Mapping[str, Any]) -> Iterator[str]:
    yield "## Are the baselines right?"
    yield ""
    yield (
        f"Ours beside their reruns by others: within {NEAR:.0%} of the MSE, or better. Where it "
        "says no, ours may be weaker than it should be, and to be ahead of it there shows little."
    )
    yield ""
    rows = []
    horizons, sets = published["horizons"], grid.data_sets()
    for recipe, data, horizon in product(RERUN, sets, horizons):
        figures = published["tables"][recipe]["figures"]
        if data not in figures or (data, horizon, recipe) not in grid.lines:
            continue
        theirs = figures[data][horizons.index(horizon)][0]
        mse = grid.lines[data, horizon, recipe]["mse"]["mean"]
        verdict = "better" if mse < theirs * (1 - NEAR) else "yes"
        verdict = "**no**" if mse > theirs * (1 + NEAR) else verdict
        rows.append(
            [recipe, data, str(horizon), f"{mse:.3f}", f"{theirs:.3f}", gap(mse, theirs), verdict]
        )
    heads = ["baseline", "data", "horizon", "ours", "rerun", "gap", "within"]
    yield from table(heads, rows)


def _exact(cells: Mapping[str, Any], exact: Mapping[str, Any]) -> Iterator[str]:
    """The trained linear baseline beside the least-squares solution of the same windows."""
    yield (
        "DLinear is a linear map, so what its training seeks can be solved for: by least squares "
        "on the same train windows (`s2tx study exact`). A figure of others that is lower than "
        "the solution's comes from another look-back, loss or stopping point."
    )
    yield ""
    rows = []
    for solved in exact["cells"]:
        cell = Cell(**solved["cell"])
        trained = cells[cell.name]
        ours, least = trained["mse"], solved["test"]["mse"]
        rows.append(
            [
                cell.data,
                str(cell.horizon),
                f"{trained['validation']['mse']:.4f} -> {ours:.4f}",
                f"{solved['validation']['mse']:.4f} -> {least:.4f}",
                gap(ours, least),
            ]
        )
    heads = [
        "data",
        "horizon",
        "trained: validation -> test MSE",
        "solved",
        "trained above solved, test MSE",
    ]
    yield from table(heads, rows)
    yield from left_out(exact)


def _not_run(grid: Grid) -> Iterator[str]:
    yield "## Not run"
    yield ""
    yield "Data set, recipe, horizons, and the seeds in brackets."
    yield ""
    reasons: dict[str, list[str]] = {}
    for name, reason in grid.not_run.items():
        reasons.setdefault(reason, []).append(name)
    if not reasons:
        yield "Nothing: the grid is whole."
    for reason, names in reasons.items():
        cells = "1 cell" if len(names) == 1 else f"{len(names)} cells"
        yield f"- {reason} ({cells}): {_some(names)}"


def _some(names: list[str]) -> str:
    """Cells as data sets with their recipes, horizons and seeds, since there are hundreds."""
    seeds: dict[tuple[str, str, int], set[int]] = {}
    for cell in map(Cell.of_name, names):
        seeds.setdefault((cell.data, cell.recipe, cell.horizon), set()).add(cell.seed)
    horizons: dict[tuple[str, str, tuple[int, ...]], list[int]] = {}
    for (data, recipe, horizon), drawn in seeds.items():
        horizons.setdefault((data, recipe, tuple(sorted(drawn))), []).append(horizon)
    return "; ".join(
        f"{data} {recipe} {'/'.join(map(str, sorted(at)))} ({', '.join(map(str, drawn))})"
        for (data, recipe, drawn), at in horizons.items()
    )


def _score(line: Mapping[str, Any] | None) -> str:
    """``0.369 ± 0.002 / 0.401 ± 0.001 (3 seeds)``."""
    if line is None:
        return NOT_RUN
    text = " / ".join(spread(line[metric]) for metric in ("mse", "mae"))
    seeds = line["mse"]["seeds"]
    return text if seeds == 1 else f"{text} ({seeds} seeds)"


def _number(value: float | None) -> str:
    return NOT_RUN if value is None else f"{value:.3f}"
