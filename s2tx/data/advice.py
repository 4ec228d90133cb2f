"""Settings that do not suit a table: told where it comes in, and never changed."""

from __future__ import annotations

from s2tx.data.findings import Finding
from s2tx.data.season import season_of
from s2tx.data.split import find_borders
from s2tx.data.table import Card, Table
from s2tx.params import Params


def unfit_season(params: Params, card: Card) -> tuple[Finding, ...]:
    """A warning where estimates of missing values build on what the step suggests is no season."""
    model, own = params.model, season_of(card.step_delta)
    season = model.infill_season
    if not model.infill or season is None or season % own == 0:
        return ()
    return (
        Finding(
            "warning",
            "season",
            None,
            f"estimates of missing values build on what was {season} steps of {card.step} before, "
            f"where such a step suggests a season of {own}",
            f"If {card.name} has no season of {season}, set model.infill_season in params.yaml to "
            + (f"{own}, or to null" if own <= params.window.look_back else "null"),
        ),
    )


def few_windows(params: Params, table: Table) -> tuple[Finding, ...]:
    """A warning where the test part holds too little for the gate to tell skill from luck."""
    window, name = params.window, table.card.name
    borders = find_borders(len(table.times), table.card, params.data, window)
    windows = len(borders.origins("test", window.look_back, window.horizon))
    if windows >= 2 * window.horizon:
        return ()
    return (
        Finding(
            "warning",
            "test windows",
            None,
            f"the test part of {name} holds {windows} windows, and the gate asks for "
            f"{2 * window.horizon}, two horizons: it will promote no model",
            "Bring more rows, lower window.horizon in params.yaml, or raise the last of data.ratio",
        ),
    )
