"""All finished cells in one file: means and deviations over seeds; what was not run, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean, stdev
from typing import Any

from s2tx import fingerprint as identity
from s2tx import zoo
from s2tx.data.split import PARTS, find_borders
from s2tx.data.table import Card
from s2tx.params import as_dict
from s2tx.studies.cell import Places
from s2tx.studies.record import read_record, write_record
from s2tx.studies.settings import Cell, Setting

FILE = "grid.json"


def read(places: Places, setting: Setting) -> dict[str, Any] | None:
    """The record of a cell that is finished under these settings and this code; else None."""
    record = read_any(places, setting.cell)
    return record if record is not None and record["key"] == setting.key else None


def read_settled(places: Places, setting: Setting) -> dict[str, Any] | None:
    """The record of a cell that is finished under these settings, by whatever code; else None.

    Settings that the code has gained since count as what they were before: see
    ``zoo.spec_from_dict``.
    """
    record = read_any(places, setting.cell)
    if record is None:
        return None
    receipt = record["receipt"]
    try:
        network = zoo.spec_from_dict(receipt["network"])
    except (TypeError, ValueError):  # a setting is gone
        return None
    recipe = receipt["train"] and {"masking": None} | receipt["train"]
    same = (
        network == setting.spec
        and recipe == (as_dict(setting.train) if setting.trained else None)
        and receipt["window"] == as_dict(setting.params.window)
        and receipt["data"]["sha256"] == setting.entry.sha256
        and receipt["split"] == _split(setting, receipt["data"]["rows"])
    )
    return record if same else None


def _split(setting: Setting, rows: int) -> dict[str, list[int]]:
    """Where the parts of a data set of so many rows begin and end."""
    entry = setting.entry
    card = Card(
        name=entry.name,
        file=entry.file,
        sha256=entry.sha256 or "",
        time_column=entry.time_column,
        step=entry.step,
        variates=(),
        split=entry.split,
        irregular=entry.irregular,
        source="",
        licence=entry.licence,
    )
    borders = find_borders(rows, card, setting.params.data, setting.params.window)
    parts = {part: borders.rows(part) for part in PARTS}
    return {part: [each.start, each.stop] for part, each in parts.items()}


def read_any(places: Places, cell: Cell) -> dict[str, Any] | None:
    """The record of a cell, of whatever settings and code; None if there is none."""
    return read_record(places.record(cell))


def collect(
    settings: Iterable[Setting],
    compared: Iterable[str],
    places: Places,
    reasons: Mapping[str, str],
) -> dict[str, Any]:
    """Write ``grid.json`` from the cells' files, and return it.

    Args:
        settings: the whole grid.
        compared: the recipes that are the columns of the tables.
        places: where the cells are.
        reasons: why a data set or a cell, by name, could not be run; what an earlier collection
            said of those that this one does not name is kept.

    A cell of these settings that earlier code made stands, marked so, until it is run again.

    Returns:
        ``cells`` by name, ``summary`` by data set, horizon and recipe, ``not_run`` by cell, and
        ``recipes`` in the order of their columns.
    """
    path = places.results / FILE
    earlier = (read_record(path) or {}).get("not_run", {})
    cells: dict[str, Any] = {}
    not_run: dict[str, str] = {}
    for setting in settings:
        cell, record = setting.cell, read_settled(places, setting)
        if record is not None:
            earlier_code = record["key"] != setting.key
            cells[cell.name] = _line(record) | {"earlier_code": earlier_code}
            continue
        stale = "not run again since its settings changed"
        open_ = stale if places.record(cell).exists() else "not run yet"
        kept = earlier.get(cell.name, open_)
        kept = open_ if kept.startswith("not run") else kept
        not_run[cell.name] = reasons.get(cell.name) or reasons.get(cell.data) or kept
    grid = {
        "receipt": {
            "command": "python -m s2tx.studies.grid",
            "code": {
                "commit": identity.git_commit(places.project.root),
                "cells": sorted({cell["sources_sha256"] for cell in cells.values()}),
            },
            "machine": identity.machine(),
            "protocol": "every test window, stride 1; standardised by the train rows; each cell's "
            "own receipt, with what its epoch was chosen by, is in grid/CELL.json",
        },
        "recipes": list(compared),
        "summary": summary(cells.values()),
        "not_run": not_run,
        "cells": cells,
    }
    write_record(path, grid)
    return grid


def summary(cells: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and sample deviation over seeds, a line for each data set, horizon and recipe."""
    groups: dict[tuple[str, int, str], list[Mapping[str, Any]]] = {}
    for cell in cells:
        groups.setdefault((cell["data"], cell["horizon"], cell["recipe"]), []).append(cell)
    return [
        {
            "data": data,
            "horizon": horizon,
            "recipe": recipe,
            "look_back": group[0]["look_back"],
            "windows": group[0]["windows"],
            "seeds": [cell["seed"] for cell in group],
            **{metric: _spread([cell[metric] for cell in group]) for metric in ("mse", "mae")},
        }
        for (data, horizon, recipe), group in groups.items()
    ]


def _spread(values: list[float]) -> dict[str, float | int | None]:
    deviation = stdev(values) if len(values) > 1 else None
    return {"mean": fmean(values), "deviation": deviation, "seeds": len(values)}


def _line(record: Mapping[str, Any]) -> dict[str, Any]:
    """What of a cell's record the tables need."""
    receipt, machine = record["receipt"], record["receipt"]["machine"]
    return {
        **record["cell"],
        **record["test"],
        "test_drop_last": record["test_drop_last"],
        "validation": record["validation"],
        "windows": receipt["windows_scored"],
        "look_back": receipt["window"]["look_back"],
        "parameters": record["parameters"],
        "seconds": record["seconds"]["train"],
        "resumed": record["seconds"]["resumed"],
        "machine": machine["gpu"] if receipt["runtime"]["device"] == "cuda" else "cpu",
        "commit": receipt["code"]["commit"],
        "sources_sha256": receipt["code"]["sources_sha256"],
        "weights_sha256": receipt["weights_sha256"],
    }
