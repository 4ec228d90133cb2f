"""Who errs less than the model is said, and nobody is accused who does not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from s2tx.evaluation.scoreboard import lines

MODELS = ("s2tx", "dlinear", "seasonal_naive", "repeat_last")


@given(
    errors=st.tuples(*[st.floats(0.0, 1e3)] * len(MODELS)), judge=st.sampled_from(["mse", "mae"])
)
def test_a_baseline_that_errs_less_is_named(errors: tuple[float, ...], judge: str) -> None:
    """Protects from a model that is trusted every night and worth less than a repeated day, and
    from a warning that contradicts the gate."""
    even = {"mse": 0.5, "mae": 0.5}
    scores = {name: even | {judge: error} for name, error in zip(MODELS, errors, strict=True)}
    told = list(lines({"test": scores, "test_missing": scores}, judge))
    better = [name for name in MODELS if scores[name][judge] < scores["s2tx"][judge]]
    assert [line.split()[0] for line in told[: len(MODELS)]] == list(MODELS)
    warning = f"warning: s2tx has a higher {judge.upper()} than {', '.join(better)}"
    assert told[len(MODELS) :] == ([warning] if better else [])
