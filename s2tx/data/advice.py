"""Settings that do not suit a table: told where it comes in, and never changed."""

from __future__ import annotations

from s2tx.data.findings import Finding
from s2tx.data.season import season_of
from s2tx.data.table import Card
from s2tx.params import ModelParams


def unfit_season(model: ModelParams, card: Card) -> tuple[Finding, ...]:
    """A warning where estimates of missing values build on what is no season of the table."""
    season, own = model.infill_season, season_of(card.step_delta)
    if not model.infill or season is None or season % own == 0:
        return ()
    return (
        Finding(
            "warning",
            "season",
            None,
            f"estimates of missing values build on {season} steps of {card.step}, and the season "
            f"of {card.name} is {own}",
            f"Set model.infill_season in params.yaml to {own}, or to null where there is none",
        ),
    )
