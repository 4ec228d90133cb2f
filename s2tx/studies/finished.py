"""A finished cell of the grid, opened again: its record, its weights and its data."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2tx import fingerprint as identity
from s2tx.data.catalog import find
from s2tx.data.split import Borders, find_borders
from s2tx.data.table import Table
from s2tx.errors import InputError, S2TXError
from s2tx.params import Params, load_params
from s2tx.paths import Project, write_text
from s2tx.studies.cell import Places, bring
from s2tx.studies.collect import read_any
from s2tx.studies.command import add_models, parser_of
from s2tx.studies.grid import places_of
from s2tx.studies.record import read_record
from s2tx.studies.settings import Cell
from s2tx.training.bundle import Bundle, weights_hash
from s2tx.training.runtime import start


@dataclass(frozen=True, eq=False)
class Finished:
    """What a cell left behind.

    Attributes:
        cell: which.
        record: its file in ``results/grid/``.
        bundle: its weights, on the device of ``runtime``.
        table: its data, in rows as published.
        borders: of the split.
    """

    cell: Cell
    record: dict[str, Any]
    bundle: Bundle
    table: Table
    borders: Borders

    @classmethod
    def open(
        cls,
        name: str,
        params: Params,
        places: Places,
        folder: Path | None,
        *,
        as_recorded: bool = True,
    ) -> Finished:
        """Load it, whatever its recipe has become.

        Args:
            name: of the cell, such as ``ETTh1-96-best-2024``.
            params: ``data.ratio`` and ``runtime`` are read; the recipe need no longer be there.
            places: of the grid.
            folder: of the data files; None to download them.
            as_recorded: refuse weights that are not those of the record.

        Raises:
            InputError: the cell is not finished, its weights are gone or others, or the data cannot
                be had.
        """
        cell = Cell.of_name(name)
        record = read_any(places, cell)
        if record is None:
            raise InputError(
                f"{name} is not finished", "Run it with: s2tx study grid --cells " + name
            )
        table = bring(find(cell.data), folder, places.project.cache / "downloads")
        data = dataclasses.replace(params.data, split="auto")
        again = f"s2tx study grid --cells {name}"
        if not places.bundle(cell).is_dir():
            raise InputError(
                f"the weights of {name} are not here, for git does not keep them",
                "Train them again, with a record of their own: "
                f"{again} --results ELSEWHERE --models {places.models}",
            )
        bundle = Bundle.load(places.bundle(cell), params.runtime, start(params.runtime).device)
        recorded = record["receipt"]["weights_sha256"]
        if as_recorded and weights_hash(places.bundle(cell)) != recorded:
            raise InputError(
                f"{places.bundle(cell)} holds other weights than the record of {name}",
                f"Run it again: delete {places.record(cell)}, then {again}",
            )
        borders = find_borders(len(table.times), table.card, data, bundle.window)
        return cls(cell, record, bundle, table, borders)


Examine = Callable[[str, Params, Places, Path | None], dict[str, Any]]


def run_over_cells(
    name: str,
    description: str | None,
    examine: Examine,
    protocol: str,
    arguments: Sequence[str] | None,
    indent: int | None = 1,
) -> int:
    """The command line of a study that examines finished cells; returns the exit code.

    Each cell is written when it is examined. What the record holds of others is kept, unless they
    were trained again since.

    Args:
        name: of the study; its record is ``results/NAME.json``.
        description: for ``--help``.
        examine: what is found of a cell.
        protocol: for the receipt.
        arguments: of the command line; None for the process's own.
        indent: of the record.
    """
    parser = parser_of(name, description)
    parser.add_argument("--cells", nargs="+", required=True, metavar="DATA-HORIZON-RECIPE-SEED")
    add_models(parser)
    options = parser.parse_args(arguments)
    project = Project.here()
    places = places_of(project, options.results, options.models)
    try:
        params = load_params(project.params)
        receipt = {
            "code": {"commit": identity.git_commit(project.root)},
            "machine": identity.machine(),
            "protocol": protocol,
        }
        path = places.results / f"{name}.json"
        command = f"python -m s2tx.studies.{name} --cells " + " ".join(options.cells)
        for cell in options.cells:
            found = examine(cell, params, places, options.data_dir) | {"receipt": receipt}
            add(path, found, {"command": command} | receipt, places, indent)
            print(f"{cell}: examined", flush=True)
    except S2TXError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def add(
    path: Path,
    found: Mapping[str, Any],
    receipt: Mapping[str, Any],
    places: Places,
    indent: int | None = 1,
) -> None:
    """Write what was found of a cell, its own receipt with it, beside what the record holds of
    others that still stand.

    It is read again each time, for a cell takes minutes: another process may have written.
    """
    kept = [
        each
        for each in (read_record(path) or {"cells": []})["cells"]
        if each["cell"] != found["cell"] and _stands(each, places)
    ]
    record = {"receipt": receipt, "cells": [*kept, found]}
    write_text(path, json.dumps(record, indent=indent) + "\n")


def _stands(found: Mapping[str, Any], places: Places) -> bool:
    """Whether what was found of a cell is of the weights that its record has."""
    record = read_any(places, Cell(**found["cell"]))
    return record is not None and record["receipt"]["weights_sha256"] == found["weights_sha256"]
