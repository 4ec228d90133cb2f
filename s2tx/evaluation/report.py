"""The report stage: one self-contained page that a person opens in the morning."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pandas as pd

from s2tx.data.table import Table
from s2tx.paths import Project, write_text

PICTURES = {
    "forecast": "The last horizon, forecast from the rows before it",
    "horizon": "Error by step of the horizon",
    "missing": "Error by share of missing inputs",
}


def run_report(project: Project) -> None:
    """Write ``report.html`` from what the stages before it wrote."""
    import jinja2

    table = Table.read(project.table)
    metrics, receipt = _read(project.metrics), _read(project.receipt)
    scores = metrics["test"]
    variates = pd.read_csv(project.plots / "variates.csv")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("s2tx.evaluation", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    page = environment.get_template("report.html.j2").render(
        data=receipt["data"],
        synthetic=table.card.synthetic,
        variates=table.card.variates,
        step=table.card.step,
        first=table.times[0],
        last=table.times[-1],
        window=receipt["window"],
        metrics=metrics,
        best=min(scores, key=lambda model: scores[model]["mse"]),
        pictures=[
            (title, base64.b64encode((project.plots / f"{name}.png").read_bytes()).decode())
            for name, title in PICTURES.items()
        ],
        by_variate=_html(variates.pivot(index="variate", columns="model", values=["mse", "mae"])),
        history=_html(pd.DataFrame(_read(project.history)).set_index("epoch")),
        findings=_read(project.validation)["findings"],
        receipt=receipt,
        receipt_text=json.dumps(receipt, indent=2, ensure_ascii=False),
    )
    write_text(project.report, page)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _html(frame: pd.DataFrame) -> Any:
    import markupsafe

    return markupsafe.Markup(frame.to_html(border=0, float_format="{:.4g}".format))
