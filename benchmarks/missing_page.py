"""``docs/missing-values.md`` and its picture, made from ``results/missing.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from statistics import fmean
from typing import Any

from benchmarks import gaps_page, newest_page
from benchmarks.markdown import cell_name, mean_rise, table
from benchmarks.missing_results import Results
from benchmarks.project import ROOT

PAGE = ROOT / "docs" / "missing-values.md"
CELLS = ROOT / "docs" / "missing-cells.md"
IMAGE = ROOT / "docs" / "images" / "missing.png"
CLAIMED, CLAIMED_SST = 0.047, 0.134  # at 40 % missing, arXiv 2502.11340
WANTED, WANTED_CLEAN = 0.02, 0.01
RATE, WHERE = 0.4, ("ETTh1", 96)

INTRODUCTION = """# Missing values

<!-- Made by `python -m benchmarks.tables` from results/missing.json: do not edit. -->

The paper's claim: with 40 % of the values missing, S2TX loses 4.7 % of its MSE where SST loses
13.4 %. It leaves open how they are missing, whether in training too, and what stands in their
place. Here all three are said, and one command repeats it: `s2tx study missing` (section
`study.missing` of `params.yaml`; a receipt a cell in `results/missing/`).

- **What is hidden**: *blocks* of 24 steps of one variate, up to the rate; single *points*; a
  *sensor*, one variate, for 28 blocks in a row (672 steps: all that `paper` and SST read, and more
  than the others do, which so have more windows with a variate wholly dark); a *blackout* of
  all variates for 24 steps; the *tail*, the newest steps of every look-back. Masks are seeded and
  over rows: all models see the same gaps. The rate is that of the whole table, and more or less of
  it falls on the look-backs of the test windows. Every table is of one mask (`study.missing.seed`),
  but for that of the draws below, which shows how much of a figure is the mask.
- **From whom**: under the protocol *test*, from the inputs of test windows alone, and the weights
  are those of the grid, trained on complete data. Under *trained*, from the inputs of training
  windows too, by another draw at the same rate.
- **What stands in their place**: under *mask* the network is told. `best` then reads an estimate
  (`infill`: from the same variate at other steps and seasons, and from the other variates, by
  kriging) and the mask beside it, its linear member the estimate alone; PatchTST, SST and `paper`
  get zero after RevIN, the observed mean; DLinear the mean of the train rows. The other fills are
  what a user would do first: the last value carried *forward*, a *linear* bridge, the window's
  *mean*, the last value of the same hour (*seasonal*); and `best`'s own *infill*, in front of any
  model. They read the look-back alone.
- **Targets** are complete, every test window is scored. A rise is the MSE over that of the same
  recipe and seed trained and tested on complete data, averaged over seeds. Here stands the table of
  ETTh1 at 96, in [missing-cells.md](missing-cells.md) those of the others.

`best_masked` is `best`, trained with values hidden at random from some of its windows
(`train.masking` of the recipe); the recipes `masked_...` are `best_masked` with one part changed
(`masked_no_statistics` with two: neither infill nor statistics of observed values alone; in
`masked_no_others` the estimates keep to their own variate).
"""
CELLS_INTRODUCTION = """# Missing values: every other data set and horizon

<!-- Made by `python -m benchmarks.tables` from results/missing.json: do not edit. -->

