"""Settings chosen on validation windows only, with a fixed budget, every trial on record.

``python -m s2tx.studies.search --data-dir FOLDER`` (or ``s2tx study search``) tries, for the recipe
of each of ``study.searches`` and each of its data sets, as many settings of its ``space`` as
``trials`` says, but none that is ``barred``. It begins at the first choice of every key, the plain
one; then it changes one key of the champion at a time, in the order of the space; when every such
change was tried, Optuna's tree-structured Parzen estimator proposes.

A challenger becomes the champion where its validation error, the mean over the horizons, is lower,
and a paired t test over stretches as long as the horizon says so with the ``confidence`` of the
search. A few months of validation hold few independent windows, three of 720 hours, and the lowest
of many errors on them is luck as often as skill: what cannot be told apart stays plain. For a
baseline the confidence is 0, and the lowest error wins: the benefit of the doubt is theirs.

No test window is read. What was tried is in ``results/search/DATA-RECIPE.json``; a record whose
trials the present search does not come to, for they are of another space or of earlier code, is
kept in ``earlier/`` beside it. What any of them holds is not trained again, so a search that was
killed goes on, and one of another space takes over what it shares. The champion's settings stand in
the recipe's ``data_sets`` in ``params.yaml``, where a test holds them together.
"""

from __future__ import annotations

import functools
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2tx import fingerprint as identity
from s2tx.data.missing import Mask
from s2tx.data.split import find_borders
from s2tx.data.table import Table
from s2tx.errors import InputError, S2TXError
from s2tx.evaluation.metrics import score
from s2tx.params import Params, load_params
from s2tx.paths import Project
from s2tx.studies.cell import Places, bring, validation_of
from s2tx.studies.command import parser_of
from s2tx.studies.grid import Lines, places_of
from s2tx.studies.record import read_record, write_record
from s2tx.studies.settings import Cell, Setting, resolve
from s2tx.study_params import Scalar, SearchParams
from s2tx.training.bundle import Bundle
from s2tx.training.checkpoint import Checkpoint
from s2tx.training.fit import NonFiniteLossError
from s2tx.training.train import train

Note = Callable[[str], None]
Settings = dict[str, Scalar]
Trial = dict[str, Any]

# What of a trial is no matter of the search that it was in.
_OUTCOME = ("value", "failed", "validation", "block_mse", "seconds", "keys", "commit")
_ASKS = 200  # proposals in a row that were tried before: the space is taken for exhausted


def search(
    wanted: SearchParams,
    data: str,
    params: Params,
    places: Places,
    folder: Path | None,
    note: Note = print,
) -> dict[str, Any]:
    """Spend what is left of the budget of one data set; returns its record.

    Args:
        wanted: one of ``study.searches``.
        data: name of the data set.
        params: ``study`` and what its recipes build on.
        places: of the grid; the record is written below its results.
        folder: of the data files; None to download them.
        note: told what happens, a line at a time.

    Raises:
        InputError: there is no such data set, or a choice does not fit the recipe; names the key.
        S2TXError: the data cannot be had.
        ImportError: Optuna is not installed; the message names the command.
    """
    name = f"{wanted.recipe} on {data}"
    known = _known(places)
    trials: list[Trial] = []
    table: Table | None = None
    while len(trials) < wanted.trials:
        proposed = propose(wanted, trials, champion_of(trials))
        if proposed is None:
            note(f"{name}: every setting of the space was tried")
            break
        cells = settings_of(wanted, data, proposed, params)
        outcome = known.get(tuple(cell.key for cell in cells))
        trained = outcome is None
        if outcome is None:
            if table is None:
                table = bring(cells[0].entry, folder, places.project.cache / "downloads")
            at = f"trial {len(trials) + 1} of {wanted.trials}"
            note(f"{name}: {at}: {_text(proposed)}")
            outcome = _try(cells, table, places, note)
        judged = _judge(outcome, champion_of(trials), wanted.confidence)
        trials.append({"settings": proposed} | outcome | judged)
        if trained:
            _write(wanted, data, trials, places)
    return _write(wanted, data, trials, places)


def settings_of(
    wanted: SearchParams, data: str, settings: Settings, params: Params
) -> list[Setting]:
    """What a trial trains: the recipe with ``settings``, at each horizon of the search.

    Raises:
        InputError: a setting does not fit; names its key.
    """
    study = params.study
    plain = study.recipes[wanted.recipe]
    own = {**plain.data_sets.get(data, {}), **settings}
    recipes = {**study.recipes, wanted.recipe: replace(plain, data_sets={data: own})}
    trial = replace(params, study=replace(study, recipes=recipes))
    return [
        resolve(Cell(data, horizon, wanted.recipe, wanted.seed), trial)
        for horizon in wanted.horizons
    ]


