"""Every command of ``s2tx``: reads the settings, calls one function, says what came of it.

Exit codes: 0 done, 1 failed, 2 the input or a setting is at fault and nothing was changed.
"""

from __future__ import annotations

import dataclasses
import json
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from s2tx import __version__
from s2tx.errors import InputError
from s2tx.params import Params, load_params
from s2tx.paths import Project

app = typer.Typer(
    name="s2tx",
    help="Forecasts that can be trusted, every night.\n\n"
    "A table of numbers goes in (ingest), the DAG runs (dvc repro), the better model is promoted, "
    "and forecasts come out. Settings are in params.yaml; run every command from the project's "
    "root.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
)
DATA, DAG, MODELS, STUDIES, CARE = (
    "1. Data",
    "2. Stages of the DAG (dvc repro runs them)",
    "3. Models",
    "4. Studies",
    "5. Care",
)
study = typer.Typer(no_args_is_help=True, help="Many trainings, for a paper's tables.")
app.add_typer(study, name="study", rich_help_panel=STUDIES)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def _open() -> tuple[Project, Params]:
    project = Project.here()
    return project, load_params(project.params)


def _show(result: Any, as_json: bool) -> None:
    """Print a result: one JSON object, or a line a field."""
    fields = dataclasses.asdict(result) if dataclasses.is_dataclass(result) else dict(result)  # type: ignore[arg-type]
    if as_json:
        typer.echo(json.dumps(fields, default=str, ensure_ascii=False))
        return
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {_short(each)}" for key, each in value.items())
        if isinstance(value, list | tuple):
            value = "".join(f"\n  - {_short(each)}" for each in value) or "none"
        typer.echo(f"{name.replace('_', ' '):{width}}  {_short(value)}")


def _short(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"s2tx {__version__}")
        raise typer.Exit


# --- data ----------------------------------------------------------------------------------------


@app.command(rich_help_panel=DATA)
def ingest(
    source: Annotated[
        str, typer.Argument(help="A catalog name (ETTh1), a CSV or Parquet file, or its address.")
    ],
    file: Annotated[
        Path | None, typer.Option("--from", help="Read a catalog set from this file, offline.")
    ] = None,
    append: Annotated[
        bool, typer.Option(help="Add new rows and readings to the current version.")
    ] = False,
    backwards: Annotated[
        bool, typer.Option(help="Take a table that ends before the current version does.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Name of the data set.")] = None,
    time_column: Annotated[str | None, typer.Option(help="The timestamps, if not found.")] = None,
    step: Annotated[str | None, typer.Option(help="The step, if not found: 1h, 15min, 1D.")] = None,
    as_json: AsJson = False,
) -> None:
    """Bring a table in: checked first, then swapped in whole and versioned with DVC."""
    from s2tx.data.ingest import ingest as bring_in

    for option, value in {"--name": name, "--time-column": time_column, "--step": step}.items():
        if append and value is not None:
            raise InputError(f"{option} goes with a new version, not with --append", "Leave it out")
    if append and backwards:
        raise InputError("--backwards takes a whole table, --append adds to one", "Leave one out")
    project, params = _open()
    result = bring_in(
        project,
        params,
        source,
        file=file,
        append=append,
        backwards=backwards,
        name=name,
        time_column=time_column,
        step=step,
    )
    if as_json:
        _show(result, as_json)
        return
    for finding in result.findings:
        typer.echo(f"{finding.severity}: {finding}")
    kept = f"{result.card.name}, {result.rows} rows of {len(result.card.variates)} variates"
    if result.changed:
        typer.echo(f"ingested: {kept}. Record the version: git add data.dvc && git commit")
    else:
        typer.echo(f"nothing new: {kept}")


@app.command(rich_help_panel=DAG)
def validate(as_json: AsJson = False) -> None:
    """Check the current table with Great Expectations and write the clean one."""
    from s2tx.data.validate import run_validate

    report = run_validate(*_open())
    if as_json:
        _show(report, as_json)
        return
    for finding in report.findings:
        typer.echo(f"{finding.severity}: {finding}")
    typer.echo(f"valid: {report.dataset}, {report.rows_in} rows in, {report.rows_out} rows out")


@app.command(rich_help_panel=DAG)
def inject() -> None:
    """Make the seeded masks of missing values."""
    from s2tx.data.missing import run_inject

    run_inject(*_open())


# --- the DAG -------------------------------------------------------------------------------------


@app.command(rich_help_panel=DAG)
def train() -> None:
    """Train S2TX, with live curves in MLflow; a killed run resumes where it stood."""
    from s2tx.cli.progress import Bar
    from s2tx.registry import tracking
    from s2tx.training.train import run_train

    project, params = _open()
    with Bar("train") as bar:
        run_train(project, params, (bar, tracking.Recorder(project, params)))


@app.command(rich_help_panel=DAG)
def baseline() -> None:
    """Train the network of section baseline on the same windows."""
    from s2tx.cli.progress import Bar
    from s2tx.training.train import run_baseline

    with Bar("baseline") as bar:
        run_baseline(*_open(), (bar,))


