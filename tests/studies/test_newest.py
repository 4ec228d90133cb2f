"""What is said of the gap next to the forecast must be of that gap alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from s2tx.errors import InputError
from s2tx.params import Params
from s2tx.studies import fills, newest
from s2tx.studies.cell import Places
from s2tx.studies.finished import Finished
from s2tx.studies.grid import Selection, run, select, settings_of
from s2tx.studies.newest import examine, newest_gap
from s2tx.study_params import ConditionParams, DrawsParams


def drawn(study: Params, *conditions: ConditionParams) -> Params:
    """The same with two draws of these conditions."""
    draws = DrawsParams((1, 2), conditions, ())
    missing = replace(study.study.missing, draws=draws)
    return replace(study, study=replace(study.study, missing=missing))


POINTS = ConditionParams("point", (0.1,), (1,), ("mask", "forward"))
TAILS = ConditionParams("tail", (0.1,), (3, 5), ("mask",))


@given(arrays(bool, (2, 9, 3), elements=st.booleans()))
def test_the_newest_gap_ends_the_look_back(observed) -> None:  # type: ignore[no-untyped-def]
    """Protects the split of a mask, by its definition: nothing observed at that step or after."""
    found = newest_gap(torch.from_numpy(observed))
    for at in range(observed.shape[1]):
        expected = ~observed[:, at:].any(axis=1)
        assert (found[:, at].numpy() == expected).all()


def test_repeating_the_last_value_loses_by_the_newest_gap_alone(
    study: Params, places: Places, folder: Path
) -> None:
    """Protects all four figures at once: what repeats the last value that it sees forecasts the
    same where the newest gap is hidden, where all gaps are, and from where the gap begins; and a
    gap longer than half the horizon counts as one that long."""
    study = drawn(study, POINTS, TAILS)
    chosen = select(settings_of(study), Selection(("Small",), (6,), ("naive",), (1,)))
    dict(run(chosen, places, folder, note=lambda _: None))
    found = examine("Small-6-naive-1", study, places, folder)
    assert found["steps"] == 3
    assert [each["seed"] for each in found["masks"]] == [1, 2] * 3
    *points, tail, _, longer, _ = found["masks"]
    for each in (*points, tail):
        assert each["others"] == pytest.approx(found["complete"], rel=1e-5)
        assert each["newest"] == pytest.approx(each["all"], rel=1e-5)
        assert each["further"] == pytest.approx(each["all"], rel=1e-5)
        assert each["all"] > found["complete"]
    assert all(0 < each["gap"] < 1 for each in points)
    assert (tail["gap"], longer["gap"]) == (3, 5)
    assert longer["further"] == tail["further"]
    assert longer["all"] > tail["all"]


def test_longer_estimates_read_what_lies_before_the_look_back(
    study: Params, places: Places, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the figure of estimates that read further back from reading anything else: the last
    value carried forward is the same from there, unless the gap is as long as the look-back, and
    only then older values count."""
    look_back = 48
    study = drawn(
        study, POINTS, ConditionParams("tail", (0.1,), (look_back, 2 * look_back), ("mask",))
    )
    chosen = select(settings_of(study), Selection(("Small",), (6,), ("naive",), (1,)))
    dict(run(chosen, places, folder, note=lambda _: None))
    assert chosen[0].params.window.look_back == look_back
    monkeypatch.setattr(newest, "_estimates", lambda _: fills.forward)
    *points, dark, _, darker, _ = examine("Small-6-naive-1", study, places, folder)["masks"]
    for each in points:
        assert each["longer"] == pytest.approx(each["all"], rel=1e-5)
    assert dark["all"] == darker["all"] == darker["longer"] > dark["longer"]


def test_complete_is_the_first_half_of_the_horizon(
    study: Params, places: Places, folder: Path
) -> None:
    """Protects the figure that every rise is a share of, by a trained network's own forecasts."""
    study = drawn(study, POINTS)
    chosen = select(settings_of(study), Selection(("Small",), (6,), ("dlinear",), (1,)))
    dict(run(chosen, places, folder, note=lambda _: None))
    found = examine("Small-6-dlinear-1", study, places, folder)
    done = Finished.open("Small-6-dlinear-1", study, places, folder)
    values = done.bundle.scaler.transform(done.table.values)
    errors = [
        done.bundle.scaler.transform(done.bundle.forecast(done.table.values[:at]))[:3]
        - values[at : at + 3]
        for at in done.borders.origins("test", done.bundle.window.look_back, 6)
    ]
    expected = sum((error**2).mean() for error in errors) / len(errors)
    assert found["complete"] == pytest.approx(expected, rel=1e-5)


def test_what_cannot_be_examined_is_told(study: Params, places: Places, folder: Path) -> None:
    """Protects from an empty record, with the key to mend."""
    chosen = select(settings_of(study), Selection(("Small",), (6,), ("naive",), (1,)))
    dict(run(chosen, places, folder, note=lambda _: None))
    with pytest.raises(InputError, match=r"study\.missing\.draws has no seed"):
        examine("Small-6-naive-1", study, places, folder)