def propose(
    wanted: SearchParams, trials: Sequence[Trial], champion: Trial | None
) -> Settings | None:
    """Settings that were not tried yet; None if there seem to be none.

    They depend on the trials so far and on the seed alone, so a search that was killed goes on as
    if it had not been.
    """
    tried = [trial["settings"] for trial in trials]
    base: Settings = wanted.plain if champion is None else champion["settings"]
    near = [base | {key: choice} for key, choices in wanted.space.items() for choice in choices]
    for settings in (wanted.plain, *near):
        if settings not in tried and wanted.allows(settings):
            return settings
    try:
        import optuna
    except ImportError as error:
        raise ImportError("the search needs Optuna: pip install optuna") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space: dict[str, optuna.distributions.BaseDistribution] = {
        key: optuna.distributions.CategoricalDistribution(choices)
        for key, choices in wanted.space.items()
    }
    sampler = optuna.samplers.TPESampler(
        seed=(wanted.seed + len(trials)) % 2**32, n_startup_trials=4
    )
    study = optuna.create_study(sampler=sampler)
    for trial in trials:
        value = trial["value"]
        study.add_trial(
            optuna.trial.create_trial(
                params=trial["settings"],
                distributions=space,
                value=math.inf if value is None else value,
            )
        )
    for _ in range(_ASKS):
        settings = dict(study.ask(space).params)
        if settings not in tried and wanted.allows(settings):
            return settings
    return None


def _known(places: Places) -> dict[tuple[str, ...], Trial]:
    """What was trained before, in whatever search: outcomes by the keys of their cells."""
    outcomes: dict[tuple[str, ...], Trial] = {}
    for each in sorted(_folder(places).rglob("*.json")):
        record = read_record(each) or {"trials": []}
        for trial in record["trials"]:
            own = {"commit": record["receipt"]["code"]["commit"]} | trial
            outcomes.setdefault(tuple(trial["keys"]), {key: own[key] for key in _OUTCOME})
    return outcomes


def _try(cells: Sequence[Setting], table: Table, places: Places, note: Note) -> Trial:
    """Train at each horizon; the value is the mean validation MSE of what is kept."""
    began = time.perf_counter()
    errors: dict[str, Any] = {}
    blocks: dict[str, list[float]] = {}
    reason = None
    for cell in cells:
        mask = Mask(table.observed, 0)
        try:
            bundle, history = train(
                table, mask, cell.spec, cell.train, cell.params, places.checkpoints, (Lines(note),)
            )
        except NonFiniteLossError as error:
            reason = str(error).splitlines()[0]
            break
        errors[str(cell.cell.horizon)] = validation_of(cell, history)
        blocks[str(cell.cell.horizon)] = _blocks(bundle, table, cell.params)
        Checkpoint.of_run(places.checkpoints, bundle.fingerprint).discard()
    value = None if reason else fmean(each["mse"] for each in errors.values())
    return {
        "value": value,
        "failed": reason,
        "validation": errors,
        "block_mse": blocks,
        "seconds": time.perf_counter() - began,
        "keys": [cell.key for cell in cells],
        "commit": identity.git_commit(places.project.root),
    }


