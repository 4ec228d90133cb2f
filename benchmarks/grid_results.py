"""``results/grid.json``, looked up by data set, horizon and recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean
from typing import Any

from scipy import stats

from s2tx.studies.settings import Cell

# The share of its MSE that a single seed may deviate by, unless the recipe was seen to deviate by
# more at this horizon: over five seeds CycleNet's MSE, mostly of 0.3 to 0.4, deviates by 0.0005 to
# 0.005 on ETT (arXiv 2409.18479).
ONE_SEED = 0.015
CONFIDENCE = 0.95
NAIVE = ("seasonal_naive", "repeat_last")  # of which no seed draws anything


@dataclass(frozen=True)
class Grid:
    """``grid.json``: a line of the summary for each data set, horizon and recipe, and the cells."""

    lines: dict[tuple[str, int, str], Mapping[str, Any]]
    cells: Sequence[Mapping[str, Any]]
    not_run: Mapping[str, str]
    recipes: list[str]

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> Grid:
        lines = {(each["data"], each["horizon"], each["recipe"]): each for each in tree["summary"]}
        return cls(lines, list(tree["cells"].values()), tree["not_run"], tree["recipes"])

    def data_sets(self) -> list[str]:
        """Those of which anything was run."""
        return list(dict.fromkeys(data for data, _, _ in self.lines))

    def horizons(self, data: str) -> list[int]:
        """Finished or not."""
        waiting = [Cell.of_name(name) for name in self.not_run]
        open_ = {cell.horizon for cell in waiting if cell.data == data}
        return sorted(open_ | {horizon for name, horizon, _ in self.lines if name == data})

    def mse(self, data: str, horizon: int, recipe: str) -> float | None:
        line = self.lines.get((data, horizon, recipe))
        return None if line is None else float(line["mse"]["mean"])

    def average(self, data: str, recipe: str) -> float | None:
        """MSE over all horizons; None unless each was run."""
        found = [self.mse(data, horizon, recipe) for horizon in self.horizons(data)]
        return None if None in found else fmean(each for each in found if each is not None)

    def noise(
        self, data: str, horizons: Sequence[int], *recipes: str, others: Sequence[float] = ()
    ) -> float:
        """What the difference of two MSEs, each a mean over ``horizons``, has to exceed.

        ``others`` are the figures of other people, of one seed, that are among them.

        Half the two-sided interval of ``CONFIDENCE`` around it over seeds, by Student's t with the
        degrees of freedom of Welch and Satterthwaite (Biometrika 34, 1947): a deviation that is
        known from three seeds is known badly.
        """
        variances, known = [(ONE_SEED * mse) ** 2 for mse in others], 0.0
        for horizon, recipe in product(horizons, recipes):
            mse = self.lines[data, horizon, recipe]["mse"]
            if recipe in NAIVE:
                continue
            if mse["deviation"] is None:
                variances.append((self._of_one_seed(horizon, recipe) * mse["mean"]) ** 2)
                continue
            variances.append(mse["deviation"] ** 2 / mse["seeds"])
            known += variances[-1] ** 2 / (mse["seeds"] - 1)
        freedom = sum(variances) ** 2 / known if known else math.inf
        quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
        return quantile * math.sqrt(sum(variances)) / len(horizons)

    def seeds(self, data: str, horizons: Sequence[int], recipe: str) -> str:
        """How many were run, over the horizons: ``3``, or ``1-3``; ``any`` where none draws."""
        if recipe in NAIVE:
            return "any"
        found = {self.lines[data, horizon, recipe]["mse"]["seeds"] for horizon in horizons}
        return "-".join(map(str, sorted({min(found), max(found)})))

    def _of_one_seed(self, horizon: int, recipe: str) -> float:
        """The share that it may deviate by: on other data it, or what it is a variant of, may have
        been seen to."""
        seen: list[float] = [
            (line["mse"]["deviation"] or 0.0) / line["mse"]["mean"]
            for (_, at, name), line in self.lines.items()
            if at == horizon and (recipe == name or recipe.startswith(f"{name}_"))
        ]
        return max(ONE_SEED, *seen)
