"""The gate's statistics: luck must not promote, skill must."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from s2tx.data.missing import Mask, hide
from s2tx.data.scaling import Scaler
from s2tx.data.split import find_borders
from s2tx.data.table import Table
from s2tx.errors import InputError, S2TXError
from s2tx.evaluation.metrics import score
from s2tx.evaluation.naive import naive_forecasts
from s2tx.params import Params
from s2tx.registry.compare import (
    Errors,
    IncomparableError,
    compare,
    compare_with_naive,
    require_unseen,
)
from tests.tiny import tiny_bundle, tiny_table


class Blind(nn.Module):
    """A network that gives NaN for a window of which more than a tenth is missing."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_BLD: Tensor, observed_BLD: Tensor) -> Tensor:
        y_BHD: Tensor = self.network(x_BLD, observed_BLD)
        missing_B11 = 1 - observed_BLD.float().mean(dim=(1, 2), keepdim=True)
        return y_BHD.masked_fill(missing_B11 > 0.1, float("nan"))


def tiny_mask(table: Table, params: Params) -> Mask:
    return Mask(hide(table.observed, params.inject), 0)


def test_models_with_other_look_backs_meet_on_the_same_windows(tiny: Params) -> None:
    """What the model reads is its own affair; what it is asked must be the same."""
    table = tiny_table()
    mask = tiny_mask(table, tiny)
    far = dataclasses.replace(tiny, window=dataclasses.replace(tiny.window, look_back=200))
    long, short = tiny_bundle(table, far, shift=0.0), tiny_bundle(table, tiny, shift=0.0)
    one = compare(short, long, table, mask, tiny)
    other = compare(long, short, table, mask, far)
    assert one.windows == other.windows == 120 - tiny.window.horizon + 1
    assert (one.champion, one.challenger) == (other.challenger, other.champion)


def test_a_champion_too_long_for_the_table_is_named(tiny: Params) -> None:
    """Protects from advice to mend settings that a model in service no longer asks: what look-back
    is too long is its own, in a newer version of the data as in its own."""
    far = dataclasses.replace(tiny, window=dataclasses.replace(tiny.window, look_back=450))
    old, new = tiny_bundle(tiny_table(1000), far, shift=0.0), tiny_bundle(tiny_table(), tiny)
    named = "^the champion looks back 450 steps, and the train part of tiny, 420 of 600 rows, holds"
    for table in (tiny_table(), tiny_table(seed=1)):
        with pytest.raises(IncomparableError, match=named):
            compare(old, new, table, tiny_mask(table, tiny), tiny)
    with pytest.raises(IncomparableError, match=named):
        require_unseen(old, "champion", "2024-01-05", tiny_table(), tiny)
    with pytest.raises(InputError, match="holds no window of look-back 450"):  # nor do the settings
        compare_with_naive(old, tiny_table(), tiny_mask(tiny_table(), tiny), far)


@pytest.mark.parametrize("tail", [0, 5])
def test_scores_are_those_of_the_evaluation(tiny: Params, tail: int) -> None:
    """The gate and the report must speak of the same numbers, with inputs missing too."""
    table = tiny_table()
    mask = dataclasses.replace(tiny_mask(table, tiny), tail_steps=tail)
    bundle = tiny_bundle(table, tiny)
    borders = find_borders(len(table.times), table.card, tiny.data, tiny.window)
    origins = borders.origins("test", tiny.window.look_back, tiny.window.horizon)
    scaler = Scaler.fit(table.values[: borders.train])
    clean = score(bundle, table, origins, scaler, 7)
    masked = score(bundle, table, origins, scaler, 7, mask.visible, tail)
    alone = compare_with_naive(bundle, table, mask, tiny)
    assert alone.challenger.clean == pytest.approx(clean.mse, rel=1e-6)
    assert alone.challenger.masked == pytest.approx(masked.mse, rel=1e-6)
    assert alone.windows == len(origins)
    verdict = compare(tiny_bundle(table, tiny, shift=0.0), bundle, table, mask, tiny)
    assert verdict.challenger == alone.challenger
    assert verdict.naive is None
    mae = dataclasses.replace(tiny, promote=dataclasses.replace(tiny.promote, metric="mae"))
    errors = compare_with_naive(bundle, table, mask, mae).challenger
    assert errors.clean == pytest.approx(clean.mae, rel=1e-6)
    assert errors.masked == pytest.approx(masked.mae, rel=1e-6)