def _blocks(bundle: Bundle, table: Table, params: Params) -> list[float]:
    """Validation MSE of each stretch of H windows: what lies further apart errs independently."""
    borders = find_borders(len(table.times), table.card, params.data, bundle.window)
    look_back, horizon = bundle.window.look_back, bundle.window.horizon
    origins = borders.origins("validation", look_back, horizon)
    size = params.evaluate.batch_size
    losses = score(bundle, table, origins, bundle.scaler, size).window_mse
    parts = np.array_split(losses, max(len(losses) // horizon, 1))
    return [float(np.nanmean(part)) for part in parts]


def _judge(trial: Trial, champion: Trial | None, wanted: float) -> dict[str, Any]:
    """Whether a trial takes the place of the champion, and with what confidence."""
    if trial["value"] is None:
        return {"confidence": None, "promoted": False}
    if champion is None:
        return {"confidence": None, "promoted": True}
    old, new = champion["block_mse"], trial["block_mse"]
    confidence = _confidence([np.array(old[at]) - np.array(new[at]) for at in new])
    better = trial["value"] < champion["value"]
    return {"confidence": confidence, "promoted": better and confidence >= wanted}


def _confidence(gains: Sequence[NDArray[np.float64]]) -> float:
    """That the mean over the horizons of what is gained is above 0.

    A one-sided t test: horizons differ in spread and in number of stretches, so their variances
    add up and the degrees of freedom are Welch's and Satterthwaite's (Biometrika 34, 1947). A
    resampling of three stretches would be far too sure.

    Args:
        gains: for each horizon, (stretches,) what is gained on each.

    Returns:
        0 where a horizon has a single stretch, which cannot say how far it is to be trusted.
    """
    from scipy import stats

    counts = np.array([len(each) for each in gains])
    if counts.min() < 2:
        return 0.0
    mean = sum(each.mean() for each in gains)
    parts = np.array([each.var(ddof=1) for each in gains]) / counts
    variance = parts.sum()
    if variance == 0:
        return float(mean > 0)
    freedom = variance**2 / (parts**2 / (counts - 1)).sum()
    return float(stats.t.cdf(mean / np.sqrt(variance), freedom))


def champion_of(trials: Sequence[Trial]) -> Trial | None:
    """The last trial that took the place; None if none ended well."""
    return next((trial for trial in reversed(trials) if trial["promoted"]), None)


def path_of(places: Places, recipe: str, data: str) -> Path:
    """The record of the search of a recipe's settings on a data set."""
    return _folder(places) / f"{data}-{recipe}.json"


def _folder(places: Places) -> Path:
    return places.results / "search"


def _keep(path: Path, trials: Sequence[Trial]) -> None:
    """Copy a record that holds more than ``trials``, under the hash of its contents."""
    record = read_record(path)
    keys = [trial["keys"] for trial in trials]
    if record is None or all(trial["keys"] in keys for trial in record["trials"]):
        return
    aside = path.parent / "earlier"
    write_record(aside / f"{path.stem}-{identity.of_json(record)[:12]}.json", record)


def _write(
    wanted: SearchParams, data: str, trials: Sequence[Trial], places: Places
) -> dict[str, Any]:
    recipe, best = wanted.recipe, champion_of(trials)
    record = {
        "receipt": {
            "command": f"python -m s2tx.studies.search --recipes {recipe} --data-sets {data}",
            "chosen_by": "the validation MSE: lower, with confidence in a paired t test over "
            "stretches of the horizon; no test window is read",
            "code": {"commit": identity.git_commit(places.project.root)},
            "machine": identity.machine(),
        },
        "data": data,
        "recipe": recipe,
        "budget": wanted.trials,
        "horizons": list(wanted.horizons),
        "seed": wanted.seed,
        "space": {key: list(choices) for key, choices in wanted.space.items()},
        "barred": [dict(each) for each in wanted.barred],
        "confidence": wanted.confidence,
        "best": None if best is None else {key: best[key] for key in ("settings", "value")},
        "trials": list(trials),
    }
    path = path_of(places, recipe, data)
    _keep(path, trials)
    write_record(path, record)
    return record


def _selected(
    params: Params, recipes: Sequence[str], data_sets: Sequence[str]
) -> list[tuple[SearchParams, str]]:
    """Searches, each with a data set of it; no name selects all.

    Raises:
        InputError: a name selects none.
    """
    chosen = [
        (wanted, data)
        for wanted in params.study.searches
        for data in wanted.data_sets
        if (not recipes or wanted.recipe in recipes) and (not data_sets or data in data_sets)
    ]
    for name in (*recipes, *data_sets):
        if not any(name in (wanted.recipe, data) for wanted, data in chosen):
            raise InputError(
                f"no search that is selected is of {name}",
                "Look at recipe and data_sets of study.searches in params.yaml",
            )
    return chosen


def _text(settings: Mapping[str, Scalar]) -> str:
    return ", ".join(f"{key}={value}" for key, value in settings.items())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of("search", __doc__)
    parser.add_argument("--recipes", nargs="+", default=(), metavar="NAME")
    parser.add_argument("--data-sets", nargs="+", default=(), metavar="NAME")
    options = parser.parse_args(arguments)
    project = Project.here()
    places = places_of(project, options.results)
    note: Note = functools.partial(print, flush=True)
    try:
        params = load_params(project.params)
        for wanted, data in _selected(params, options.recipes, options.data_sets):
            best = search(wanted, data, params, places, options.data_dir, note)["best"]
            if best is not None:
                settings = _text(best["settings"])
                note(f"{wanted.recipe} on {data}: best {best['value']:.4f} with {settings}")
    except S2TXError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except ImportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
