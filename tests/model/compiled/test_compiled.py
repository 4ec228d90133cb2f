"""The compiler's cache, and the launch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numba
import pytest
import torch

from s2tx.model import compiled


def double(x: float) -> float:
    return x + x


@pytest.mark.parametrize(("sources", "hits"), [("same", 1), ("changed", 0)])
def test_what_was_compiled_is_used_until_the_sources_change(
    sources: str, hits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an upgrade, a kernel with an old helper inlined would compute the old thing."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiled, "_sources", lambda _: "same")
    compiled.compiled(numba.float64)(double)
    monkeypatch.setattr(compiled, "_sources", lambda _: sources)
    again: Any = compiled.compiled(numba.float64)(double)
    assert sum(again.stats.cache_hits.values()) == hits
    assert again(2.0) == 4.0


def test_the_sources_are_the_function_s_file_and_this_package(tmp_path: Path) -> None:
    """Both hold what ends up in the machine code."""
    file = tmp_path / "kernel.py"
    file.write_text("a = 1")
    before = compiled._sources.__wrapped__(str(file))
    file.write_text("a = 2")
    assert compiled._sources.__wrapped__(str(file)) != before


def test_no_folder_to_cache_in_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only installation compiles in each process instead of failing at import."""
    tried: list[bool] = []

    def njit(*_: Any, cache: bool = False, **__: Any) -> Any:
        tried.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(numba, "njit", njit)
    assert compiled.compiled()(abs) is abs
    assert tried == [True, False]


def count(done: Any, first: int, last: int) -> None:
    for task in range(first, last):
        done[task] += 1


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("tasks", [0, 1, 5, 64])
def test_every_task_is_done_once(threads: int, tasks: int) -> None:
    """A share left out or done twice would be a wrong sum."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    done = torch.zeros(tasks)
    try:
        compiled.share(count, tasks, done)
    finally:
        torch.set_num_threads(before)
    assert done.tolist() == [1] * tasks


def test_what_fails_in_a_helper_thread_fails_the_call() -> None:
    """An error lost in a thread would leave memory unwritten."""

    def divide(first: int, last: int) -> float:
        return first / (last - last)

    with pytest.raises(ZeroDivisionError):
        compiled.share(divide, 8)


def test_a_forked_child_has_threads_of_its_own() -> None:
    """A data loader's worker would wait for ever for threads that the fork did not take along."""
    done = torch.zeros(16)
    compiled.share(count, 16, done)
    child = os.fork()
    if child == 0:
        compiled.share(count, 16, done)
        os._exit(0 if done.tolist() == [2] * 16 else 1)
    assert os.waitpid(child, 0)[1] == 0
