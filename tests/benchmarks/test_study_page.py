"""The page must show every trial and every measure, not the ones that please."""

from __future__ import annotations

from typing import Any

from benchmarks import study_page


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
    page = "\n".join(study_page.search([record]))
    assert "### `best` on ETTh1: 3 of 4 trials, horizon 96, 720, seed 1, confidence 0.9" in page
    assert "Not tried together: `model.dropout` 0.3 and `model.revin` true." in page
    assert "| trial | `model.dropout` | validation MSE | confidence | seconds |" in page
    assert "| 1 | 0.1 | failed | - | 61 |" in page
    assert "| **2** | **0.3** | **0.5000** | **-** | **61** |" in page
    assert "| 3 | 0.1 | 0.4900 | 0.625 | 61 |" in page


def test_the_context_is_shown_by_what_changes_without_it() -> None:
    """Protects the answer from being more than what was measured."""
    cell = {"data": "ETTh1", "horizon": 96, "recipe": "paper", "seed": 1}
    blocks = [
        {"local": 0.2, "cross": 0.1, "feed_forward": 0.4},
        {"local": 0.4, "cross": 0.3, "feed_forward": 0.4},
    ]
    record = {
        "receipt": {"command": "python -m s2tx.studies.context --cells ETTh1-96-paper-1"},
        "cells": [
            {
                "cell": cell,
                "test_mse": {"intact": 0.4, "cross_shuffled": 0.402, "cross_averaged": 0.4},
                "update_shares": blocks,
                "gradient_shares": {"cross": 0.25, "head": 0.75},
            },
            {
                "cell": cell | {"recipe": "best"},
                "test_mse": {"intact": 0.4, "cross_shuffled": 0.41, "head_shuffled": 0.44},
                "update_shares": blocks,
                "gradient_shares": {"head": 1.0},
            },
        ],
    }
    page = "\n".join(study_page.context(record))
    assert "`python -m s2tx.studies.context`" in page
    assert "| ETTh1-96-paper-1 | 0.4000 | +0.50% | +0.00% |  |" in page
    assert "| ETTh1-96-best-1 | 0.4000 | +2.50% |  | +10.00% |" in page
    assert "cells by +0.5% to +2.5%; the mean of its tokens by +0.0% to +0.0%" in page
    assert "| ETTh1-96-paper-1 | 0.300 | 0.200 | 0.400 | 25.0% | 75.0% |" in page
    assert "| ETTh1-96-best-1 | 0.300 | 0.200 | 0.400 |  | 100.0% |" in page


def test_cells_of_earlier_code_are_named_by_their_commit() -> None:
    """Protects the reader from taking them for the present code's."""
    cells = {
        "a": {"earlier_code": True, "commit": "0123456789"},
        "b": {"earlier_code": False, "commit": "fedcba"},
        "c": {"earlier_code": True, "commit": "0123456789"},
        "d": {"earlier_code": True, "commit": "0123456789+dirty"},
        "e": {"earlier_code": True, "commit": None},
    }
    assert "- `01234567` (2): a, c" in "\n".join(study_page.earlier(cells))
    assert "- `01234567 with changes` (1): d" in "\n".join(study_page.earlier(cells))
    assert "- `unknown` (1): e" in "\n".join(study_page.earlier(cells))
    assert "every cell above is of the present code" in "\n".join(study_page.earlier({}))
