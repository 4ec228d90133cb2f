"""Figures in the README must be those of the results files."""

from __future__ import annotations

import json

from benchmarks.tables import README, insert, render
from tests.conftest import ROOT


def test_the_readme_shows_the_results_files() -> None:
    """Protects from a figure typed by hand, or left behind by a new run."""
    page = README.read_text(encoding="utf-8")
    assert insert(page, render()) == page


def test_every_results_file_has_a_receipt() -> None:
    """Protects from a figure of unknown origin."""
    files = list((ROOT / "results").glob("*.json"))
    assert files
    for file in files:
        receipt = json.loads(file.read_text(encoding="utf-8"))["receipt"]
        assert receipt["code"], file
        assert receipt["machine"], file
