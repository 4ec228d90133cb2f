"""Times must be comparable whatever the machine does meanwhile, and no one may go missing."""

from __future__ import annotations

import math

import pytest

from benchmarks.measure import gather, percentile, plain, race, ratio, summary, target


def test_everyone_runs_in_turn_and_the_order_turns_round() -> None:
    """Protects from a slow spell of the machine that hits one contestant alone."""
    calls: list[str] = []
    names = ("a", "b", "c")
    times = race({name: lambda name=name: calls.append(name) for name in names}, 2, slot=0.0)  # type: ignore[misc]
    assert "".join(calls[-6:]) == "abccba"
    assert {name: len(each) for name, each in times.items()} == dict.fromkeys(names, 2)


def test_a_ratio_is_taken_round_by_round() -> None:
    """A machine that is ten times slower in one round changes no ratio."""
    base = [1.0, 10.0, 1.0]
    assert ratio([2.0, 20.0, 2.0], base) == 2.0
    found = summary({"ours": base, "peer": [2.0, 20.0, 4.0]}, "ours")
    assert found["peer"] == {"median_s": 4.0, "min_s": 2.0, "rounds": 3, "times_ours": 2.0}
    assert found["ours"]["times_ours"] == 1.0


def test_who_cannot_be_built_is_named_with_the_reason() -> None:
    def absent() -> int:
        raise ImportError("no such peer: pip install it")

    assert gather({"here": lambda: 1, "gone": absent}) == (
        {"here": 1},
        {"gone": "no such peer: pip install it"},
    )


def test_a_fault_of_a_peer_is_not_taken_for_its_absence() -> None:
    def broken() -> int:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        gather({"broken": broken})


def test_percentile_counts_values() -> None:
    values = list(range(1, 101))
    assert [percentile(values, share) for share in (0.5, 0.95, 1.0)] == [50, 95, 100]
    assert percentile([7.0], 0.95) == 7.0


def test_a_promise_is_kept_broken_or_not_tested() -> None:
    assert target("", 12.0, 12.0, at_least=True)["met"] is True
    assert target("", 11.0, 10.0, at_least=False)["met"] is False
    assert target("", None, 1.0, at_least=True)["met"] is None
    assert target("", math.nan, 1.0, at_least=True)["met"] is False


def test_a_table_without_rich() -> None:
    assert plain(["", "ms"], [["ours", "7"], ["a peer", "120"]]) == (
        "         ms\nours      7\na peer  120"
    )
