"""Is this table fit to train on? Rows as published -> the regular table and a report.

Sentinels become missing, irregular times are settled by a stated policy, and Great Expectations
judges what is left. Only errors stop; everything else is listed and goes on.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2tx.data import expectations, regular
from s2tx.data.explain import Evidence, explain
from s2tx.data.findings import Finding, Report, some
from s2tx.data.profile import profile, take_out_sentinels
from s2tx.data.read import Raw, read_current
from s2tx.data.split import PARTS, find_borders
from s2tx.data.table import Table
from s2tx.errors import InputError
from s2tx.params import DataParams, Params, ValidateParams, WindowParams
from s2tx.paths import Project, write_text


def run_validate(project: Project, params: Params) -> Report:
    """The DVC stage: check the current version and write the table that all else reads.

    Writes the report and Data Docs in any case, the table only if it is fit.

    Raises:
        InputError: there is no current version, or it is not fit; lists what failed.
    """
    raw = read_current(project)
    table, report = validate(
        raw, params.validate, params.data, params.window, docs=project.data_docs
    )
    write_text(project.validation, report.to_json())
    if table is None:
        project.table.unlink(missing_ok=True)
        raise report.refusal(project.data / raw.card.file)
    table.write(project.table)
    return report


def validate(
    raw: Raw,
    rules: ValidateParams,
    data: DataParams,
    window: WindowParams,
    *,
    docs: Path | None = None,
) -> tuple[Table | None, Report]:
    """Check rows as published, and make the table.

    Args:
        raw: what ``read_raw`` or ``read_current`` gave.
        rules: policy and tolerances.
        data: the split, since each part must hold a window and ranges are learned on train rows.
        window: look-back and horizon.
        docs: folder for Data Docs, replaced whole; None writes none.

    Returns:
        The table, or None where it is not fit, and the report.
    """
    card = raw.card
    policy = card.irregular if rules.irregular == "auto" else rules.irregular
    batches: dict[str, pd.DataFrame] = {"rows": raw.frame}
    notes = list(raw.findings)
    facts, figures, no_window = None, None, None
    values, origin, times = np.empty((0, len(card.variates))), np.empty(0, np.intp), raw.times
    if raw.columns == card.variates and not times.hasnans:
        published = raw.frame[list(card.variates)].to_numpy(np.float64)
        facts = regular.look(times, published, card.step_delta)
        read, coded = take_out_sentinels(published, rules.sentinels)
        notes += _sentinels(raw, published, coded)
        if policy == "positional" or not facts.torn:
            if policy == "insert":
                times, values, origin = regular.insert(times, read, facts, card.step_delta)
            else:
                values, origin = read, np.arange(len(times))
        n_rows = len(values) or len(times)
        windows, train_rows, no_window = _windows(n_rows, raw, data, window)
        batches["times"] = _counts(facts, windows)
        if len(values):
            batches["variates"] = profile(values, card.variates, train_rows, rules)
            batches["variates"].insert(
                1, "type", raw.frame[list(card.variates)].dtypes.astype(str).to_numpy()
            )
            figures = batches["variates"].set_index("variate", drop=False)
            notes += _remarks(figures, rules)
    evidence = Evidence(raw, rules, policy, facts, figures, values, origin, no_window)
    outcomes = expectations.judge(batches, expectations.suites(card, rules, policy), docs)
    failed = _strongest([f for o in outcomes if not o.success for f in explain(o, evidence)])
    fit = not any(finding.severity == "error" for finding in failed)
    report = Report(
        dataset=card.name,
        sha256=card.sha256,
        rows_in=len(raw.frame),
        rows_out=len(values) if fit else 0,
        policy=policy,
        findings=tuple(failed + notes),
        expectations=tuple(
            {
                "batch": o.batch,
                "check": o.check,
                "severity": o.severity,
                "expected": o.description,
                "success": o.success,
                "offenders": list(o.offenders),
            }
            for o in outcomes
        ),
        variates=() if figures is None else tuple(map(_plain, figures.to_dict("records"))),
    )
    settled = dataclasses.replace(card, irregular=policy)  # service reads rows as training did
    return (Table(settled, times, values) if fit else None), report


def _strongest(findings: list[Finding]) -> list[Finding]:
    """Without the warnings that an error on the same variate repeats."""
    errors = {(f.check.removesuffix(" share"), f.column) for f in findings if f.severity == "error"}
    return [f for f in findings if f.severity == "error" or (f.check, f.column) not in errors]


def _windows(
    n_rows: int, raw: Raw, data: DataParams, window: WindowParams
) -> tuple[int, int, tuple[str, str] | None]:
    """(windows of the smallest part, train rows, why a part has none)."""
    try:
        borders = find_borders(n_rows, raw.card, data, window)
    except InputError as error:
        return 0, int(0.7 * n_rows), (error.what, error.cure)
    counts = [len(borders.origins(part, window.look_back, window.horizon)) for part in PARTS]
    return min(counts), borders.train, None


def _counts(facts: regular.TimeFacts, windows: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "back": [len(facts.back)],
            "repeated": [len(facts.repeated)],
            "conflicting": [len(facts.conflicting)],
            "off_grid": [len(facts.off_grid)],
            "gaps": [len(facts.gaps)],
            "absent": [int(facts.absent.sum())],
            "excess": [facts.excess],
            "windows": [windows],
        }
    )


def _sentinels(raw: Raw, published: NDArray[np.float64], coded: NDArray[np.bool_]) -> list[Finding]:
    findings = []
    for number in np.flatnonzero(coded.any(axis=0)):
        rows = np.flatnonzero(coded[:, number])
        codes = some(f"{code:g}" for code in np.unique(published[rows, number]))
        findings.append(
            Finding(
                "warning",
                "sentinels",
                raw.card.variates[number],
                f"{raw.card.variates[number]}: {len(rows)} cells hold {codes}, a code for no "
                f"reading, the first at {raw.card.file}, {raw.places[rows[0]]}",
                "They become missing; change validate.sentinels if they are readings",
            )
        )
    return findings


def _remarks(figures: pd.DataFrame, rules: ValidateParams) -> list[Finding]:
    """What no expectation judges."""
    resting = figures[figures["rest_share"] > 0]
    findings = [
        Finding(
            "warning",
            "rest",
            str(variate),
            f"{variate} rests at {row['rests_at']:g} for more than {rules.max_stuck_steps} steps "
            f"at a time, {row['rest_share']:.1%} of its rows in all",
            "Nothing, if this is its nature (no rain, no sun); else check the sensor",
        )
        for variate, row in resting.iterrows()
    ]
    strange = [name for name in rules.physical_ranges if name not in figures.index]
    if strange:
        findings.append(
            Finding(
                "warning",
                "physical ranges",
                None,
                f"validate.physical_ranges names what the table lacks: {some(strange)}",
                "Mend the names in params.yaml",
            )
        )
    return findings


def _plain(figure: dict[Any, Any]) -> dict[str, Any]:
    """JSON-able figures, six digits long; what is not finite is null."""

    def plain(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.6g}") if math.isfinite(value) else None
        return value

    return {str(key): plain(value) for key, value in figure.items()}
