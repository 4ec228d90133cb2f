"""What does not suit a table is told, and what does is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from s2tx.data.advice import few_windows, unfit_season
from s2tx.data.season import season_of
from s2tx.params import Params
from tests.builders import make_params, make_table


@pytest.mark.parametrize(
    ("step", "season", "fits"),
    [
        ("1h", 24, True),
        ("1h", 168, True),
        ("15min", 24, False),
        ("15min", None, True),
        ("1D", 24, False),
        ("1D", 7, True),
        ("1min", 24, False),
    ],
)
def test_a_season_that_is_not_the_tables_is_told(
    params: Params, step: str, season: int | None, fits: bool
) -> None:
    """Protects quarter-hourly readings from estimates that build on the value of six hours ago."""
    params = replace(params, model=replace(params.model, infill=True, infill_season=season))
    card = replace(make_table().card, step=step)
    found = unfit_season(params, card)
    assert len(found) == (not fits)
    for finding in found:
        assert finding.severity == "warning"
        assert f"{season} steps of {step} before" in finding.message
        own = season_of(card.step_delta)
        reached = own <= params.window.look_back  # nothing in a window is a longer season apart
        assert finding.cure.endswith(f"to {own}, or to null" if reached else "params.yaml to null")
    without = replace(params, model=replace(params.model, infill=False))
    assert not unfit_season(without, card)


def test_a_test_part_in_which_nothing_can_be_told_is_told(params: Params) -> None:
    """Protects a small table from a month of nights without a champion; one window more will do."""
    params = make_params(params)
    rows = 600
    assert not few_windows(params, make_table(rows))
    for horizon, enough in ((40, True), (41, False)):  # of 120 test rows: 81 windows, and 80
        longer = replace(params, window=replace(params.window, horizon=horizon))
        assert bool(few_windows(longer, make_table(rows))) != enough
