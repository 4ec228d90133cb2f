"""What the pages of the results share: tables, figures and names in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from s2tx.studies.settings import Cell


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A Markdown table, a line at a time."""
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def spread(value: Mapping[str, Any]) -> str:
    """The mean over seeds, with its deviation where there are several."""
    deviation = value["deviation"]
    return f"{value['mean']:.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")


def mean_rise(rises: Sequence[float]) -> str:
    """Their mean in percent, with the sample deviation where there are several."""
    deviation = f" ± {stdev(rises):.1%}" if len(rises) > 1 else ""
    return f"{fmean(rises):+.1%}{deviation}"


def gap(ours: float | None, theirs: float) -> str:
    """By what share an MSE lies above another, in percent."""
    return "" if ours is None else f"{ours / theirs - 1:+.1%}"


def left_out(record: Mapping[str, Any]) -> Iterator[str]:
    """The cells that were trained again since a study looked at them."""
    if record.get("stale"):
        yield ""
        yield f"Left out, as they were trained again since: {', '.join(record['stale'])}."


def cell_name(cell: Mapping[str, Any]) -> str:
    """Of a record of a study."""
    return Cell(**cell["cell"]).name


def commit_text(commit: str | None) -> str:
    """A commit as ``s2tx.fingerprint.git_commit`` gives it, short, and whether files differed."""
    short, dirty, _ = (commit or "unknown").partition("+")
    return f"`{short[:8]}`" + (" with changes" if dirty else "")
