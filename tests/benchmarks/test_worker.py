"""A process of its own answers with times and memory, or with the reason why not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from benchmarks.worker import Worker, race_workers

MEGABYTE = 2**20


def hold(megabytes: int) -> Callable[[], object]:
    """A call that fills so much memory and lets it go."""
    return lambda: torch.ones(megabytes * MEGABYTE // 4)


def absent() -> Callable[[], object]:
    raise ImportError("not there: install it")


def die() -> Callable[[], object]:
    raise SystemExit(3)


@pytest.mark.slow
def test_peak_memory_is_that_of_the_call() -> None:
    workers = {
        "small": Worker("tests.benchmarks.test_worker:hold", megabytes=8),
        "large": Worker("tests.benchmarks.test_worker:hold", megabytes=256),
        "absent": Worker("tests.benchmarks.test_worker:absent"),
        "dead": Worker("tests.benchmarks.test_worker:die"),
    }
    times = race_workers(workers, 2)
    memory = {name: worker.close() for name, worker in workers.items()}
    assert {name: len(each) for name, each in times.items()} == {"small": 2, "large": 2}
    assert memory["small"] is not None
    assert memory["large"] is not None
    assert 256 <= memory["large"].extra_bytes / MEGABYTE < 300
    assert memory["small"].extra_bytes / MEGABYTE < 60
    assert workers["absent"].not_run == "not there: install it"
    assert "code 3" in str(workers["dead"].not_run)
    assert memory["dead"] is None
