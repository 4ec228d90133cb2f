"""Judged expectations -> findings in words, with the place, the value and the cure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2tx.data.expectations import Outcome
from s2tx.data.findings import Finding, Severity, some
from s2tx.data.profile import HUGE, runs
from s2tx.data.read import Raw
from s2tx.data.regular import TimeFacts
from s2tx.params import ValidateParams

_LISTED = 100  # findings of one check; a longer list helps nobody


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the words are made from.

    Attributes:
        raw: rows as published.
        rules: the tolerances.
        policy: for irregular times.
        facts: of the published rows' times; None where the columns are not those declared.
        figures: of each variate, indexed by its name; None where no table could be made.
        cells: (T', D) of the table, sentinels missing.
        origin: (T',) the published row of each, -1 where it was absent.
        no_window: why a part holds no window, and the cure.
    """

    raw: Raw
    rules: ValidateParams
    policy: str
    facts: TimeFacts | None
    figures: pd.DataFrame | None
    cells: NDArray[np.float64]
    origin: NDArray[np.intp]
    no_window: tuple[str, str] | None


def explain(outcome: Outcome, seen: Evidence) -> list[Finding]:
    """The findings behind one expectation that does not hold."""
    severity: Severity = "error" if outcome.severity == "error" else "warning"
    words: list[tuple[str | None, str, str]]
    if outcome.batch == "variates" and seen.figures is not None:
        words = [
            (variate, *_variate(outcome.check, variate, seen)) for variate in outcome.offenders
        ]
    elif outcome.batch == "times" and seen.facts is not None:
        words = [(None, *pair) for pair in _times(outcome.check, seen.facts, seen)]
    else:
        words = [(None, *pair) for pair in _rows(outcome, seen)]
    findings = [Finding(severity, outcome.check, *found) for found in words[:_LISTED]]
    if len(words) > _LISTED:
        rest = f"{len(words) - _LISTED} more of the kind: {outcome.check}"
        findings.append(Finding(severity, outcome.check, None, rest, words[0][2]))
    return findings


def _rows(outcome: Outcome, seen: Evidence) -> Iterator[tuple[str, str]]:
    declared, found = seen.raw.card.variates, seen.raw.columns
    match outcome.check:
        case "columns":
            absent = [column for column in declared if column not in found]
            strange = [column for column in found if column not in declared]
            what = (
                "; ".join(
                    f"{kind} {some(columns)}"
                    for kind, columns in (("missing", absent), ("not declared", strange))
                    if columns
                )
                or f"their order is {some(found)}, not {some(declared)}"
            )
            yield f"the columns are not those that the card declares: {what}", "Mend the columns"
        case "duplicates" if seen.facts is not None:
            for row in seen.facts.repeated:
                yield (
                    f"{_place(seen, row)}: the row repeats {seen.raw.times[row]} with the "
                    "same values",
                    _irregular_cure(seen, "The row is dropped"),
                )
            if not len(seen.facts.repeated):  # the conflicts, and stamps out of order, say so
                yield (
                    f"timestamps occur twice: {some(sorted(set(outcome.offenders)))}",
                    "Keep one row for each timestamp",
                )
        case _:
            yield outcome.description, "Mend the file"


def _times(check: str, facts: TimeFacts, seen: Evidence) -> Iterator[tuple[str, str]]:
    times, step = seen.raw.times, seen.raw.card.step
    match check:
        case "order":
            for row in facts.back:
                yield (
                    f"{_place(seen, row)}: time goes back from {times[row - 1]} to {times[row]}",
                    _clock_cure(
                        seen, "sort the rows by time, and check that none came from elsewhere"
                    ),
                )
        case "conflicts":
            for row in facts.conflicting:
                pair = seen.raw.frame[list(seen.raw.columns)].to_numpy(np.float64)[
                    row - 1 : row + 1
                ]
                at = int(np.flatnonzero(~_same(pair[0], pair[1]))[0])
                yield (
                    f"{_place(seen, row)}: {times[row]} occurs twice with different values, column "
                    f"{seen.raw.columns[at]!r}: {pair[0, at]} and {pair[1, at]}",
                    _clock_cure(
                        seen,
                        "keep the right row, or set validate.irregular to positional, which takes "
                        "rows as they follow each other, whatever the clock says",
                    ),
                )
        case "grid":
            for row in facts.off_grid:
                yield (
                    f"{_place(seen, row)}: {times[row]} is not a whole number of steps ({step}) "
                    f"after {times[0]}",
                    "Bring the rows to a fixed step, or give the right one with --step",
                )
        case "gaps":
            for row, absent in zip(facts.gaps, facts.absent, strict=True):
                yield (
                    f"{_place(seen, row)}: {absent} rows are missing between {times[row - 1]} and "
                    f"{times[row]}",
                    _irregular_cure(seen, "They become rows of missing values"),
                )
        case "gap size":
            yield (
                f"{int(facts.absent.sum())} rows are missing in gaps, more than the {len(times)} "
                f"there are, at a step of {step}",
                "Mend the timestamps (a wrong year?), or give the right step with --step",
            )
        case "windows" if seen.no_window is not None:
            yield seen.no_window