Tables like that of ETTh1 at 96 in [missing-values.md](missing-values.md), which says what is
hidden, from whom, and what stands in its place."""
FILLS = ("forward", "linear", "mean", "seasonal", "infill")


def page(
    tree: Mapping[str, Any],
    parts: Sequence[str],
    gaps: Mapping[str, Any] | None = None,
    newest: Mapping[str, Any] | None = None,
) -> str:
    """The whole of ``docs/missing-values.md``.

    Args:
        tree: ``results/missing.json``.
        parts: recipes of the attribution, the whole one first.
        gaps: ``results/gaps.json``.
        newest: ``results/newest.json``.
    """
    results = Results(tree["cells"], tree["seed"])
    sections = [INTRODUCTION, "\n".join(_claims(results))]
    if _curves(results, parts):
        sections.append(
            "![Rise of the MSE with the share of missing inputs](images/missing.png)\n\n"
            "*Rise of the MSE over that on complete data as blocks of the test inputs go missing. "
            "Told: every model knows what is missing, and `best` puts its estimates there. Given "
            "estimates: those of `best` stand in front of every model. A curve that leaves its "
            "panel rises to more than twice the next.*"
        )
    sections.append("\n".join(_draws(results)))
    if newest is not None:
        sections.append("\n".join(newest_page.section(newest, WANTED)))
    sections.append("\n".join(_parts(results, parts)))
    if gaps is not None:
        sections.append("\n".join(gaps_page.section(gaps)))
    sections += _places(results, parts, [WHERE])
    sections.append("\n".join(_trained(results)))
    sections.append("\n".join(_not_run(tree["not_run"])))
    old = [cell_name(each) for each in tree["cells"] if each["earlier_code"]]
    if old:
        sections.append(
            "## Weights of earlier code\n\nTrained under the present settings, before the code "
            f"that decides weights last changed: {', '.join(old)}."
        )
    return "\n\n".join(part.strip("\n") for part in sections) + "\n"


def cells(tree: Mapping[str, Any], parts: Sequence[str]) -> str:
    """The whole of ``docs/missing-cells.md``: the tables of the other data sets and horizons.

    Args:
        tree: ``results/missing.json``.
        parts: recipes of the attribution, the whole one first.
    """
    results = Results(tree["cells"], tree["seed"])
    others = [place for place in results.places() if place != WHERE]
    return "\n\n".join([CELLS_INTRODUCTION, *_places(results, parts, others)]) + "\n"


def _places(
    results: Results, parts: Sequence[str], places: Sequence[tuple[str, int]]
) -> Iterator[str]:
    """The tables of each data set and horizon where one was run."""
    for data, horizon in places:
        recipes = [name for name in results.recipes(data, horizon) if name not in _changed(parts)]
        if recipes:
            yield "\n".join(_of_place(results, data, horizon, recipes)).strip("\n")


def draw(tree: Mapping[str, Any], parts: Sequence[str]) -> None:
    """The curves as a picture, one panel a data set and horizon."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    results = Results(tree["cells"], tree["seed"])
    told = {"mask": "told", "infill": "given estimates"}
    drawn = {fill: _curves(results, parts, fill) for fill in told}
    curves = [
        (place, label, drawn[fill][place])
        for place in results.places()
        for fill, label in told.items()
        if len(drawn[fill].get(place, ())) > 1
    ]
    if not curves:
        return
    names = dict.fromkeys(recipe for *_, lines in curves for recipe in lines)
    colours = {recipe: f"C{at}" for at, recipe in enumerate(names)}
    columns = min(len(curves), len(told))
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, ((data, horizon), label, lines) in zip(panels, curves, strict=False):
        for recipe, points in lines.items():
            rates, rises = zip(*points, strict=True)
            across, up = [100 * rate for rate in rates], [100 * rise for rise in rises]
            panel.plot(across, up, "o-", ms=3, label=recipe, color=colours[recipe])
        every = [[100 * rise for _, rise in points] for points in lines.values()]
        *_, second, highest = sorted([0.0, *map(max, every)])
        if label == told["mask"] and highest > 2 * second > 0:  # the others are told apart
            lowest = min(map(min, every))
            panel.set_ylim(lowest - 0.05 * (second - lowest), 1.2 * second)
        panel.set_title(f"{data}, horizon {horizon}: {label}", fontsize=10)
        panel.set_xlabel("missing, %")
        panel.set_ylabel("MSE, % above complete")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7)
    for panel in panels[len(curves) :]:
        panel.set_visible(False)
    figure.savefig(IMAGE, dpi=110, metadata={"Software": None})