@pytest.mark.parametrize("period", [24, 9.6, 240])
def test_the_better_naive_forecast_stands_in_for_a_champion(tiny: Params, period: float) -> None:
    """Protects the floor from being the weaker of the two, on daily, odd and slow series alike; its
    figures are those of the evaluation."""
    hours = np.arange(600)[:, None] * np.ones(2)
    noise = np.random.default_rng(0).standard_normal(hours.shape)
    table = dataclasses.replace(
        tiny_table(), values=np.sin(2 * np.pi * hours / period) + 0.1 * noise
    )
    bundle, mask = tiny_bundle(table, tiny, shift=0.0), tiny_mask(table, tiny)
    verdict = compare_with_naive(bundle, table, mask, tiny)
    borders = find_borders(len(table.times), table.card, tiny.data, tiny.window)
    origins = borders.origins("test", tiny.window.look_back, tiny.window.horizon)
    errors = {
        name: score(each, table, origins, bundle.scaler, 7).mse
        for name, each in naive_forecasts(
            table, tiny.window, bundle.scaler, bundle.device, tiny
        ).items()
    }
    assert verdict.naive == ("seasonal_naive" if period == 24 else "repeat_last")
    assert verdict.champion.clean == pytest.approx(min(errors.values()), rel=1e-6)
    assert max(errors.values()) > 1.1 * min(errors.values())
    assert verdict.wins == (period == 9.6)  # the mean of the window, against a hopeless repetition


@given(clean=st.floats(1e-6, 1e6), rise=st.floats(-0.99, 10), bound=st.floats(0, 10))
def test_a_bound_is_kept_or_not(tiny: Params, clean: float, rise: float, bound: float) -> None:
    """Protects from a bound that is of the error and not of its rise; null asks nothing."""
    errors = Errors(clean, clean * (1 + rise))
    assert errors.rise == pytest.approx(rise, abs=1e-9)
    assert errors.within(dataclasses.replace(tiny.promote, max_missing_rise=None))
    if abs(rise - bound) > 1e-6:
        rule = dataclasses.replace(tiny.promote, max_missing_rise=bound)
        assert errors.within(rule) == (rise < bound)


def test_the_scaler_is_the_tables_not_the_models(tiny: Params) -> None:
    """Two models carry two scalers; errors in two units cannot be compared."""
    table = tiny_table()
    bundle = tiny_bundle(table, tiny, shift=0.0)
    earlier = dataclasses.replace(bundle.card, sha256="0" * 63 + "1")  # of the data
    scaler = Scaler(bundle.scaler.mean, bundle.scaler.std * 3)
    odd = dataclasses.replace(bundle, card=earlier, scaler=scaler)
    verdict = compare(odd, bundle, table, tiny_mask(table, tiny), tiny)
    for which in ("clean", "masked"):
        theirs, ours = getattr(verdict.champion, which), getattr(verdict.challenger, which)
        assert theirs == pytest.approx(ours, rel=1e-4)


def test_a_model_that_trained_on_the_test_rows_shows_nothing(tiny: Params) -> None:
    """Another split in training, this one in the gate: it has seen what it is scored on."""
    table = tiny_table()
    fair, mask = tiny_bundle(table, tiny, shift=0.0), tiny_mask(table, tiny)
    wider = dataclasses.replace(fair, scaler=Scaler.fit(table.values[:580]))
    compare_with_naive(fair, table, mask, tiny)
    for attempt, told in (
        (
            lambda: compare(fair, wider, table, mask, tiny),
            r"challenger was .* Train anew: dvc repro",
        ),
        (lambda: compare(wider, fair, table, mask, tiny), r"champion was .* may be among them\.$"),
        (lambda: compare_with_naive(wider, table, mask, tiny), r"challenger was .* Train anew"),
    ):
        with pytest.raises(S2TXError, match=told):
            attempt()


