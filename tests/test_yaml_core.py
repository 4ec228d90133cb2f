"""``params.yaml`` has two readers, DVC and this package: they must see the same settings."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from s2tx import yaml_core
from s2tx.errors import InputError
from s2tx.params import load_params
from tests.conftest import ROOT

Read = Callable[[str], object]


@pytest.fixture(scope="session")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    path = tmp_path_factory.mktemp("yaml") / "params.yaml"

    def of(text: str) -> object:
        path.write_text(text, encoding="utf-8")
        return yaml_core.read(path)

    return of


@given(
    st.floats(allow_nan=False)
    | st.integers(-(2**70), 2**70)
    | st.booleans()
    | st.none()
    | st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.just(" "))
    | st.sampled_from(["1e-3", "0140", "0x1", "yes", "on", "1:30", "1_0", "2024-01-01", "~", "<<"])
)
def test_what_dvc_writes_reads_back(read: Read, value: object) -> None:
    """Protects ``dvc exp run -S``, which writes 2e-05 where PyYAML would write 2.0e-05."""
    stream = io.StringIO()
    YAML().dump({"key": [value]}, stream)
    back = read(stream.getvalue())
    assert back == {"key": [value]}
    assert type(back["key"][0]) is type(value)  # type: ignore[index]


def test_numbers_are_those_of_the_core_schema(read: Read) -> None:
    """Protects from text in the place of 1e-3, and from a number in the place of a time."""
    written = "a: [1e-3, 1E+2, .5, 1., 0140, 0o17, 0x1f, +1, -.INF, 1:30, yes, 1_000, 2024-01-01]"
    values = [1e-3, 1e2, 0.5, 1.0, 140, 15, 31, 1, -math.inf, "1:30", "yes", "1_000", "2024-01-01"]
    assert read(written) == {"a": values}
    assert math.isnan(read("a: .nan")["a"])  # type: ignore[index]


def test_a_rate_of_dvc_is_a_number(tmp_path: Path) -> None:
    """Protects the settings from what DVC writes into them, and from a key that is there twice."""
    path = tmp_path / "params.yaml"
    tree = YAML().load((ROOT / "params.yaml").read_text())
    tree["train"]["learning_rate"] = 0.00002
    with path.open("w") as stream:
        YAML().dump(tree, stream)
    assert load_params(path).train.learning_rate == 2e-5
    path.write_text("train: {seed: 1}\ntrain: {seed: 2}\n")
    with pytest.raises(InputError, match="train twice"):
        load_params(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: {b: 1}\nc: {b: 1, d: 2,\n  'b': 3}\n", "the key b twice\n.*line 3"),
        ("a: &f [*f]\n", "a part that holds itself\n.*line 1"),
        ("a: 1\nb: &f {c: {d: *f}}\n", "a part that holds itself\n.*line 2"),
        ("a: 1\n? [b]\n: 2\n", "a key that is no text.*\n.*line 2"),
        ("!!binary YQ==: 2\n", "a key that is no text"),
        ("a: !!int x\n", "is not valid YAML"),
        ("a: !!bool x\n", "is not valid YAML"),
        ("a: 1\nb: !!timestamp x\n", "the tag tag:yaml.org,2002:timestamp, .*\n.*line 2"),
    ],
)
def test_what_nobody_means_is_refused(read: Read, text: str, told: str) -> None:
    """Protects from a setting that is silently another's, and from a traceback."""
    with pytest.raises(InputError, match=told):
        read(text)


def test_merge_keys_bring_what_is_not_there(read: Read) -> None:
    """Protects the recipes: what a merge key brings may be there already, at any depth."""
    text = "a: &a {x: 1, y: 2}\nb: &b {<<: *a, y: 3}\nc: {y: 4, <<: [*b, *a]}\nd: [*b, *b]\n"
    b = {"x": 1, "y": 3}
    assert read(text) == {"a": {"x": 1, "y": 2}, "b": b, "c": {"x": 1, "y": 4}, "d": [b, b]}