def _variate(check: str, variate: str, seen: Evidence) -> tuple[str, str]:
    assert seen.figures is not None
    figure, rules = seen.figures.loc[variate], seen.rules
    column = seen.cells[:, seen.raw.card.variates.index(variate)]
    match check:
        case "types":
            return f"{variate} holds {figure['type']}, not float64", "Mend the column"
        case "infinite":
            where = _first(seen, column, np.isinf(column))
            return f"{variate}, {where}; {figure['infinite']} infinite values", "Mend the cells"
        case "huge":
            where = _first(seen, column, np.abs(column) > HUGE)
            return (
                f"{variate}, {where}; {figure['huge']} values beyond {HUGE:g}",
                "Mend the cells, or write the column in a larger unit",
            )
        case "missing":
            return (
                f"{variate}: {figure['missing_share']:.1%} of its readings are missing, at most "
                f"{rules.max_missing:.0%} may be",
                "Drop the column, bring more readings, or raise validate.max_missing",
            )
        case "constant":
            cure = (
                "Drop the column, or bring rows in which it varies: nothing can be learned of it, "
                "and its errors have no unit"
            )
            if not figure["distinct"]:
                return f"{variate} has no reading among the train rows", cure
            value = column[np.isfinite(column)][0]
            return f"{variate} is constant among the train rows ({value:g})", cure
        case "stuck" | "stuck share":
            starts, lengths = runs(column)
            lengths = np.where(np.isnan(column[starts]), 0, lengths)
            longest = int(np.flatnonzero(lengths == figure["longest_stuck"])[0])
            return (
                f"{variate}, {_first(seen, column, np.arange(len(column)) == starts[longest])} and "
                f"the same for {figure['longest_stuck']} steps (more than {rules.max_stuck_steps} "
                f"is stuck); {figure['stuck_share']:.1%} of its rows are in such runs, at most "
                f"{rules.max_stuck_share:.0%} may be",
                "Check the sensor; leave the cells empty, or raise validate.max_stuck_share",
            )
        case _:
            where = _first(seen, column, (column < figure["low"]) | (column > figure["high"]))
            kind = "physical" if variate in rules.physical_ranges else "learned"
            return (
                f"{variate}, {where}; {figure['outside_share']:.2%} of its rows lie outside the "
                f"{kind} range {figure['low']:.6g} to {figure['high']:.6g}, at most "
                f"{rules.max_outside_range:.0%} may",
                "Mend the cells, or state the range in validate.physical_ranges",
            )


def _first(seen: Evidence, column: NDArray[np.float64], which: NDArray[np.bool_]) -> str:
    row = int(np.flatnonzero(which)[0])
    return f"{_place(seen, int(seen.origin[row]))}: {column[row]:g}"


def _place(seen: Evidence, row: int) -> str:
    return f"{seen.raw.card.file}, {seen.raw.places[row]}"


def _clock_cure(seen: Evidence, cure: str) -> str:
    """Sorted or read by position, the rows after a repeated hour would stand off their hours."""
    if seen.raw.times.tz is None:
        return f"Write the stamps in UTC if their clock is set back in autumn; else {cure}"
    return cure.capitalize()


def _irregular_cure(seen: Evidence, inserted: str) -> str:
    match seen.policy:
        case "insert":
            return inserted
        case "positional":
            return "The rows are used as published"
        case _:
            return "Mend the rows, or set validate.irregular to insert"


def _same(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = (a == b) | (np.isnan(a) & np.isnan(b))
    return same