def _changed(parts: Sequence[str]) -> Sequence[str]:
    """The recipes of the attribution alone, behind the whole one and the one it builds on."""
    return parts[2:]


def _curves(
    results: Results, parts: Sequence[str], fill: str = "mask"
) -> dict[tuple[str, int], dict[str, list[tuple[float, float]]]]:
    """By place and recipe, the rises along the rates of blocks under a fill."""
    curves: dict[tuple[str, int], dict[str, list[tuple[float, float]]]] = {}
    for place in results.places():
        for recipe in results.recipes(*place):
            if recipe in _changed(parts):
                continue
            points = [
                (rate, rise)
                for rate in _rates(results, fill)
                if (rise := _blocks(results, *place, recipe, rate, fill)) is not None
            ]
            if points:
                curves.setdefault(place, {})[recipe] = [(0.0, 0.0), *points]
    return curves


def _rates(results: Results, fill: str = "mask") -> list[float]:
    rates = {
        line["rate"]
        for each in results.cells
        for line in each["scores"]
        if line["pattern"] == "block" and line["fill"] == fill and each["protocol"] == "test"
    }
    return sorted(rates)


def _blocks(
    results: Results, data: str, horizon: int, recipe: str, rate: float, fill: str = "mask"
) -> float | None:
    return results.rise(data, horizon, recipe, pattern="block", rate=rate, fill=fill)


# --- Sections -----------------------------------------------------------------------------------


def _claims(results: Results) -> Iterator[str]:
    """What was claimed or wanted, and whether it holds."""
    yield "## What holds"
    yield ""
    yield (
        f"At {RATE:.0%} missing, in blocks, on {'-'.join(map(str, WHERE))}. Where several masks "
        "were drawn, the rise is the mean over them, with the deviation, and judged by the mean. "
        "Masks were drawn for fewer seeds than the tables are means over, as the draws below say, "
        "and weights may differ by more than masks do. One mask may be a lucky one."
    )
    yield ""
    rows = []
    for recipe, claim in (("paper", CLAIMED), ("sst", CLAIMED_SST)):
        rises = {f"test, {fill}": _over_masks(results, recipe, fill) for fill in ("mask", *FILLS)}
        rises["trained, mask"] = _alone(_trained_rise(results, *WHERE, recipe))
        known = {label: found for label, found in rises.items() if found}
        held = {label: found for label, found in known.items() if fmean(found) <= claim}
        sure = any(len(found) > 1 for found in held.values())
        ways = "; ".join(
            f"{label}{_of_masks(found) if sure else ''}" for label, found in held.items()
        )
        rows.append(
            [
                f"`{recipe}` loses at most {claim:.1%}, as the paper says, in one of these ways",
                "; ".join(f"{label}: {_rise(found)}" for label, found in known.items()),
                f"{'yes' if sure else 'under one mask'}: {ways}"
                if held
                else "no"
                if known
                else "not run",
            ]
        )
    for recipe in ("best", "best_masked"):
        found = _over_masks(results, recipe, "mask")
        rows.append(
            [
                f"`{recipe}`, told what is missing, loses at most {WANTED:.0%} (test, mask)",
                _rise(found),
                _verdict(fmean(found) if found else None, WANTED) + _of_masks(found),
            ]
        )
    for recipe in ("paper", "sst", "patchtst", "dlinear"):
        rows += _beside(results, recipe)
    for data, horizon in (WHERE, ("ETTh1", 720)):
        plain = {
            each["cell"]["seed"]: each["clean"]["mse"] for each in results.of(data, horizon, "best")
        }
        costs = [
            each["clean"]["mse"] / plain[each["cell"]["seed"]] - 1
            for each in results.of(data, horizon, "best_masked")
            if each["cell"]["seed"] in plain
        ]
        cost = fmean(costs) if costs else None
        rows.append(
            [
                f"`best_masked` costs at most {WANTED_CLEAN:.0%} beside `best` on complete data, "
                f"{data}-{horizon}",
                _share(cost),
                _verdict(cost, WANTED_CLEAN),
            ]
        )
    yield from table(["claim", "found", "holds"], rows)


