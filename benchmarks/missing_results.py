"""``results/missing.json``, looked up by data set, horizon, recipe and condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any


@dataclass(frozen=True)
class Results:
    """``missing.json``, looked up by data set, horizon and recipe.

    Attributes:
        cells: a record a seed.
        seed: of the mask of their ``scores``.
    """

    cells: Sequence[Mapping[str, Any]]
    seed: int

    def of(
        self, data: str, horizon: int, recipe: str, protocol: str = "test"
    ) -> list[Mapping[str, Any]]:
        """One record a seed."""
        named = (data, horizon, recipe, protocol)
        return [each for each in self.cells if _name(each) == named]

    def places(self, protocol: str = "test") -> list[tuple[str, int]]:
        """Data sets and horizons of which anything was run."""
        names = (_name(each) for each in self.cells)
        return list(dict.fromkeys((data, at) for data, at, _, kind in names if kind == protocol))

    def recipes(self, data: str, horizon: int, protocol: str = "test") -> list[str]:
        names = (_name(each) for each in self.cells)
        wanted = (data, horizon, protocol)
        found = (recipe for at, H, recipe, kind in names if (at, H, kind) == wanted)
        return list(dict.fromkeys(found))

    def clean(self, data: str, horizon: int, recipe: str) -> float | None:
        """Mean MSE on complete data."""
        found = [each["clean"]["mse"] for each in self.of(data, horizon, recipe)]
        return fmean(found) if found else None

    def rise(self, data: str, horizon: int, recipe: str, **condition: Any) -> float | None:
        """Mean share by which the MSE is higher; None where it was not run."""
        found = []
        for record in self.of(data, horizon, recipe):
            for line in record["scores"]:
                if condition.items() <= line.items():
                    found.append(line["mse"] / record["clean"]["mse"] - 1)
        return fmean(found) if found else None

    def draws(
        self, data: str, horizon: int, recipe: str, **condition: Any
    ) -> dict[int, tuple[float, float]]:
        """By the seed of each mask that was drawn: the share it hides, and the rise of the MSE, the
        mean over the weights that were scored under it."""
        found: dict[int, list[tuple[float, float]]] = {}
        for record in self.of(data, horizon, recipe):
            for line in record.get("draws", ()):
                if condition.items() <= line.items():
                    rise = line["mse"] / record["clean"]["mse"] - 1
                    found.setdefault(line["seed"], []).append((line["hidden"], rise))
        return {mask: (each[0][0], fmean(rise for _, rise in each)) for mask, each in found.items()}

    def drawn_for(self, data: str, horizon: int, recipe: str) -> list[int]:
        """The seeds whose weights were scored under several masks."""
        records = self.of(data, horizon, recipe)
        return sorted(each["cell"]["seed"] for each in records if each.get("draws"))


def _name(record: Mapping[str, Any]) -> tuple[str, int, str, str]:
    cell = record["cell"]
    return cell["data"], cell["horizon"], cell["recipe"], record["protocol"]
