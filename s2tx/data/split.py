"""Where train, validation and test begin, and how many windows each holds.

Validation and test windows may look back over the border; their targets may not. *Every* window
whose targets lie inside a part is counted: nothing is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from s2tx.data.table import Card, Table
from s2tx.errors import InputError
from s2tx.params import DataParams, WindowParams

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Borders:
    """Row numbers: train is [0, train), validation [train, validation), test [validation, test)."""

    train: int
    validation: int
    test: int

    def rows(self, part: Part) -> range:
        match part:
            case "train":
                return range(0, self.train)
            case "validation":
                return range(self.train, self.validation)
            case "test":
                return range(self.validation, self.test)

    def origins(self, part: Part, look_back: int, horizon: int) -> range:
        """First target row of each window of ``part``; the inputs are the rows before it."""
        rows = self.rows(part)
        return range(max(rows.start, look_back), rows.stop - horizon + 1)


def require_observed(table: Table, borders: Borders) -> None:
    """Every part must hold a reading to learn from or to score.

    Raises:
        InputError: nothing was observed in a part.
    """
    for part in PARTS:
        rows = borders.rows(part)
        if not table.observed[rows.start : rows.stop].any():
            raise InputError(
                f"nothing was observed in the {part} part of {table.card.name}, from "
                f"{table.times[rows.start]} to {table.times[rows.stop - 1]}",
                "Bring rows with readings, or move the borders with data.ratio in params.yaml",
            )


def find_borders(n_rows: int, card: Card, data: DataParams, window: WindowParams) -> Borders:
    """The borders that the data set declares, or that params ask for.

    Raises:
        InputError: a part would hold no window.
    """
    kind = card.split if data.split == "auto" else data.split
    if kind == "ett":
        month = round(pd.Timedelta(days=30) / card.step_delta)
        borders = Borders(12 * month, 16 * month, 20 * month)
        if borders.test > n_rows:
            raise InputError(
                f"the ETT split needs 20 months of 30 days, {borders.test} rows; "
                f"{card.name} has {n_rows}",
                "Set data.split to ratio in params.yaml",
            )
    else:
        # As the field counts: floor for train and test, the remainder is validation.
        train, test = int(n_rows * data.ratio[0]), int(n_rows * data.ratio[2])
        borders = Borders(train, n_rows - test, n_rows)
    for part in PARTS:
        if not borders.origins(part, window.look_back, window.horizon):
            raise InputError(
                f"the {part} part of {card.name}, {len(borders.rows(part))} of {n_rows} rows, "
                f"holds no window of look-back {window.look_back} and horizon {window.horizon}",
                "Bring more rows, or lower window.look_back and window.horizon in params.yaml",
            )
    return borders
