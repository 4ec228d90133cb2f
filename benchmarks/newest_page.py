"""The part of ``docs/missing-values.md`` about the gap next to the forecast."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from benchmarks.markdown import left_out, mean_rise, table

_COLUMNS = {
    "all": "all gaps",
    "longer": "longer estimates",
    "newest": "the newest alone",
    "others": "the others alone",
    "further": "forecast further",
}


def section(record: Mapping[str, Any], wanted: float) -> Iterator[str]:
    """What the newest gap costs, and what it would cost a forecaster that knew all before it.

    Args:
        record: ``results/newest.json``.
        wanted: the rise that is aimed at.
    """
    yield "## How much of it is the gap next to the forecast?"
    yield ""
    yield (
        f"`{record['receipt']['command'].split(' --')[0]}`: {record['receipt']['protocol']}. The "
        "rise of the MSE with all gaps of a mask; with them, where estimates read twice as far "
        "back as the network does (*longer estimates*, in no recipe so far); with each variate's "
        "newest gap alone, the one that ends its look-back; with all others alone. *Forecast "
        "further*: a variate's forecast begins where its newest gap does, from every older value "
        "of all variates and nothing newer of any; a gap longer than half the horizon counts as "
        "one of half. So much the gap costs whoever puts no estimate there. The steps of the "
        "newest gap are a mean over all windows and variates, most of which have none. Means over "
        "the seeds."
    )
    yield ""
    rows, told = [], []
    for name, cells in _by_recipe(record["cells"]).items():
        masks = _shared(cells)
        if not masks:
            told.append(f"{name}: left out, as its seeds share no mask.")
            continue
        rises: dict[str, list[float]] = {column: [] for column in _COLUMNS}
        for same in masks:
            for column, found in rises.items():
                over = (
                    mask[column] / cell["complete"] - 1
                    for mask, cell in zip(same, cells, strict=True)
                )
                found.append(fmean(over))
            mask, shown = same[0], [f"{found[-1]:+.1%}" for found in rises.values()]
            label = f"{mask['pattern']} {mask['rate']:.0%}, mask {mask['seed']}"
            rows.append([name, str(len(cells)), label, f"{mask['gap']:.1f}", *shown])
        told.append(_told(name, rises, wanted))
    heads = ["cell", "seeds", "mask", "steps of the newest gap", *_COLUMNS.values()]
    yield from table(heads, rows)
    yield from left_out(record)
    for each in told:
        yield ""
        yield each


def _shared(cells: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Each mask that every cell was scored under, cell by cell."""
    by_mask = [
        {(mask["pattern"], mask["rate"], mask["seed"]): mask for mask in cell["masks"]}
        for cell in cells
    ]
    return [
        [each[key] for each in by_mask]
        for key in by_mask[0]
        if all(key in each for each in by_mask)
    ]


def _by_recipe(cells: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The seeds of a recipe side by side, under its name."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for each in cells:
        cell = each["cell"]
        found.setdefault(f"{cell['data']}-{cell['horizon']} `{cell['recipe']}`", []).append(each)
    return found


def _told(name: str, rises: Mapping[str, Sequence[float]], wanted: float) -> str:
    """The means over the masks in words, and what they say of the aim."""
    mean = {column: mean_rise(each) for column, each in rises.items()}
    masks = len(rises["further"])
    beyond = sum(each > wanted for each in rises["further"])
    saved = sum(2 * a < b for a, b in zip(rises["newest"], rises["further"], strict=True))
    return (
        f"{name}: {mean['all']} with all gaps, {mean['longer']} with longer estimates, "
        f"{mean['newest']} with the newest alone, "
        f"{mean['others']} with the others alone. Forecasting further costs {mean['further']}, "
        f"more than {wanted:.0%} under {beyond} of {masks} masks; estimates, and what others "
        f"showed while a variate was silent, save more than half of it under {saved} of {masks}."
    )
