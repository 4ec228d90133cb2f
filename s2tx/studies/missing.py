"""What missing values cost: every finished cell under patterns, rates and fills, targets complete.

``python -m s2tx.studies.missing --data-dir FOLDER`` (or ``s2tx study missing``) runs what section
``study.missing`` lists and is not finished yet. Two protocols:

- ``test``: weights of the grid, trained on complete data; the inputs of test windows lose values.
- ``trained``: the cell is trained again on rows that lose values, by a draw of its own, and tested
  on rows that lose as many.

Either way the masks are seeded and over rows, so that all windows and all models see the same gaps,
and every test window is scored against complete targets. A rate is that of the whole table; how
much of the test inputs a draw hides, and how much of a figure is the draw, is told by ``draws``,
some conditions at several seeds. A cell's figures are a file in ``results/missing/``, all of them
together are ``results/missing.json``. It needs no more than the grid does.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from s2tx import fingerprint as identity
from s2tx.data.split import find_borders
from s2tx.data.table import Table
from s2tx.errors import InputError, S2TXError
from s2tx.params import InjectParams, Params, load_params
from s2tx.paths import Project
from s2tx.studies.cell import Places, bring, score_test
from s2tx.studies.collect import read, read_settled
from s2tx.studies.command import add_models, parser_of
from s2tx.studies.conditions import Condition, conditions, score_under
from s2tx.studies.finished import Finished
from s2tx.studies.grid import Lines, places_of
from s2tx.studies.record import read_record, write_record
from s2tx.studies.settings import Cell, Setting, block_cells, resolve, running_code
from s2tx.study_params import MissingParams
from s2tx.training.checkpoint import Checkpoint
from s2tx.training.train import train

Note = Callable[[str], None]
FILE = "missing.json"
PROTOCOLS = ("test", "trained")
# The code that decides these figures, beside that of the cells.
_CODE = (
    "data/missing.py",
    "evaluation/metrics.py",
    "model/infill.py",
    "studies/conditions.py",
    "studies/fills.py",
)


# --- One cell -----------------------------------------------------------------------------------


def _wanted(params: Params, rate: float | None) -> list[Condition]:
    """The conditions of the grid's own weights, or the one of those trained at ``rate``."""
    study = params.study.missing
    if rate is None:
        return conditions(study.conditions)
    return [Condition("block", rate, study.block_steps, "mask")]


def _draws(params: Params, cell: Cell) -> list[tuple[Condition, int]]:
    """The conditions of a cell that are scored under several masks, with the seed of each."""
    draws = params.study.missing.draws
    if not any(cell in block_cells(params.study, block) for block in draws.test):
        return []
    return list(product(conditions(draws.conditions), draws.seeds))


def path_of(places: Places, cell: Cell, rate: float | None = None) -> Path:
    """The record of a cell; with ``rate``, of the one trained on rows that lose so many."""
    trained = "" if rate is None else f"-trained-{rate:g}"
    return places.results / "missing" / f"{cell.name}{trained}.json"


def examine(
    setting: Setting, params: Params, places: Places, folder: Path | None, note: Note
) -> dict[str, Any]:
    """Protocol ``test`` for one finished cell; goes on where a killed run stopped.

    Raises:
        InputError: the cell is not finished, its weights are gone, or the data cannot be had.
    """
    finished = read_settled(places, setting)
    if finished is None:
        raise InputError(
            f"{setting.cell.name} is not finished under these settings",
            f"Run it with: s2tx study grid --cells {setting.cell.name}",
        )
    weights = finished["receipt"]["weights_sha256"]
    path, key = path_of(places, setting.cell), _key(weights, params.study.missing)
    record = read_record(path) or {}
    if record.get("key") != key:
        record = {
            "cell": dataclasses.asdict(setting.cell),
            "protocol": "test",
            "key": key,
            "clean": finished["test"],
            "scores": [],
        }
    record.setdefault("draws", [])
    study = params.study.missing
    wanted = [("scores", each, study.seed) for each in _wanted(params, None)]
    wanted += [("draws", each, seed) for each, seed in _draws(params, setting.cell)]
    left = [each for each in wanted if not _lines([each[1:]], record[each[0]])]
    if not left:
        return record  # and needs no weights, which git does not keep
    done = Finished.open(setting.cell.name, params, places, folder)
    for kind, condition, seed in left:
        line = dataclasses.asdict(condition)
        if kind == "draws":
            line |= {"seed": seed, "hidden": _hidden(condition, seed, done)}
        own = replace(params, study=replace(params.study, missing=replace(study, seed=seed)))
        figures = score_under(condition, done.bundle, done.table, done.borders, own)
        record[kind].append(line | figures)
        record["receipt"] = _receipt(done.table, weights, params, places)
        write_record(path, record)
        note(
            f"{setting.cell.name}: {condition.pattern} {condition.rate:g}, {condition.steps} steps,"
            f" {condition.fill}, mask {seed}: MSE {figures['mse']:.4f}"
        )
    return record


