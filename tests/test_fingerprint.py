"""The identity of a run must change with what matters, and with nothing else."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

from s2tx import fingerprint as identity
from s2tx.params import Params
from s2tx.training.train import fingerprint
from tests.builders import make_params, make_table


def test_a_run_is_known_by_data_and_params_and_not_by_the_machine(params: Params) -> None:
    """Protects MLflow from two runs for one, and the checkpoint from resuming the wrong run."""
    small = make_params(params)
    table = make_table()

    def mark(some: Params, data: object = table) -> str:
        return fingerprint(data, some.model, some.train, some)  # type: ignore[arg-type]

    same = mark(small)
    assert mark(replace(small, runtime=replace(small.runtime, threads=1))) == same
    assert mark(replace(small, promote=replace(small.promote, seed=99))) == same
    assert mark(replace(small, inject=replace(small.inject, rate=0.1))) == same
    assert mark(replace(small, validate=replace(small.validate, max_missing=0.9))) == same
    assert mark(small, make_table(seed=1)) != same
    other_step = replace(table, card=replace(table.card, step="2h"))
    assert mark(small, other_step) != same
    for section, field, value in (
        ("train", "epochs", 9),
        ("model", "dropout", 0.9),
        ("window", "horizon", 7),
        ("validate", "sentinels", (-1.0,)),
        ("inject", "train", True),
    ):
        other = replace(small, **{section: replace(getattr(small, section), **{field: value})})
        assert mark(other) != same, (section, field)


def test_order_of_keys_does_not_matter() -> None:
    """Protects the identity from the order in which a file was written."""
    assert identity.of_json({"a": 1, "b": 2}) == identity.of_json({"b": 2, "a": 1})
    assert identity.of_json({"a": 1}) != identity.of_json({"a": 2})


def test_code_counts_and_caches_do_not() -> None:
    """Protects from a fingerprint that ignores the code, or that changes with a .pyc."""
    before = identity.of_code(["model"])
    assert before != identity.of_code(["training"])
    assert before == identity.of_code(["model"])


def test_commit_and_dirt_are_told(tmp_path: Path) -> None:
    """Protects the receipt from naming a commit whose files were changed."""
    assert identity.git_commit(tmp_path) is None
    for words in (
        ["init", "-q"],
        ["config", "user.email", "a@b.c"],
        ["config", "user.name", "a"],
        ["commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    commit = identity.git_commit(tmp_path)
    assert commit is not None
    assert len(commit) == 40
    (tmp_path / "file").write_text("x")
    subprocess.run(["git", "-C", str(tmp_path), "add", "file"], check=True)
    assert identity.git_commit(tmp_path) == commit + "+dirty"