@app.command(rich_help_panel=DAG)
def evaluate(as_json: AsJson = False) -> None:
    """Score every test window, beside what the model must beat."""
    from s2tx.evaluation import scoreboard
    from s2tx.evaluation.evaluate import run_evaluate

    project, params = _open()
    metrics = run_evaluate(project, params)
    if as_json:
        _show(metrics, as_json)
        return
    for line in scoreboard.lines(metrics, params.promote.metric):
        typer.echo(line)


@app.command(rich_help_panel=DAG)
def report() -> None:
    """Write the report page, and complete the run in MLflow."""
    from s2tx.evaluation.report import run_report
    from s2tx.registry import tracking

    project, params = _open()
    run_report(project)
    tracking.try_sync(project, params)
    typer.echo(f"report: {project.report}")


# --- models --------------------------------------------------------------------------------------


@app.command(rich_help_panel=MODELS)
def track(as_json: AsJson = False) -> None:
    """Send the last run to MLflow, or what of it could not be sent before."""
    from s2tx.registry import tracking

    _show({"run_id": tracking.sync(*_open())}, as_json)


@app.command(rich_help_panel=MODELS)
def register(as_json: AsJson = False) -> None:
    """Register the trained model in MLflow; the same model is registered once."""
    from s2tx.forecasting import SERVE
    from s2tx.registry.package import register as put

    _show(put(*_open(), SERVE), as_json)


@app.command(rich_help_panel=MODELS)
def promote(
    version: Annotated[
        int | None,
        typer.Option(
            help="The challenger; if not given, the model on disk. Needed after a rollback."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score champion and challenger on the same windows; the better one is champion.

    Where none is in service, the first has to be better than repeating the last value or season.
    """
    from s2tx.registry.promote import promote as decide

    _show(decide(*_open(), version=version), as_json)


@app.command(rich_help_panel=MODELS)
def rollback(
    to: Annotated[
        int | None, typer.Option(help="A version; the previous champion if not given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give the champion's place back to the version before."""
    from s2tx.registry.promote import rollback as undo

    _show(undo(*_open(), to=to), as_json)


@app.command(rich_help_panel=MODELS)
def forecast(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .csv or .parquet file.")
    ] = None,
    rows: Annotated[
        Path | None, typer.Option("--input", "-i", help="Newest rows, CSV or Parquet.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let the champion forecast the next steps from the newest rows."""
    from s2tx.forecasting.forecaster import forecast as look_ahead

    made = look_ahead(*_open(), output=output, input=rows)
    if made.warning:
        typer.echo(f"warning: {made.warning}", err=True)
    _show(made, as_json)


# --- studies -------------------------------------------------------------------------------------


# A study reads its own command line, since it also runs where Typer is not installed.
_OWN = {"ignore_unknown_options": True, "allow_extra_args": True}


_STUDIES = {
    "grid": "Run what is not finished yet of models x data sets x horizons x seeds (see --help).",
    "search": "Choose a recipe's settings on validation windows only (see --help).",
    "context": "Measure what trained cells make of the global context (see --help).",
    "missing": "Score finished cells under missing values, some trained under them (see --help).",
    "exact": "Solve the grid's linear baseline by least squares, to hold it against (see --help).",
    "newest": "Tell what the gap next to the forecast costs, from what the others do (see --help).",
    "gaps": "Map what the attention of trained cells reads beside a gap (see --help).",
}


def _add_study(name: str, told: str) -> None:
    @study.command(name, help=told, add_help_option=False, context_settings=_OWN)
    def run(context: typer.Context) -> None:
        raise typer.Exit(import_module(f"s2tx.studies.{name}").main(context.args))


for _name, _told in _STUDIES.items():
    _add_study(_name, _told)


@app.command(rich_help_panel=STUDIES)
def audit(
    cell: Annotated[str, typer.Argument(help="Of the grid, such as ETTh1-96-best-2024.")],
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the published files; if not given, downloaded.")
    ] = None,
    results: Annotated[Path | None, typer.Option(help="Folder of the records.")] = None,
    models: Annotated[Path | None, typer.Option(help="Folder of the weights.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score a finished cell of the grid again, from its checkpoint; 1 if its record does not agree.

    The figure of a test loader that leaves out the last batch stands beside it, labelled.
    """
    from s2tx.studies.audit import audit as look_again
    from s2tx.studies.grid import places_of

    project, params = _open()
    found = look_again(cell, params, places_of(project, results, models), data_dir)
    _show(found, as_json)
    if not found.agrees:
        raise typer.Exit(1)


# --- care ----------------------------------------------------------------------------------------


@app.command(rich_help_panel=CARE)
def doctor(as_json: AsJson = False) -> None:
    """Look at everything the pipeline needs, and say how to mend what is amiss."""
    from s2tx.ops.doctor import examine

    checks = examine(Project.here())
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(check) for check in checks]))
    else:
        for check in checks:
            cure = "" if check.ok else f"  -> {check.cure}"
            typer.echo(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.found}{cure}")
    if not all(check.ok for check in checks):
        raise typer.Exit(1)
