"""The scores of a model and of what it must beat, in lines to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def lines(metrics: Mapping[str, Any], judge: str) -> Iterator[str]:
    """One line a model, S2TX first, from ``metrics.json``; then a warning if another errs less.

    Args:
        judge: ``mse`` or ``mae``, by which the gate decides (``promote.metric``).
    """
    scores: Mapping[str, Mapping[str, float]] = metrics["test"]
    for name, each in scores.items():
        hidden = metrics["test_missing"][name]["mse"]
        figures = f"MSE {each['mse']:.4f}  MAE {each['mae']:.4f}  MSE, inputs missing {hidden:.4f}"
        yield f"{name:15} {figures}"
    own, *others = scores
    better = [name for name in others if scores[name][judge] < scores[own][judge]]
    if better:
        yield f"warning: {own} has a higher {judge.upper()} than {', '.join(better)}"