def _over_masks(results: Results, recipe: str, fill: str) -> list[float]:
    """The rise under each mask that was drawn at the rate of the claims; else under the study's."""
    drawn = results.draws(*WHERE, recipe, pattern="block", rate=RATE, fill=fill)
    return [rise for _, rise in drawn.values()] or _alone(
        _blocks(results, *WHERE, recipe, RATE, fill)
    )


def _beside(results: Results, recipe: str) -> Iterator[list[str]]:
    """`best` and another with the same estimates, mask by mask; nothing where either lacks one."""
    ours, theirs = (
        results.draws(*WHERE, name, pattern="block", rate=RATE, fill="infill")
        for name in ("best", recipe)
    )
    if masks := sorted(ours.keys() & theirs.keys()):
        a, b = ([each[seed][1] for seed in masks] for each in (ours, theirs))
    else:
        a, b = (_alone(_blocks(results, *WHERE, name, RATE, "infill")) for name in ("best", recipe))
    if not a or not b:
        return
    less = [other - own for own, other in zip(a, b, strict=True)]
    wins = sum(each > 0 for each in less)
    verdict = "yes" if wins == len(less) else "no" if wins == 0 else "cannot be told"
    yield [
        f"`best` loses less than `{recipe}` where both are given its estimates (test, infill)",
        f"{_rise(a)} against {_rise(b)}",
        f"{verdict}: under {wins} of {len(less)} masks" if len(less) > 1 else "one mask, not told",
    ]


def _of_masks(rises: Sequence[float]) -> str:
    """What a reader is told beside a verdict that stands on one mask."""
    return " (one mask)" if len(rises) == 1 else ""


def _alone(rise: float | None) -> list[float]:
    return [] if rise is None else [rise]


def _draws(results: Results) -> Iterator[str]:
    """How much of a figure is the draw of the mask."""
    yield "## How much of it is the draw?"
    yield ""
    recipes = [name for name in results.recipes(*WHERE) if results.draws(*WHERE, name)]
    if not recipes:
        yield "Not run."
        return
    yield (
        f"{'-'.join(map(str, WHERE))}, blocks at {RATE:.0%}: the rise under several masks, with "
        "the weights of the seeds that are named. In brackets the share that a mask hides of the "
        "test windows' look-backs."
    )
    yield ""
    drawn: dict[tuple[str, str], dict[int, tuple[float, float]]] = {}
    for recipe, fill in product(recipes, ("mask", *FILLS)):
        found = results.draws(*WHERE, recipe, pattern="block", rate=RATE, fill=fill)
        if found:
            drawn[recipe, fill] = found
    seeds = sorted({seed for each in drawn.values() for seed in each})
    rows = []
    for (recipe, fill), found_at in drawn.items():
        cells = [
            f"{_share(found_at[seed][1])} ({found_at[seed][0]:.1%})" if seed in found_at else ""
            for seed in seeds
        ]
        rises = [rise for _, rise in found_at.values()]
        whose = ", ".join(map(str, results.drawn_for(*WHERE, recipe)))
        rows.append([f"`{recipe}`", whose, fill, *cells, _rise(rises)])
    yield from table(["recipe", "seeds", "fill", *(f"mask {seed}" for seed in seeds), "mean"], rows)
    yield from _studied(results, drawn)


def _studied(
    results: Results, drawn: Mapping[tuple[str, str], Mapping[int, tuple[float, float]]]
) -> Iterator[str]:
    """How the mask of the other tables stands among those that were drawn."""
    rises = {
        key: {seed: rise for seed, (_, rise) in each.items()}
        for key, each in drawn.items()
        if results.seed in each and len(each) > 1
    }
    if not rises:
        return
    lowest = sum(each[results.seed] == min(each.values()) for each in rises.values())
    times = fmean(fmean(each.values()) / each[results.seed] for each in rises.values())
    yield ""
    yield (
        f"Mask {results.seed}, which all other tables are of, has the lowest rise in {lowest} of "
        f"{len(rises)} rows (which share their masks); the mean over the masks is {times:.1f} "
        "times as high."
    )


