"""What is wrong or worth knowing about a table: findings, and the report that lists them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from s2tx.errors import InputError

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One fault or oddity; only errors stop.

    Attributes:
        severity: ``error`` (the table is not fit) or ``warning`` (it is, by a stated policy).
        check: the short name of what was looked at, such as ``gaps``.
        column: the column concerned, or None for the whole table.
        message: the thing, the place and the value found.
        cure: what a person can do about it.
    """

    severity: Severity
    check: str
    column: str | None
    message: str
    cure: str

    def __str__(self) -> str:
        return f"{self.message.rstrip('.')}. {self.cure.rstrip('.')}."


@dataclass(frozen=True)
class Report:
    """The outcome of one validation; no clock time, no random id: same table, same JSON.

    Attributes:
        dataset: the card's name.
        sha256: of the raw file.
        rows_in: as published.
        rows_out: after the policy for irregular times; 0 where the table is not fit.
        policy: what was done about duplicate stamps and gaps.
        findings: in the order of the checks.
        expectations: one entry an expectation: batch, check, success, and what was observed.
        variates: one entry a variate: shares missing, stuck, outside the range, and the range.
    """

    dataset: str
    sha256: str
    rows_in: int
    rows_out: int
    policy: str
    findings: tuple[Finding, ...]
    expectations: tuple[dict[str, Any], ...] = ()
    variates: tuple[dict[str, Any], ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    @property
    def fit(self) -> bool:
        """True when nothing that was found stops the run."""
        return not self.errors

    def to_json(self) -> str:
        return json.dumps({"fit": self.fit, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"

    def refusal(self, where: object) -> InputError:
        """The error that says why the table at ``where`` is not fit, at most five faults long."""
        faults = [error.message.rstrip(".") for error in self.errors]
        more = f" (and {len(faults) - 5} more)" if len(faults) > 5 else ""
        return InputError(
            f"{where} is not fit to train on: {'; '.join(faults[:5])}{more}", self.errors[0].cure
        )


def some(items: Iterable[object], limit: int = 10) -> str:
    """The first of many, for a message: ``a, b, c and 7 more``."""
    listed = [str(item) for item in items]
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more
