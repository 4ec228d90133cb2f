"""What every test may use. Tests need no network and no GPU."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before torch starts its threads: on a busy machine a spinning one costs far more than it saves.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from s2tx.params import Params, load_params

ROOT = Path(__file__).parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests run last, so that a broken build fails early."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(scope="session")
def params() -> Params:
    """The project's own ``params.yaml``."""
    return load_params(ROOT / "params.yaml")


@pytest.fixture(scope="session")
def benchmark_data() -> Path:
    """The folder of the real benchmark files, named by ``S2TX_BENCHMARK_DATA``."""
    folder = os.environ.get("S2TX_BENCHMARK_DATA")
    if not folder:
        pytest.skip("S2TX_BENCHMARK_DATA names no folder with the benchmark files")
    return Path(folder)
