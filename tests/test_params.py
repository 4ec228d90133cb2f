"""Settings are the user's input: a fault must name the file, the dotted key and the cure."""

from __future__ import annotations

import copy
import dataclasses
import math
import re
from pathlib import Path

import pytest
import yaml

from s2tx.errors import InputError
from s2tx.model.compiled.recurrence import CHUNK
from s2tx.params import Params, as_dict, load_params
from s2tx.specs import MAX_TAPS
from s2tx.training.fit import _permutation
from tests.conftest import ROOT

TREE = yaml.safe_load((ROOT / "params.yaml").read_text())
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # in C, where the wheel has it: 165 files


def leaves(tree: dict, prefix: str = "") -> list[str]:
    keys = []
    for key, value in tree.items():
        deeper = isinstance(value, dict) and value
        keys += leaves(value, f"{prefix}{key}.") if deeper else [f"{prefix}{key}"]
    return keys


def changed(tmp_path: Path, key: str, value: object = None, *, drop: bool = False) -> Path:
    tree = copy.deepcopy(TREE)
    node = tree
    *sections, last = key.split(".")
    for section in sections:
        node = node[section]
    if drop:
        del node[last]
    else:
        node[last] = value
    path = tmp_path / "params.yaml"
    path.write_text(yaml.dump(tree, Dumper=DUMPER))
    return path


# What a recipe leaves out is the section's own (see tests/studies/test_settings.py).
_FREE = (".recipes.",)


@pytest.mark.parametrize("key", [key for key in leaves(TREE) if not any(f in key for f in _FREE)])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    """Protects from defaults hidden in code."""
    path = changed(tmp_path, key, drop=True)
    with pytest.raises(InputError, match=re.escape(f"{key} is missing")) as caught:
        load_params(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "key",
    ["train.epoch", "extra", "baseline.train.momentum", "baseline.network.width", "study.seed"],
)
def test_an_unknown_key_is_named(tmp_path: Path, key: str) -> None:
    """Protects from a typo that silently does nothing."""
    with pytest.raises(InputError, match=re.escape(f"{key} is not a setting")):
        load_params(changed(tmp_path, key, 3))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train.epochs", "6"),
        ("train.epochs", 2.5),
        ("train.epochs", True),
        ("train.epochs", 0),
        ("train.patience", 2),  # beside select: last
        ("train.seed", -1),
        ("train.seed", 2**46),
        ("train.learning_rate", -1.0),
        ("train.learning_rate", math.inf),
        ("train.clip_norm", math.inf),
        ("baseline.train.weight_decay", math.inf),
        ("train.loss", "rmse"),
        ("data.ratio", [0.7, 0.3]),
        ("data.ratio", [0.7, 0.2, 0.2]),
        ("inject.rate", 1.0),
        ("inject.seed", -1),
        ("inject.seed", 2**46),
        ("window.short_look_back", 10_000),
        ("model.heads", 5),
        ("model.conv", 33),
        ("model.global_patches", 12),
        ("model.cross_variate", "yes"),
        ("model.local_stride", 17),
        ("baseline.network.kernel", 24),
        ("baseline.train.seed", -1),
        ("baseline.network.name", "oracle"),
        ("baseline.network", {"name": "naive", "season": 24}),
        ("baseline.network", {"name": "naive", "season": None}),
        ("study.seeds", []),
        ("study.seeds", [2**46]),
        ("study.missing.seed", -1),
        ("study.missing.draws.seeds", [7, -1]),
        ("study.horizons", [0]),
        ("study.first", [{"data_sets": ["ETTh1"]}]),
        ("study.recipes", {"best": {"model": {"width": [16]}}}),
        ("evaluate.season", 673),  # a longer one than the look-back
        ("ingest.source", " "),
        ("ingest.name", ""),
        ("ingest", {**TREE["ingest"], "source": "new.csv", "append": True}),  # to which data set
        ("evaluate.missing_rates", [0.4, 0.2]),
        ("evaluate.missing_rates", [0.2, 1.0]),
        ("evaluate.missing_rates", [0.125]),
        ("promote.confidence", 1.0),
        ("promote.seed", -1),
        ("promote.max_missing_rise", -0.1),
        ("promote.max_missing_rise", "0.2"),
        ("runtime.device", "tpu"),
        ("validate.physical_ranges", {"OT": [5, 1]}),
    ],
)
def test_a_bad_value_is_named(tmp_path: Path, key: str, value: object) -> None:
    """Protects from a wrong type or a value out of range reaching the work."""
    with pytest.raises(InputError) as caught:
        load_params(changed(tmp_path, key, value))
    named = {key, "model.global_stride" if key == "model.global_patches" else key}
    assert any(name in str(caught.value) for name in named), str(caught.value)


def test_the_largest_seed_shuffles_the_last_epoch(tmp_path: Path) -> None:
    """Protects from a seed that is read, and overflows in the middle of a training."""
    largest = load_params(changed(tmp_path, "train.seed", 2**46 - 1)).train.seed
    assert len(_permutation(3, largest, 10**6)) == 3


def test_the_convolution_may_have_what_the_kernels_hold() -> None:
    """Protects from a setting that is read, and then refused at the first step of a training."""
    assert MAX_TAPS == CHUNK


@pytest.mark.parametrize("text", ["", "- a\n", "a: [", "\xff"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    """Protects from a traceback of the YAML library."""
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=re.escape(str(path))):
        load_params(path)
    with pytest.raises(InputError, match="does not exist"):
        load_params(tmp_path / "nowhere.yaml")


def test_sections_survive_the_way_to_json_and_cannot_be_changed(params: Params) -> None:
    """Protects the fingerprint, and every function from another's change of the settings."""
    assert as_dict(params)["train"] == TREE["train"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        params.train.epochs = 7  # type: ignore[misc]
