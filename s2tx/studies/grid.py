"""Models x data sets x horizons x seeds, one training after another, in the order of worth.

``python -m s2tx.studies.grid --data-dir FOLDER`` (or ``s2tx study grid``) runs what section
``study`` of ``params.yaml`` lists and is not finished yet: kill it and start it again as often as
you like. Each finished cell is a file in ``results/grid/``, all of them together are
``results/grid.json``. It needs torch, lightning, numpy, pandas, pyarrow, safetensors and PyYAML.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from s2tx.data.catalog import Entry
from s2tx.data.table import Table
from s2tx.errors import InputError, S2TXError
from s2tx.params import Params, load_params
from s2tx.paths import Project
from s2tx.studies import cell as one
from s2tx.studies.cell import Places
from s2tx.studies.collect import collect, read
from s2tx.studies.command import add_models, parser_of
from s2tx.studies.settings import Cell, Setting, order, resolve
from s2tx.training.fit import Epoch

Note = Callable[[str], None]


@dataclass(frozen=True)
class Selection:
    """Which cells of the grid; an empty part selects everything."""

    data_sets: tuple[str, ...] = ()
    horizons: tuple[int, ...] = ()
    recipes: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    cells: tuple[str, ...] = ()

    def holds(self, cell: Cell) -> bool:
        names = _lower(self.data_sets)
        return (
            (not names or cell.data.lower() in names)
            and (not self.horizons or cell.horizon in self.horizons)
            and (not self.recipes or cell.recipe in self.recipes)
            and (not self.seeds or cell.seed in self.seeds)
            and (not self.cells or cell.name in self.cells)
        )


class Lines:
    """A ``Watch`` that notes a line an epoch."""

    def __init__(self, note: Note) -> None:
        self._note = note

    def on_step(self, done: int, total: int) -> None: ...

    def on_epoch(self, epoch: Epoch) -> None:
        self._note(
            f"  epoch {epoch.epoch}: train loss {epoch.train_loss:.4f}, validation MSE "
            f"{epoch.val_mse:.4f} MAE {epoch.val_mae:.4f}"
        )


def settings_of(params: Params) -> list[Setting]:
    """The whole grid in the order of worth, every recipe checked before anything runs.

    Raises:
        InputError: a recipe does not fit; names its key.
    """
    return [resolve(cell, params) for cell in order(params.study)]


def select(settings: Iterable[Setting], selection: Selection) -> list[Setting]:
    """Those that ``selection`` holds.

    Raises:
        InputError: there are none, or the grid has nothing of a name in it.
    """
    every = list(settings)
    cells = [setting.cell for setting in every]
    for what, wanted, known in (
        ("data set", _lower(selection.data_sets), _lower(cell.data for cell in cells)),
        ("horizon", set(selection.horizons), {cell.horizon for cell in cells}),
        ("recipe", set(selection.recipes), {cell.recipe for cell in cells}),
        ("seed", set(selection.seeds), {cell.seed for cell in cells}),
        ("cell", set(selection.cells), {cell.name for cell in cells}),
    ):
        if unknown := sorted(map(str, wanted - known)):
            raise InputError(
                f"the grid has no {what} {', '.join(unknown)}",
                "Look at section study of params.yaml, or at what --list shows",
            )
    chosen = [setting for setting in every if selection.holds(setting.cell)]
    if not chosen:
        raise InputError(
            "no cell of the grid is selected: it has each of these, and not together",
            "Look at section study of params.yaml, or at what --list shows",
        )
    return chosen


def _lower(names: Iterable[str]) -> set[str]:
    return {name.lower() for name in names}


def run(
    settings: Sequence[Setting],
    places: Places,
    folder: Path | None,
    note: Note = print,
    on_cell: Callable[[dict[str, Any]], None] | None = None,
) -> Iterator[tuple[str, str]]:
    """Run what is not finished yet, one cell after another.

    Args:
        settings: the cells, in order.
        places: where to write.
        folder: of the data files; None to download them.
        note: told what happens, a line at a time.
        on_cell: given each record, also of the cells that were finished before.

    Yields:
        After each cell its name and the reason why it was not run, empty if it is finished; a data
        set that cannot be had is named once, in place of its cells.
    """

    @functools.lru_cache(maxsize=1)
    def bring(entry: Entry) -> Table:
        return one.bring(entry, folder, places.project.cache / "downloads")

    absent: set[str] = set()
    for setting in settings:
        cell = setting.cell
        if cell.data in absent:
            continue
        record = read(places, setting)
        if record is None:
            try:
                table = bring(setting.entry)
            except (S2TXError, ImportError) as error:
                absent.add(cell.data)
                note(f"{cell.data}: not run: {error}")
                yield cell.data, str(error)
                continue
            note(f"{cell.name}: begins")
            try:
                record = one.run(setting, table, places, (Lines(note),))
            except (S2TXError, torch.OutOfMemoryError) as error:
                reason = str(error).splitlines()[0]
                note(f"{cell.name}: failed: {reason}")
                yield cell.name, f"failed: {reason}"
                continue
            note(
                f"{cell.name}: test MSE {record['test']['mse']:.4f} MAE "
                f"{record['test']['mae']:.4f}, {record['receipt']['windows_scored']} windows, "
                f"{record['seconds']['train']:.0f} s"
            )
        else:
            note(f"{cell.name}: finished before")
        if on_cell is not None:
            on_cell(record)
        yield cell.name, ""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = _options(arguments)
    project = Project.here()
    places = places_of(project, options.results, options.models)
    note: Note = functools.partial(print, flush=True)
    try:
        params = load_params(project.params)
        whole = settings_of(params)
        chosen = select(whole, _selection(options))
        if options.list:
            for setting in chosen:
                state = "finished" if read(places, setting) else "open"
                note(f"{setting.cell.name:40} {state}")
            return 0
        on_cell = None if options.no_collect else _mlflow(project, note)
        reasons: dict[str, str] = {}
        finished = 0
        for name, reason in run(chosen, places, options.data_dir, note, on_cell):
            reasons |= {name: reason} if reason else {}
            finished += not reason
            if not options.no_collect:
                collect(whole, params.study.compared, places, reasons)
    except S2TXError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    failed = any(reason.startswith("failed") for reason in reasons.values())
    return 1 if failed or not finished else 0


def places_of(project: Project, results: Path | None = None, models: Path | None = None) -> Places:
    """Where a project's grid is kept, unless said otherwise."""
    return Places(
        project,
        results or project.root / "results",
        models or project.artifacts / "grid",
        project.cache / "training",
    )


def _mlflow(project: Project, note: Note) -> Callable[[dict[str, Any]], None] | None:
    """What sends each cell to MLflow; None where that is not installed or not set up."""
    from s2tx.studies import tracking

    return tracking.sender(project, note)


def _selection(options: argparse.Namespace) -> Selection:
    return Selection(
        tuple(options.data_sets),
        tuple(options.horizons),
        tuple(options.recipes),
        tuple(options.seeds),
        tuple(options.cells),
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = parser_of("grid", __doc__)
    parser.add_argument("--data-sets", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--horizons", nargs="+", default=[], type=int, metavar="STEPS")
    parser.add_argument("--recipes", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--seeds", nargs="+", default=[], type=int, metavar="SEED")
    parser.add_argument("--cells", nargs="+", default=[], metavar="DATA-HORIZON-RECIPE-SEED")
    add_models(parser)
    parser.add_argument("--list", action="store_true", help="list the cells, and run nothing")
    parser.add_argument(
        "--no-collect", action="store_true", help="write the cells, not grid.json, nor to MLflow"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
