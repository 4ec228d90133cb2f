"""The page must show every measure, not the ones that please."""

from __future__ import annotations

from benchmarks import study_page


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
    assert "- `01234567` with changes (1): d" in "\n".join(study_page.earlier(cells))
    assert "- `unknown` (1): e" in "\n".join(study_page.earlier(cells))
    assert "every cell above is of the present code" in "\n".join(study_page.earlier({}))
