"""The part of ``docs/missing-values.md`` about attention beside a gap, and its picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.markdown import cell_name, left_out, table
from benchmarks.project import ROOT

IMAGE = ROOT / "docs" / "images" / "gaps.png"
_KINDS = {"local": "local patches", "cross": "global patches"}


def section(record: Mapping[str, Any]) -> Iterator[str]:
    """What attention reads of patches in which nothing was observed."""
    yield "## Where attention looks beside a gap"
    yield ""
    yield (
        f"`{record['receipt']['command'].split(' --')[0]}`: {record['receipt']['protocol']}. What "
        "a local patch reads, on average over windows, variates, blocks and heads: the share that "
        "goes to empty patches (their number in brackets; as many of as many patches is what an "
        "attention gives that takes no notice of the gap)."
    )
    yield ""
    rows = []
    for cell in record["cells"]:
        shares = [_share(cell.get(kind)) for kind in _KINDS]
        rows.append([f"`{cell_name(cell)}`", *shares])
    yield from table(["cell", *(f"of the {label}" for label in _KINDS.values())], rows)
    yield from left_out(record)
    yield ""
    yield "![Attention maps beside a gap](images/gaps.png)"
    yield ""
    yield (
        "*Each row is a local patch, oldest first, each column what it reads; between the lines "
        "lie the empty patches. Where `skip_missing` makes them no keys, one still reads itself.*"
    )


def draw(record: Mapping[str, Any]) -> None:
    """The maps, a row of panels a cell."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    cells = record["cells"]
    figure = Figure(figsize=(8.4, 3.2 * len(cells)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(cells), len(_KINDS), squeeze=False)
    for cell, panels in zip(cells, grid, strict=True):
        for (kind, label), panel in zip(_KINDS.items(), panels, strict=True):
            if kind not in cell:
                panel.set_visible(False)
                continue
            panel.imshow(cell[kind]["map"], aspect="auto", cmap="Blues", interpolation="nearest")
            empty = [at for at, flag in enumerate(cell[kind]["empty"]) if flag]
            for edge in (empty[0] - 0.5, empty[-1] + 0.5) if empty else ():
                panel.axvline(edge, color="tab:red", lw=1)
            panel.set_title(cell_name(cell), fontsize=9)
            panel.set_xlabel(label, fontsize=8)
            panel.set_ylabel("local patch", fontsize=8)
            panel.tick_params(labelsize=7)
            for axis in (panel.xaxis, panel.yaxis):
                axis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(IMAGE, dpi=110, metadata={"Software": None})


def _share(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    empty = found["empty"]
    return f"{found['share_of_empty']:.1%} ({sum(empty)} of {len(empty)})"
