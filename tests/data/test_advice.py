"""What does not suit a table is told, and what does is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from s2tx.data.advice import unfit_season
from s2tx.data.season import season_of
from s2tx.params import Params
from tests.builders import make_table


@pytest.mark.parametrize(
    ("step", "season", "fits"),
    [
        ("1h", 24, True),
        ("1h", 168, True),
        ("15min", 24, False),
        ("15min", None, True),
        ("1D", 24, False),
        ("1D", 7, True),
    ],
)
def test_a_season_that_is_not_the_tables_is_told(
    params: Params, step: str, season: int | None, fits: bool
) -> None:
    """Protects quarter-hourly readings from estimates that build on the value of six hours ago."""
    model = replace(params.model, infill=True, infill_season=season)
    card = replace(make_table().card, step=step)
    found = unfit_season(model, card)
    assert len(found) == (not fits)
    for finding in found:
        assert finding.severity == "warning"
        assert f"{season} steps of {step}, and the season of small is" in finding.message
        assert f"to {season_of(card.step_delta)}, or" in finding.cure
    assert not unfit_season(replace(model, infill=False), card)
