"""Who errs less than the model is said, and nobody is accused who does not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from s2tx.evaluation.scoreboard import lines

MODELS = ("s2tx", "dlinear", "seasonal_naive", "repeat_last")


@given(errors=st.tuples(*[st.floats(0.0, 1e3)] * len(MODELS)))
def test_a_baseline_that_errs_less_is_named(errors: tuple[float, ...]) -> None:
    """Protects from a model that is trusted every night and worth less than a repeated day."""
    scores = {name: {"mse": mse, "mae": 0.5} for name, mse in zip(MODELS, errors, strict=True)}
    told = list(lines({"test": scores, "test_missing": scores}))
    better = [name for name in MODELS if scores[name]["mse"] < scores["s2tx"]["mse"]]
    assert [line.split()[0] for line in told[: len(MODELS)]] == list(MODELS)
    warning = f"warning: s2tx has a higher MSE than {', '.join(better)}"
    assert told[len(MODELS) :] == ([warning] if better else [])
