"""Borders must be the field's, and no window may be dropped or shared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2tx.data.split import PARTS, Borders, find_borders, require_observed
from s2tx.errors import InputError
from s2tx.params import Params, WindowParams
from tests.builders import make_table

CARD = make_table(10).card
WINDOW = WindowParams(336, 168, 96)


@pytest.mark.parametrize(("step", "rows", "month"), [("1h", 17420, 720), ("15min", 69680, 2880)])
def test_ett_is_12_4_4_months_of_30_days(params: Params, step: str, rows: int, month: int) -> None:
    """Protects comparison with every published ETT figure."""
    card = replace(CARD, step=step, split="ett")
    borders = find_borders(rows, card, params.data, WINDOW)
    assert borders == Borders(12 * month, 16 * month, 20 * month)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(52696, (36887, 42157, 52696)), (7588, (5311, 6071, 7588)), (966, (676, 773, 966))],
)
def test_others_are_70_10_20(params: Params, rows: int, expected: tuple[int, int, int]) -> None:
    """Protects comparison on Weather, Exchange and Illness: floors, the rest is validation."""
    window = WindowParams(60, 30, 24)
    assert find_borders(rows, CARD, params.data, window) == Borders(*expected)


@given(
    st.integers(1, 500), st.integers(1, 200), st.integers(1, 200), st.integers(1, 60),
    st.integers(1, 30),
)  # fmt: skip
def test_every_target_row_is_in_one_part(
    train: int, validation: int, test: int, look_back: int, horizon: int
) -> None:
    """Protects from a target in two parts, an input before the table, and a dropped window."""
    borders = Borders(train, train + validation, train + validation + test)
    for part in PARTS:
        rows, origins = borders.rows(part), borders.origins(part, look_back, horizon)
        first = max(rows.start, look_back)
        assert len(origins) == max(rows.stop - horizon + 1 - first, 0)
        for origin in (origins[0], origins[-1]) if origins else ():
            assert origin in rows
            assert origin + horizon - 1 in rows
            assert origin - look_back >= 0


def test_a_part_without_a_window_is_refused(params: Params) -> None:
    """Protects from training on nothing; the message says how many rows there are."""
    with pytest.raises(InputError, match="the train part of small, 350 of 500 rows"):
        find_borders(500, CARD, params.data, WINDOW)
    with pytest.raises(InputError, match="20 months of 30 days, 14400 rows; small has 9000"):
        find_borders(9000, replace(CARD, split="ett"), params.data, WINDOW)


def test_a_part_without_a_reading_is_refused() -> None:
    """Protects the choice of the checkpoint from a validation part in which nothing was seen."""
    table = make_table(600)
    borders = Borders(420, 480, 600)
    require_observed(table, borders)
    table.values[420:480] = np.nan
    with pytest.raises(InputError, match="nothing was observed in the validation part of small"):
        require_observed(table, borders)


def test_params_overrule_the_card(params: Params) -> None:
    """Protects ``data.split: ratio`` from being ignored for a set that declares ``ett``."""
    ratio = replace(params.data, split="ratio", ratio=(0.5, 0.25, 0.25))
    borders = find_borders(17420, replace(CARD, split="ett"), ratio, WINDOW)
    assert borders == Borders(8710, 13065, 17420)
