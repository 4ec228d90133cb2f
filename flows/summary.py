"""What a night made and where to look, as text."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from s2tx.data.ingest import Ingested
from s2tx.forecasting.forecaster import Forecast
from s2tx.paths import Project
from s2tx.registry.package import Registered
from s2tx.registry.promote import Decision
from s2tx.registry.store import without_password


@dataclass(frozen=True)
class Night:
    """What a night made.

    Attributes:
        root: of the project.
        ingested: what came in; None where no source is set.
        scores: of the model and what it must beat, a line each.
        registered: the version of the trained model.
        decision: whether it is champion now, and why.
        forecast: the file for tomorrow.
    """

    root: Path
    ingested: Ingested | None
    scores: tuple[str, ...]
    registered: Registered
    decision: Decision
    forecast: Forecast

    def __str__(self) -> str:
        project = Project(self.root)
        made, decision, ahead = self.registered, self.decision, self.forecast
        findings = self.ingested.findings if self.ingested else ()
        lines = [
            "",
            *(f"ingest    {finding}" for finding in findings),
            "test scores, standardised (every window, lower is better)",
            *(f"  {line}" for line in self.scores),
            f"model     {made.name} version {made.version}" + (", new" if made.new else ""),
            f"decision  {decision.reason}",
            f"in service  version {ahead.version}",
            f"forecast  {ahead.path}",
            f"          {ahead.rows} rows, {ahead.first} to {ahead.last}",
            *([f"          {ahead.warning}"] if ahead.warning else []),
            f"report    {project.report}",
            f"MLflow    {_mlflow(self.root)}",
            "Prefect   prefect server start, then open http://127.0.0.1:4200",
        ]
        return "\n".join(lines)


def _mlflow(root: Path) -> str:
    elsewhere = os.environ.get("MLFLOW_TRACKING_URI")
    if elsewhere:
        return f"see {without_password(elsewhere, elsewhere)}"
    command = "mlflow server --workers 1 --backend-store-uri sqlite:///mlruns/mlflow.db"
    return f"(in {root}) {command}, then open http://127.0.0.1:5000"