def _parts(results: Results, parts: Sequence[str]) -> Iterator[str]:
    """What each part gives, pattern by pattern."""
    yield "## Which part gives the robustness?"
    yield ""
    patterns = ("block", "point", "sensor", "blackout")
    seed = min((each["cell"]["seed"] for each in results.cells), default=None)
    of_seed = [each for each in results.cells if each["cell"]["seed"] == seed]
    results = Results(of_seed, results.seed)
    names = [name for name in parts if results.of(*WHERE, name)]
    if not names or names[0] != parts[0]:
        yield "Not run."
        return
    whole, *others = names
    losses: dict[str, list[float | None]] = {
        name: [
            results.rise(*WHERE, name, pattern=pattern, rate=RATE, fill="mask")
            for pattern in patterns
        ]
        + [results.rise(*WHERE, name, pattern="tail", steps=24, fill="mask")]
        for name in names
    }
    yield (
        f"ETTh1-96 at 40 % missing, under *mask*: the rise of the MSE over the recipe's own on "
        f"complete data, with the first seed. `{whole}` is whole; the others have a part changed, "
        "and were trained anew; `best` is without random masking."
    )
    yield ""
    rows = []
    for name in names:
        clean = results.clean(*WHERE, name)
        shown = "" if clean is None else f"{clean:.4f}"
        rows.append([f"`{name}`", shown, *map(_share, losses[name])])
    yield from table(["recipe", "complete", *patterns, "tail of 24"], rows)
    yield ""
    first = losses[whole][0]
    costs = {
        name: each[0] - first
        for name, each in losses.items()
        if name in others and each[0] is not None and first is not None
    }
    if first is None or not costs:
        return
    ranked = sorted(costs, key=lambda name: -costs[name])
    told = ", ".join(f"`{name}` {100 * costs[name]:+.1f}" for name in ranked)
    yield (
        f"Under blocks, the change of a part moves the rise of {_share(first)} by so many points: "
        f"{told}. The most is lost by the change of `{ranked[0]}`."
    )
    apart, part = ("masked_no_statistics", "masked_no_infill"), "masked_no_others"
    rest = [abs(100 * cost) for name, cost in costs.items() if name not in (*apart, part)]
    if not rest or not set(apart) <= costs.keys():
        return
    bare, without = (first + costs[name] for name in apart)
    own = (
        f", to {_share(first + costs[part])} from their own variate alone" if part in costs else ""
    )
    yield ""
    yield (
        f"Estimates take the rise from {_share(without)} to {_share(first)}{own}. Without them, "
        f"statistics of observed values alone take it from {_share(bare)} to {_share(without)}; "
        "where an estimate stands nothing is missing, and they play no part. Every other part "
        f"moves it by at most {max(rest):.1f} points."
        + (
            " So what stands in the place of a missing value when the window is normalised "
            "decides, and neither the mask nor what the attention reads."
            if 100 * min(bare - without, without - first) > max(rest)
            else ""
        )
    )


