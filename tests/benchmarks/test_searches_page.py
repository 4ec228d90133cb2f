"""The page must show every trial, not the ones that please."""

from __future__ import annotations

from typing import Any

from benchmarks import searches_page


def trial(rate: float, value: float | None, confidence: float | None = None) -> dict[str, Any]:
    return {
        "settings": {"model.dropout": rate, "model.revin": True},
        "value": value,
        "confidence": confidence,
        "promoted": value == 0.5,
        "seconds": 61.2,
    }


def test_every_trial_is_shown_and_the_champions_bold() -> None:
    """Protects from a search whose failures and losers vanish."""
    record = {
        "receipt": {"code": {"commit": "0123456789abc"}},
        "recipe": "best",
        "data": "ETTh1",
        "space": {"model.dropout": [0.1, 0.3], "model.revin": [True]},
        "barred": [{"model.dropout": 0.3, "model.revin": True}],
        "trials": [trial(0.1, None), trial(0.3, 0.5), trial(0.1, 0.49, 0.625)],
        "best": {"settings": trial(0.3, 0.5)["settings"], "value": 0.5},
        "budget": 4,
        "horizons": [96, 720],
        "seed": 1,
        "confidence": 0.9,
    }
    page = searches_page.page([record])
    assert "## `best` on ETTh1: 3 of 4 trials, horizon 96, 720, seed 1, confidence 0.9" in page
    assert "Not tried together: `model.dropout` 0.3 and `model.revin` true." in page
    assert "| trial | `model.dropout` | validation MSE | confidence | seconds |" in page
    assert "| 1 | 0.1 | failed | - | 61 |" in page
    assert "| **2** | **0.3** | **0.5000** | **-** | **61** |" in page
    assert "| 3 | 0.1 | 0.4900 | 0.625 | 61 |" in page


def test_searches_that_were_not_run_are_named_even_where_none_was() -> None:
    """Protects the reader from a page that is silent on how the settings were chosen."""
    page = searches_page.page([], ["`best` on ETTh1"])
    assert "Not searched yet: `best` on ETTh1." in page
    assert "Not searched yet" not in searches_page.page([])
