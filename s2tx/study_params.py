"""Section ``study`` of ``params.yaml``: which cells the studies run, and what a cell means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from s2tx.specs import Pattern, check, check_seed

Scalar = bool | int | float | str | None


@dataclass(frozen=True)
class RecipeParams:
    """One row of the grid: a network and how it is trained (see ``s2tx.studies.settings``).

    ``model`` is a whole network where it has a ``name``, else what differs from section model;
    ``train`` and ``window`` are what differs from those sections; ``data_sets`` is what differs
    for a data set, under dotted keys such as ``train.epochs``.
    """

    model: dict[str, Scalar]
    train: dict[str, Any]  # masking is a section of its own
    window: dict[str, Scalar]
    data_sets: dict[str, dict[str, Scalar]]


@dataclass(frozen=True)
class BlockParams:
    """Cells that are worth running before others; ``seeds`` says how many of ``study.seeds``."""

    data_sets: tuple[str, ...]
    horizons: tuple[int, ...]
    recipes: tuple[str, ...]
    seeds: int


@dataclass(frozen=True)
class SearchParams:
    """How a recipe's settings are chosen for each of ``data_sets`` (see ``s2tx.studies.search``).

    ``trials`` is the budget of one data set; ``space`` has the choices of each dotted key, such as
    ``model.dropout``, the plain one first; ``barred`` are settings that are not tried together.
    ``confidence`` is how sure it must be that a lower error is no luck; at 0 the lowest wins.
    """

    recipe: str
    data_sets: tuple[str, ...]
    trials: int
    horizons: tuple[int, ...]
    seed: int
    space: dict[str, tuple[Scalar, ...]]
    barred: tuple[dict[str, Scalar], ...]
    confidence: float

    def __post_init__(self) -> None:
        sure = self.confidence
        check(0 <= sure < 1, "confidence", sure, "give a share from 0 to below 1")
        check(self.trials >= 1, "trials", self.trials, "give 1 or more")
        check_seed("seed", self.seed)
        check(len(self.horizons) >= 1, "horizons", self.horizons, "give one or more")
        for key, choices in self.space.items():
            check(len(choices) >= 1, f"space.{key}", choices, "give one or more choices")
        for at, each in enumerate(self.barred):
            for key, value in each.items():
                known = self.space.get(key, ())
                check(value in known, f"barred.{at}.{key}", value, "give a key and choice of space")
        check(self.allows(self.plain), "barred", self.barred, "leave the first choices of space")

    @property
    def plain(self) -> dict[str, Scalar]:
        """The first choice of every key."""
        return {key: choices[0] for key, choices in self.space.items()}

    def allows(self, settings: Mapping[str, Scalar]) -> bool:
        """Whether no barred combination is among ``settings``."""
        return not any(each.items() <= settings.items() for each in self.barred)


@dataclass(frozen=True)
class ConditionParams:
    """Ways in which inputs lose values: each rate with each length and each fill."""

    pattern: Pattern
    rates: tuple[float, ...]
    steps: tuple[int, ...]
    fills: tuple[Literal["mask", "forward", "linear", "mean", "seasonal", "infill"], ...]

    def __post_init__(self) -> None:
        for at, rate in enumerate(self.rates):
            check(0 <= rate < 1, f"rates.{at}", rate, "give a share from 0 to below 1")
        for at, steps in enumerate(self.steps):
            check(steps >= 1, f"steps.{at}", steps, "give 1 or more")


@dataclass(frozen=True)
class DrawsParams:
    """What is scored under several draws of the mask, and at which seeds they are drawn."""

    seeds: tuple[int, ...]
    conditions: tuple[ConditionParams, ...]
    test: tuple[BlockParams, ...]

    def __post_init__(self) -> None:
        for at, seed in enumerate(self.seeds):
            check_seed(f"seeds.{at}", seed)


@dataclass(frozen=True)
class MissingParams:
    """The study of missing values (see ``s2tx.studies.missing``).

    ``test`` and ``trained`` list the cells of either protocol; ``draws`` are further masks of some
    of the first; ``trained_rates`` and ``block_steps`` are those of the second; ``parts`` are the
    whole recipe, the one that it builds on, and those with a part changed, each beside the first.
    """

    seed: int
    block_steps: int
    conditions: tuple[ConditionParams, ...]
    test: tuple[BlockParams, ...]
    draws: DrawsParams
    trained: tuple[BlockParams, ...]
    trained_rates: tuple[float, ...]
    parts: tuple[str, ...]

    def __post_init__(self) -> None:
        check_seed("seed", self.seed)
        check(self.block_steps >= 1, "block_steps", self.block_steps, "give 1 or more")
        for at, rate in enumerate(self.trained_rates):
            check(0 < rate < 1, f"trained_rates.{at}", rate, "give a share between 0 and 1")


@dataclass(frozen=True)
class StudyParams:
    """The grid: the blocks of ``first`` in turn, then every recipe that is ``compared`` on every
    data set, horizon and seed; the other recipes run in the blocks that name them alone.
    A recipe is searched once on a data set.
    """

    data_sets: tuple[str, ...]
    horizons: tuple[int, ...]
    seeds: tuple[int, ...]
    first: tuple[BlockParams, ...]
    compared: tuple[str, ...]
    recipes: dict[str, RecipeParams]
    searches: tuple[SearchParams, ...]
    missing: MissingParams

    def __post_init__(self) -> None:
        for key in ("data_sets", "horizons", "seeds", "compared", "recipes"):
            check(len(getattr(self, key)) >= 1, key, getattr(self, key), "give one or more")
        for horizon in self.horizons:
            check(horizon >= 1, "horizons", horizon, "give 1 or more steps")
        for at, seed in enumerate(self.seeds):
            check_seed(f"seeds.{at}", seed)
        seen: set[tuple[str, str]] = set()
        for at, search in enumerate(self.searches):
            recipe = search.recipe
            check(recipe in self.recipes, f"searches.{at}.recipe", recipe, "name one of recipes")
            for data in search.data_sets:
                new = (recipe, data) not in seen
                check(new, f"searches.{at}.data_sets", data, "a recipe is searched once on it")
                seen.add((recipe, data))