def _of_place(results: Results, data: str, horizon: int, recipes: Sequence[str]) -> Iterator[str]:
    """One data set and horizon under the protocol test."""
    yield f"## {data}, horizon {horizon}"
    yield ""
    yield "Blocks, under *mask*:"
    yield ""
    rates = _rates(results)
    rows = []
    for recipe in recipes:
        clean, seeds = results.clean(data, horizon, recipe), results.of(data, horizon, recipe)
        rises = [_share(_blocks(results, data, horizon, recipe, rate)) for rate in rates]
        rows.append([f"`{recipe}`", str(len(seeds)), f"{clean:.4f}", *rises])
    yield from table(["recipe", "seeds", "complete", *(f"{rate:.0%}" for rate in rates)], rows)
    some = sorted({rate for fill in FILLS for rate in _rates(results, fill)})
    filled = {
        recipe: [
            _share(_blocks(results, data, horizon, recipe, rate, fill))
            for fill in FILLS
            for rate in some
        ]
        for recipe in recipes
    }
    if any(any(cells) for cells in filled.values()):
        yield ""
        yield "Blocks, filled:"
        yield ""
        rows = [[f"`{recipe}`", *cells] for recipe, cells in filled.items()]
        yield from table(["recipe", *(f"{f} {r:.0%}" for f in FILLS for r in some)], rows)
    heads: dict[str, dict[str, Any]] = {
        f"{pattern}, {fill}": {"pattern": pattern, "rate": RATE, "fill": fill}
        for pattern in ("point", "sensor", "blackout")
        for fill in ("mask", "forward")
    }
    heads |= {
        f"tail {steps}, {fill}": {"pattern": "tail", "steps": steps, "fill": fill}
        for steps in (1, 6, 24, 48)
        for fill in ("mask", "forward")
    }
    rows = [
        [f"`{recipe}`", *(_share(results.rise(data, horizon, recipe, **c)) for c in heads.values())]
        for recipe in recipes
    ]
    if any(cell for row in rows for cell in row[1:]):
        yield ""
        yield "Other patterns: 40 % missing, or the newest steps of every look-back:"
        yield ""
        yield from table(["recipe", *heads], rows)


def _trained_rise(
    results: Results, data: str, horizon: int, recipe: str, rate: float = RATE
) -> float | None:
    """Over the clean MSE of the same seed's cell that was trained on complete data."""
    place = data, horizon, recipe
    clean = {each["cell"]["seed"]: each["clean"]["mse"] for each in results.of(*place)}
    rises = [
        record["scores"][0]["mse"] / clean[record["cell"]["seed"]] - 1
        for record in results.of(*place, "trained")
        if record["scores"][0]["rate"] == rate and record["cell"]["seed"] in clean
    ]
    return fmean(rises) if rises else None


def _trained(results: Results) -> Iterator[str]:
    yield "## Trained on rows that lose values too"
    yield ""
    places = results.places("trained")
    if not places:
        yield "Not run."
        return
    yield (
        "Blocks hidden from the training rows and, by another draw at the same rate, from the test "
        "rows, under *mask*. The rise is over the MSE of the same recipe and seed trained and "
        "tested on complete data, often by an earlier commit: the receipts name both."
    )
    yield ""
    rows = []
    for data, horizon in places:
        for recipe in results.recipes(data, horizon, "trained"):
            records = results.of(data, horizon, recipe, "trained")
            for rate in sorted({each["scores"][0]["rate"] for each in records}):
                same = [each for each in records if each["scores"][0]["rate"] == rate]
                rows.append(
                    [
                        f"{data}-{horizon}",
                        f"`{recipe}`",
                        f"{rate:.0%}",
                        str(len(same)),
                        f"{fmean(each['scores'][0]['mse'] for each in same):.4f}",
                        _share(_trained_rise(results, data, horizon, recipe, rate)),
                        f"{fmean(each['clean']['mse'] for each in same):.4f}",
                    ]
                )
    heads = ["cell", "recipe", "missing", "seeds", "MSE", "rise", "these weights, complete inputs"]
    yield from table(heads, rows)


def _not_run(reasons: Mapping[str, str]) -> Iterator[str]:
    yield "## Not run"
    yield ""
    if not reasons:
        yield "Everything that `params.yaml` lists was run."
    for reason in dict.fromkeys(reasons.values()):
        names = [name for name, why in reasons.items() if why == reason]
        yield f"- {reason}: {', '.join(names)}"


def _rise(rises: Sequence[float]) -> str:
    """The mean, with the sample deviation where there are several."""
    if len(rises) < 2:
        return _share(rises[0] if rises else None)
    return f"{mean_rise(rises)} ({len(rises)} masks)"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:+.1%}"


def _verdict(value: float | None, most: float) -> str:
    return "not run" if value is None else "yes" if value <= most else "no"