def _lines(
    wanted: Sequence[tuple[Condition, int]], lines: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """What of ``lines`` is of a condition and, where a line names one, of the mask's seed."""
    return [
        line
        for condition, seed in wanted
        for line in lines
        if dataclasses.asdict(condition).items() <= line.items() and line.get("seed", seed) == seed
    ]


def _hidden(condition: Condition, seed: int, done: Finished) -> float:
    """Share of the readings in the look-backs of the test windows that a mask hides."""
    table, window = done.table, done.bundle.window
    gone = table.observed & ~condition.mask(table, seed).visible
    ends = np.array(done.borders.origins("test", window.look_back, window.horizon))
    before = (np.append(0, np.cumsum(each.sum(axis=1))) for each in (gone, table.observed))
    lost, read = ((sums[ends] - sums[ends - window.look_back]).sum() for sums in before)
    return float(lost / read)


def train_and_examine(
    setting: Setting, rate: float, params: Params, places: Places, folder: Path | None, note: Note
) -> dict[str, Any]:
    """Protocol ``trained`` for one cell: blocks of missing values in training and in test.

    Raises:
        InputError: the data cannot be had.
        NonFiniteLossError: the training diverged.
    """
    study = params.study.missing
    (condition,) = _wanted(params, rate)
    path = path_of(places, setting.cell, rate)
    key = _key(setting.key, study, rate)
    record = read_record(path) or {}
    if record.get("key") == key:
        return record
    table = bring(setting.entry, folder, places.project.cache / "downloads")
    inject = InjectParams("block", rate, study.block_steps, study.seed, train=True)
    own = replace(setting.params, inject=inject)
    mask = condition.mask(table, study.seed, stream=1)
    bundle, history = train(
        table, mask, setting.spec, setting.train, own, places.checkpoints, (Lines(note),)
    )
    borders = find_borders(len(table.times), table.card, own.data, bundle.window)
    clean = score_test(bundle, table, borders, params)
    figures = score_under(condition, bundle, table, borders, params)
    note(f"{setting.cell.name}: trained and tested at {rate:g}: MSE {figures['mse']:.4f}")
    record = {
        "cell": dataclasses.asdict(setting.cell),
        "protocol": "trained",
        "rate": rate,
        "key": key,
        "clean": {"mse": clean.mse, "mae": clean.mae},
        "scores": [dataclasses.asdict(condition) | figures],
        "history": [dataclasses.asdict(epoch) for epoch in history],
        "receipt": _receipt(table, bundle.fingerprint, params, places),
    }
    write_record(path, record)
    Checkpoint.of_run(places.checkpoints, bundle.fingerprint).discard()
    return record


def _key(of: str, study: MissingParams, rate: float | None = None) -> str:
    """Identity of a record: the weights or the setting, the masks and the code."""
    steps = None if rate is None else study.block_steps
    return identity.of_json([of, study.seed, rate, steps, running_code(_CODE)])


def _stands(
    record: dict[str, Any], setting: Setting, rate: float | None, params: Params, places: Places
) -> bool:
    """Whether a record is of these settings, weights, masks and code."""
    study = params.study.missing
    if rate is not None:
        return bool(record["key"] == _key(setting.key, study, rate))
    done = read_settled(places, setting)
    if done is None:
        return False
    return bool(record["key"] == _key(done["receipt"]["weights_sha256"], study))


def _receipt(table: Table, weights: str, params: Params, places: Places) -> dict[str, Any]:
    return {
        "command": "python -m s2tx.studies.missing",
        "data": {"name": table.card.name, "sha256": table.card.sha256},
        "of": weights,  # sha256 of the weights, or of the training's code, data and settings
        "seed": params.study.missing.seed,
        "code": {"commit": identity.git_commit(places.project.root)},
        "machine": identity.machine(),
    }


# --- All of them --------------------------------------------------------------------------------


def cells_of(params: Params) -> Iterator[tuple[Setting, float | None]]:
    """Every cell of section ``study.missing`` once, with the rate it is trained at, None for the
    grid's.

    Raises:
        InputError: a block names what is not there; names its key.
    """
    study = params.study
    rates: tuple[float | None, ...]
    listed: dict[tuple[Cell, float | None], None] = {}  # a cell may be in several blocks
    for blocks, rates in (
        (study.missing.test, (None,)),
        (study.missing.trained, study.missing.trained_rates),
    ):
        for rate, block in product(rates, blocks):
            listed |= dict.fromkeys((cell, rate) for cell in block_cells(study, block))
    for cell, rate in listed:
        yield resolve(cell, params), rate


def collect(params: Params, places: Places, reasons: dict[str, str]) -> dict[str, Any]:
    """Write ``missing.json`` from the cells' files, and return it.

    Returns:
        ``seed`` of the mask; ``cells`` with the scores that the section asks for, marked where
        earlier code trained the weights; and what was ``not_run``, with the reason: the one of
        ``reasons``, else what an earlier collection said.
    """
    path = places.results / FILE
    earlier = (read_record(path) or {}).get("not_run", {})
    lines, not_run = [], {}
    for setting, rate in cells_of(params):
        stem = path_of(places, setting.cell, rate).stem
        record = read_record(path_of(places, setting.cell, rate))
        kept = earlier.get(stem, "not run yet").partition("; ")[0]
        kept = "not run yet" if kept.startswith("not run") else kept
        why = reasons.get(stem, kept)
        if record is None:
            not_run[stem] = why
            continue
        if not _stands(record, setting, rate, params, places):
            stale = "not run again since settings, weights or code changed"
            not_run[stem] = reasons.get(stem, stale)
            continue
        seed = params.study.missing.seed
        wanted = [(each, seed) for each in _wanted(params, rate)]
        drawn = _draws(params, setting.cell) if rate is None else []
        found = {
            "scores": _lines(wanted, record["scores"]),
            "draws": _lines(drawn, record.get("draws", [])),
        }
        lines.append(
            {key: record[key] for key in ("cell", "protocol", "clean")}
            | found
            | {"earlier_code": rate is None and read(places, setting) is None}
        )
        have, of = sum(map(len, found.values())), len(wanted) + len(drawn)
        if have < of:
            not_run[stem] = f"{why}; {have} of {of} conditions are"
    result = {
        "receipt": {
            "command": "python -m s2tx.studies.missing",
            "code": {"commit": identity.git_commit(places.project.root)},
            "machine": identity.machine(),
            "protocol": "every test window, complete targets; each cell's receipt is in missing/",
        },
        "seed": params.study.missing.seed,
        "cells": lines,
        "not_run": not_run,
    }
    write_record(path, result)
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of("missing", __doc__)
    parser.add_argument("--cells", nargs="+", default=[], metavar="DATA-HORIZON-RECIPE-SEED")
    parser.add_argument("--protocols", nargs="+", default=list(PROTOCOLS), choices=PROTOCOLS)
    add_models(parser)
    parser.add_argument("--no-collect", action="store_true", help="write no missing.json")
    options = parser.parse_args(arguments)
    project = Project.here()
    places = places_of(project, options.results, options.models)
    note: Note = functools.partial(print, flush=True)
    reasons: dict[str, str] = {}
    try:
        params = load_params(project.params)
        listed = list(cells_of(params))
        names = {setting.cell.name for setting, _ in listed}
        if unknown := set(options.cells) - names:
            raise InputError(
                f"{', '.join(sorted(unknown))}: no such cell in study.missing",
                "Name it in a block of study.missing in params.yaml",
            )
        for setting, rate in listed:
            wanted = not options.cells or setting.cell.name in options.cells
            if not wanted or ("test" if rate is None else "trained") not in options.protocols:
                continue
            try:
                if rate is None:
                    examine(setting, params, places, options.data_dir, note)
                else:
                    train_and_examine(setting, rate, params, places, options.data_dir, note)
            except (S2TXError, ImportError, torch.OutOfMemoryError) as error:
                stem = path_of(places, setting.cell, rate).stem
                reasons[stem] = str(error).splitlines()[0]
                note(f"{stem}: not run: {reasons[stem]}")
        if not options.no_collect:
            collect(params, places, reasons)
    except S2TXError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 1 if reasons else 0


if __name__ == "__main__":
    sys.exit(main())
