"""Protects the catalog: names found as people write them, facts as published."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from s2tx.data import catalog
from s2tx.data.times import canonical_step
from s2tx.errors import InputError
from tests.data.test_demo import SHA256


def test_every_benchmark_set_is_known() -> None:
    """A set that drops out of the catalog can no longer be fetched by name."""
    assert set(catalog.names()) == {
        *("ETTh1", "ETTh2", "ETTm1", "ETTm2", "Weather", "ECL", "Traffic", "Exchange", "Illness"),
        "substation-demo",
    }


@pytest.mark.parametrize("name", ["etth1", "ETTH1", "EttH1"])
def test_case_does_not_matter(name: str) -> None:
    """Typing `s2tx ingest etth1` must work."""
    assert catalog.find(name).name == "ETTh1"


def test_an_unknown_name_lists_the_known_ones() -> None:
    """A typo must not be answered with a stack trace."""
    with pytest.raises(InputError, match=r"'ETTh3'.*ETTh1, ETTh2.*substation-demo"):
        catalog.find("ETTh3")


@pytest.mark.parametrize("entry", catalog.ENTRIES, ids=lambda entry: entry.name)
def test_entries_are_sound(entry: catalog.Entry) -> None:
    """An address without encryption, a short hash or an odd step would be found only in use."""
    assert all(address.startswith("https://") for address in entry.addresses)
    assert entry.synthetic or (entry.sha256 is not None and len(entry.sha256) == 64)
    assert canonical_step(entry.step) == entry.step
    assert entry.licence
    assert entry.irregular == ("insert" if entry.synthetic else "positional")
    assert (entry.split == "ett") == entry.name.startswith("ETT")


def test_a_known_file_is_recognised_under_any_name() -> None:
    """ETTh1 brought from disk keeps its own split."""
    entry = catalog.find("ETTh1")
    assert catalog.recognise(entry.sha256 or "") is entry
    assert catalog.recognise(SHA256) is None


@pytest.mark.parametrize("name", ["ETTh1", "ETTh2", "ETTm1", "Weather", "Exchange", "Illness"])
def test_the_published_files_are_as_declared(name: str, benchmark_data: Path) -> None:
    """Rows, variates and hash of the catalog must be those of the real files."""
    from s2tx import fingerprint
    from s2tx.data.read import read_raw

    entry = catalog.find(name)
    path = benchmark_data / entry.file
    raw = read_raw(path)
    assert fingerprint.of_file(path) == entry.sha256
    assert (len(raw.frame), len(raw.columns)) == (entry.rows, entry.variates)
    assert pd.Timedelta(raw.card.step) == pd.Timedelta(entry.step)
