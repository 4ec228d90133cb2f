"""The fan-out must run the grid's own cells, in processes of their own, and hide no failure."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from prefect.logging import disable_run_logger

from flows import benchmark
from s2tx import child
from s2tx.errors import S2TXError
from tests.conftest import ROOT


class Future:
    def __init__(self, end: Any) -> None:
        self.end = end

        self.cancelled = False
        self.wrapped_future = self

    def wait(self) -> None:
        if isinstance(self.end, KeyboardInterrupt):
            raise self.end

    def cancel(self) -> None:
        self.cancelled = True

    def result(self, raise_on_failure: bool) -> Any:
        assert not raise_on_failure
        return self.end


class Cells:
    """Stands for the task: remembers what was submitted."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def submit(self, root: str, name: str, data_dir: str | None) -> Future:
        assert (root, data_dir) == (self.root, "files")
        self.names.append(name)
        return Future(S2TXError("the loss is nan") if "best" in name else f"{name}: done")

    root = ""


def test_the_cells_of_the_grid_are_fanned_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects from a second list of cells, and a failed one from stopping or vanishing."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    cells = Cells()
    cells.root = str(tmp_path)
    monkeypatch.setattr(benchmark, "cell", cells)
    absent = "ETTh1-96-dlinear-2025"
    monkeypatch.setattr(benchmark, "read", lambda _, each: each.cell.name != absent or None)
    unfinished = benchmark.benchmark.fn(
        "files", ["ETTh1"], [96], ["dlinear", "best"], root=str(tmp_path)
    )
    assert cells.names[:2] == ["ETTh1-96-dlinear-2024", "ETTh1-96-best-2024"]
    assert set(unfinished) == {absent, *(name for name in cells.names if "best" in name)}
    assert unfinished[absent] == f"{absent}: done"  # its last words, and no record of it
    grid = json.loads((tmp_path / "results" / "grid.json").read_text())
    assert grid["not_run"]["ETTh1-96-best-2024"] == "the loss is nan"
    assert grid["not_run"]["ETTh1-96-paper-2024"] == "not run yet"


@pytest.mark.parametrize(("unfinished", "code"), [({}, 0), ({"a-96-b-1": "no such file"}, 1)])
def test_an_unfinished_cell_is_told_by_the_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    unfinished: dict[str, str],
    code: int,
) -> None:
    """Protects whoever starts the grid from a script from taking a part of it for the whole."""

    class Flow:
        def with_options(self, **_: object) -> Any:
            return lambda *_: unfinished

    monkeypatch.setattr(benchmark, "benchmark", Flow())
    assert benchmark.main([]) == code
    assert ("a-96-b-1: no such file" in capsys.readouterr().err) == bool(code)


def test_no_worker_is_the_users_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """Protects from a traceback of the library that would run the cells."""
    with pytest.raises(SystemExit) as end:
        benchmark.main(["--workers", "0"])
    assert end.value.code == 2
    assert "--workers is 0: give 1 or more" in capsys.readouterr().err


def test_told_to_stop_no_cell_lives_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the machine from trainings that nobody waits for any more."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    runs: list[Future] = []
    calls: list[str] = []

    class Interrupted:
        def submit(self, *_: object) -> Future:
            runs.append(Future(KeyboardInterrupt()))
            return runs[-1]

    def end_all() -> None:
        calls.append("end_all")
        assert all(run.cancelled for run in runs)  # or the next in the queue would begin

    monkeypatch.setattr(benchmark, "cell", Interrupted())
    monkeypatch.setattr(child, "end_all", end_all)
    with pytest.raises(KeyboardInterrupt):
        benchmark.benchmark.fn(None, ["ETTh1"], [96], ["dlinear"], root=str(tmp_path))
    assert calls == ["end_all"]


@pytest.mark.slow
def test_a_cell_that_cannot_run_fails_with_its_reason(tmp_path: Path) -> None:
    """Protects the operator from a task that is green and did nothing."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    with disable_run_logger(), pytest.raises(S2TXError, match="has no cell ETTh1-96-oracle-1"):
        benchmark.cell.fn(str(tmp_path), "ETTh1-96-oracle-1", None)
