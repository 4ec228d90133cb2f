"""A cell of the grid and what it means: network, recipe, window; the order in which cells run."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pandas as pd

from s2tx import fingerprint as identity
from s2tx.data.catalog import Entry, find, names
from s2tx.data.season import season_of
from s2tx.errors import InputError
from s2tx.params import ModelParams, Network, Params, TrainParams, WindowParams, as_dict
from s2tx.specs import NaiveParams
from s2tx.study_params import BlockParams, RecipeParams, StudyParams
from s2tx.training.train import code_of
from s2tx.typed import typed

# The code, beside a training's own, that decides a cell's figures.
_CODE = ("data/read.py", "data/parse_csv.py", "evaluation/metrics.py", "studies/cell.py")


@dataclass(frozen=True)
class Cell:
    """One training and its score."""

    data: str
    horizon: int
    recipe: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.data}-{self.horizon}-{self.recipe}-{self.seed}"

    @classmethod
    def of_name(cls, name: str) -> Cell:
        """The inverse of ``name``.

        Raises:
            InputError: it is no such name.
        """
        try:
            data, horizon, recipe, seed = name.split("-")
            return cls(data, int(horizon), recipe, int(seed))
        except ValueError:
            raise InputError(
                f"{name!r} is no cell of the grid", "Give one such as ETTh1-96-best-2024"
            ) from None


@dataclass(frozen=True)
class Setting:
    """What a cell means.

    Attributes:
        cell: which.
        entry: the data set.
        spec: the network.
        train: its recipe, with the cell's seed.
        params: the project's, with the cell's window, no sentinels and no injected mask.
    """

    cell: Cell
    entry: Entry
    spec: Network
    train: TrainParams
    params: Params

    @property
    def trained(self) -> bool:
        return not isinstance(self.spec, NaiveParams)

    @property
    def code(self) -> str:
        """sha256 of the sources that decide the cell's figures."""
        return running_code((*code_of(self.spec), *_CODE))

    @property
    def key(self) -> str:
        """Identity of the cell: data, settings and code. A finished cell with this key stands."""
        return identity.of_json(
            {
                "cell": dataclasses.asdict(self.cell),
                "data": [self.entry.sha256, self.entry.step, self.entry.split],
                "network": as_dict(self.spec),
                "train": as_dict(self.train) if self.trained else None,
                "window": as_dict(self.params.window),
                "ratio": self.params.data.ratio,
                "code": self.code,
            }
        )


@functools.cache
def running_code(rooms: tuple[str, ...]) -> str:
    """sha256 of named sources, read once a process: what runs is what was imported, whatever is
    edited meanwhile."""
    return identity.of_code(rooms)


def resolve(cell: Cell, params: Params) -> Setting:
    """What a cell means under ``params``.

    Raises:
        InputError: no such data set or recipe, or an override that does not fit; names its key.
    """
    entry, recipe = find(cell.data), _recipe(params.study, cell.recipe)
    overrides = {
        section: dict(getattr(recipe, section)) for section in ("model", "train", "window")
    }
    prefix = f"study.recipes.{cell.recipe}"
    if unknown := set(recipe.data_sets) - set(names()):
        raise InputError(
            f"{prefix}.data_sets has {', '.join(sorted(unknown))}: no such data set",
            f"Give one of {', '.join(names())}",
        )
    for dotted, value in recipe.data_sets.get(entry.name, {}).items():
        section, _, key = dotted.partition(".")
        if section not in overrides:
            raise InputError(
                f"{prefix}.data_sets.{entry.name}.{dotted} is not a setting",
                "Begin the key with model., train. or window.",
            )
        overrides[section][key] = value
    model = overrides["model"]
    base: dict[str, Any] = {} if "name" in model else as_dict(params.model)
    try:
        spec: Network = typed(Network, {**base, **model}, f"{prefix}.model")
        train: TrainParams = typed(
            TrainParams,
            {**as_dict(params.train), **overrides["train"], "seed": cell.seed},
            f"{prefix}.train",
        )
        window: WindowParams = typed(
            WindowParams,
            {**as_dict(params.window), **overrides["window"], "horizon": cell.horizon},
            f"{prefix}.window",
        )
    except ValueError as error:
        raise InputError(str(error), "Mend params.yaml") from None
    if isinstance(spec, NaiveParams) and spec.season is None:
        step = pd.Timedelta(pd.tseries.frequencies.to_offset(entry.step))  # type: ignore[arg-type]
        spec = replace(spec, season=season_of(step))
    own = replace(
        params,
        data=replace(params.data, split="auto"),
        window=window,
        validate=replace(params.validate, sentinels=()),
        inject=replace(params.inject, train=False),
    )
    if isinstance(spec, ModelParams):
        own = replace(own, model=spec)
    return Setting(replace(cell, data=entry.name), entry, spec, train, own)


def order(study: StudyParams) -> list[Cell]:
    """Every cell of the grid once, in the order of worth.

    Raises:
        InputError: a block names a recipe that is not there, or more seeds than there are.
    """
    return list(dict.fromkeys(_order(study)))


def _order(study: StudyParams) -> Iterator[Cell]:
    for block in study.first:
        yield from block_cells(study, block)
    yield from _cells(study, study.data_sets, study.horizons, study.compared, study.seeds)


def block_cells(study: StudyParams, block: BlockParams) -> Iterator[Cell]:
    """The cells that a block of section ``study`` names.

    Raises:
        InputError: it names a recipe that is not there, or more seeds than there are.
    """
    if not 1 <= block.seeds <= len(study.seeds):
        raise InputError(
            f"a block of section study has seeds: {block.seeds}", f"Give 1 to {len(study.seeds)}"
        )
    seeds = study.seeds[: block.seeds]
    yield from _cells(study, block.data_sets, block.horizons, block.recipes, seeds)


def _cells(
    study: StudyParams,
    data_sets: tuple[str, ...],
    horizons: tuple[int, ...],
    recipes: tuple[str, ...],
    seeds: tuple[int, ...],
) -> Iterator[Cell]:
    for seed, data, horizon, recipe in product(seeds, data_sets, horizons, recipes):
        # What nothing is drawn for has one cell, whatever the seeds.
        drawn = _recipe(study, recipe).model.get("name") != "naive"
        yield Cell(data, horizon, recipe, seed if drawn else study.seeds[0])


def _recipe(study: StudyParams, name: str) -> RecipeParams:
    if name not in study.recipes:
        raise InputError(
            f"there is no recipe {name!r} in section study of params.yaml",
            f"Give one of: {', '.join(study.recipes)}",
        )
    return study.recipes[name]
