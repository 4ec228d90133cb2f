"""A finished cell of the grid, opened again: its record, its weights and its data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2tx.data.catalog import find
from s2tx.data.split import Borders, find_borders
from s2tx.data.table import Table
from s2tx.errors import InputError
from s2tx.params import Params
from s2tx.studies.cell import Places, bring
from s2tx.studies.collect import read_any
from s2tx.studies.settings import Cell
from s2tx.training.bundle import Bundle, read_config, weights_hash
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
        recorded = record["receipt"]["weights_sha256"]
        read_config(places.bundle(cell))  # names the folder where there is none
        if as_recorded and weights_hash(places.bundle(cell)) != recorded:
            raise InputError(
                f"{places.bundle(cell)} holds other weights than the record of {name}",
                f"Run it again: delete {places.record(cell)}, then s2tx study grid --cells {name}",
            )
        table = bring(find(cell.data), folder, places.project.cache / "downloads")
        data = dataclasses.replace(params.data, split="auto")
        bundle = Bundle.load(places.bundle(cell), params.runtime, start(params.runtime).device)
        borders = find_borders(len(table.times), table.card, data, bundle.window)
        return cls(cell, record, bundle, table, borders)