@pytest.mark.parametrize(
    ("zone", "seen", "ok"),
    [
        (None, "2024-01-20T23:00:00", True),  # row 479, the last before the test rows
        (None, "2024-01-21T00:00:00", False),
        (None, "2024-01-21T01:00:00+01:00", False),
        ("UTC", "2024-01-20T23:00:00+00:00", True),
        ("Europe/Berlin", "2024-01-20T23:00:00+01:00", True),
        ("Europe/Berlin", "2024-01-20T23:00:00+00:00", False),
        ("UTC", "2024-01-21T00:00:00", False),
        (None, None, True),
    ],
)
def test_no_row_that_was_seen_is_a_test_row(
    tiny: Params, zone: str | None, seen: str | None, ok: bool
) -> None:
    """Protects from one row too many, and from clocks of two zones."""
    table = tiny_table(zone=zone)
    model = tiny_bundle(table, tiny, shift=0.0)
    if ok:
        require_unseen(model, "champion", seen, table, tiny)
        return
    with pytest.raises(IncomparableError, match=r"test rows of tiny begin at 2024-01-21 00:00"):
        require_unseen(model, "champion", seen, table, tiny)


def test_a_short_test_part_decides_nothing(tiny: Params) -> None:
    """With less than two blocks every resample is the same: certainty out of nothing."""
    table = tiny_table(400)
    few = dataclasses.replace(tiny, data=dataclasses.replace(tiny.data, ratio=(0.75, 0.21, 0.04)))
    scaler = Scaler.fit(table.values[:300])
    model = dataclasses.replace(tiny_bundle(table, tiny, shift=0.0), scaler=scaler)
    mask = tiny_mask(table, tiny)
    for attempt in (
        lambda: compare(model, model, table, mask, few),
        lambda: compare_with_naive(model, table, mask, few),
    ):
        with pytest.raises(IncomparableError, match="11 windows"):
            attempt()


@pytest.mark.parametrize("what", ["variates", "step"])
def test_models_of_other_things_are_not_compared(tiny: Params, what: str) -> None:
    """The same columns in another order would be scored against each other's targets."""
    table = tiny_table()
    model = tiny_bundle(table, tiny, shift=0.0)
    changed = {"variates": ("oil (C)", "load"), "step": "2h"}[what]
    card = dataclasses.replace(table.card, **{what: changed})
    other = dataclasses.replace(model, card=card)
    with pytest.raises(S2TXError, match=f"the champion's {what}"):
        compare(other, model, table, tiny_mask(table, tiny), tiny)


def test_a_score_that_is_not_finite_is_no_score(tiny: Params) -> None:
    """NaN compares as false with everything: it must stop, not slip through."""
    table = tiny_table()
    mask = tiny_mask(table, tiny)
    good, bad = tiny_bundle(table, tiny), tiny_bundle(table, tiny, shift=float("nan"))
    for pair in ((bad, bad), (bad, good), (good, bad)):
        with pytest.raises(S2TXError, match="not finite"):
            compare(*pair, table, mask, tiny)
    with pytest.raises(S2TXError, match="not finite"):
        compare_with_naive(bad, table, mask, tiny)


def test_a_score_under_the_mask_that_is_not_finite_is_none_either(tiny: Params) -> None:
    """A model that gives NaN where readings are missing would do so in service one night."""
    table = tiny_table()
    mask = tiny_mask(table, tiny)
    good = tiny_bundle(table, tiny)
    blind = dataclasses.replace(good, network=Blind(good.network))
    for pair in ((blind, good), (good, blind)):
        with pytest.raises(S2TXError, match="mse with inputs missing is nan"):
            compare(*pair, table, mask, tiny)
    with pytest.raises(S2TXError, match="mse with inputs missing is nan"):
        compare_with_naive(blind, table, mask, tiny)


@pytest.mark.parametrize("what", ["variates", "step"])
def test_a_model_is_not_scored_on_what_it_does_not_forecast(tiny: Params, what: str) -> None:
    """Protects the gate from crossed columns where both models are of an older table: their scores
    would be finite."""
    table = tiny_table()
    card = dataclasses.replace(
        table.card, sha256="", **{what: {"variates": table.card.variates[::-1], "step": "2h"}[what]}
    )
    model = dataclasses.replace(tiny_bundle(table, tiny, shift=0.0), card=card)
    mask = tiny_mask(table, tiny)
    with pytest.raises(IncomparableError, match=f"the challenger forecasts {what}"):
        compare_with_naive(model, table, mask, tiny)
    with pytest.raises(IncomparableError, match=f"the champion forecasts {what}"):
        compare(model, model, table, mask, tiny)
