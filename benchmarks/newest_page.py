"""The part of ``docs/missing-values.md`` about the gap next to the forecast."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from benchmarks.study_page import cell_name, left_out, table

_COLUMNS = {
    "all": "all gaps",
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
        "rise of the MSE with all gaps of a mask; with each variate's newest gap alone, the one "
        "that ends its look-back; with all others alone. *Forecast further*: the network reads "
        "every value older than the newest gap of a variate, and its horizon begins there; so much "
        "the gap costs whoever fills nothing, and has lost nothing else."
    )
    yield ""
    rows, told = [], []
    for cell in record["cells"]:
        rises = {
            name: [mask[name] / cell["complete"] - 1 for mask in cell["masks"]] for name in _COLUMNS
        }
        for at, mask in enumerate(cell["masks"]):
            shown = [f"{rises[name][at]:+.1%}" for name in _COLUMNS]
            label = f"{mask['pattern']} {mask['rate']:.0%}, mask {mask['seed']}"
            rows.append([f"`{cell_name(cell)}`", label, f"{mask['gap']:.1f}", *shown])
        told.append(_told(cell_name(cell), rises, wanted))
    yield from table(["cell", "mask", "steps of the newest gap", *_COLUMNS.values()], rows)
    yield from left_out(record)
    yield ""
    yield " ".join(told)


def _told(cell: str, rises: Mapping[str, Sequence[float]], wanted: float) -> str:
    """The means over the masks in words, and what they say of the aim."""
    mean = {name: f"{fmean(each):+.1%}" + _deviation(each) for name, each in rises.items()}
    beyond = sum(each > wanted for each in rises["further"])
    return (
        f"`{cell}`: {mean['all']} with all gaps, {mean['newest']} with the newest alone, "
        f"{mean['others']} with the others alone. Forecasting further costs {mean['further']}, "
        f"more than {wanted:.0%} under {beyond} of {len(rises['further'])} masks"
        + (
            ": what others showed while a variate was silent makes up for more than half of that."
            if 2 * fmean(rises["newest"]) < fmean(rises["further"])
            else "."
        )
    )


def _deviation(values: Sequence[float]) -> str:
    return f" ± {stdev(values):.1%}" if len(values) > 1 else ""
