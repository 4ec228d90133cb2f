"""Plain data must become exactly what the types say, or be told of every fault at once."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2tx.typed import typed


@dataclass(frozen=True)
class Cat:
    name: Literal["cat"]
    lives: int


@dataclass(frozen=True)
class Dog:
    name: Literal["dog"]
    weight: float

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise ValueError(f"weight is {self.weight}: give more than 0")


@dataclass(frozen=True)
class House:
    pet: Cat | Dog
    rooms: tuple[int, ...]
    door: tuple[float, float]
    owners: dict[str, int | None]
    lit: bool


HOUSE: dict[str, Any] = {
    "pet": {"name": "dog", "weight": 3},
    "rooms": [1, 2],
    "door": [0.9, 2],
    "owners": {"ada": 1, "bob": None},
    "lit": True,
}


def test_sections_lists_mappings_and_unions_become_what_they_are() -> None:
    """Protects every function from a list where it wants a tuple, or an int where it wants a
    float."""
    house = typed(House, HOUSE, "")
    assert house == House(Dog("dog", 3.0), (1, 2), (0.9, 2.0), {"ada": 1, "bob": None}, True)
    assert type(house.pet.weight) is type(house.door[1]) is float


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("pet", {"name": "dog", "weight": -1}, "pet.weight is -1.0: give more than 0"),
        ("pet", {"name": "dog", "lives": 9}, "pet.lives is not a setting"),
        ("pet", {"name": "cow"}, "pet.name is 'cow': give one of 'cat', 'dog'"),
        ("pet", {"lives": 9}, "pet.name is missing"),
        ("pet", {"name": ["dog"]}, "pet.name is ['dog']: give one of 'cat', 'dog'"),
        ("owners", {"ada": {"age": 3}}, "owners.ada is {'age': 3}: give a whole number or null"),
        ("door", [10**400, 1], "0: give a number"),
        ("pet", "dog", "pet is 'dog': give a section"),
        ("rooms", [1, "2"], "rooms.1 is '2': give a whole number"),
        ("rooms", [True], "rooms.0 is True: give a whole number"),
        ("rooms", 3, "rooms is 3: give a list"),
        ("door", [1.0], "door is [1.0]: give a list of 2"),
        ("owners", {"ada": "x"}, "owners.ada is 'x': give a whole number or null"),
        ("owners", {dt.date(2024, 1, 1): 1}, "owners has the key 2024-01-01, which is no text"),
        ("owners", [], "owners is []: give a mapping"),
        ("lit", 1, "lit is 1: give true or false"),
        ("lit", None, "lit is None: give true or false"),
        ("roof", 1, "roof is not a setting (its value is 1)"),
    ],
)
def test_a_fault_is_named_by_its_dotted_key(key: str, value: Any, told: str) -> None:
    """Protects from a wrong type that reaches the work, and from a message that does not help."""
    with pytest.raises(ValueError, match=r".*") as caught:
        typed(House, HOUSE | {key: value}, "")
    assert told in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    """Protects whoever mends a file from one run for each fault."""
    wrong = {**HOUSE, "lit": 1, "rooms": ["a", 2, "b"], "roof": 1}
    del wrong["door"]
    with pytest.raises(ValueError, match="roof") as caught:
        typed(House, wrong, "house")
    told = str(caught.value).split("; ")
    assert [each.split()[0] for each in told] == [
        "house.roof",
        "house.door",
        "house.rooms.0",
        "house.rooms.2",
        "house.lit",
    ]


@given(st.dictionaries(st.text(), st.none() | st.integers()))
def test_what_fits_is_kept_as_it_is(owners: dict[str, int | None]) -> None:
    """Protects values from being read as something else than they are."""
    assert typed(dict[str, int | None], owners, "owners") == owners
