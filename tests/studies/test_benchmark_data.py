"""Any correct loader, split and scorer gives these figures for the last value, repeated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from s2tx.params import Params
from s2tx.studies import cell as one
from s2tx.studies.cell import Places
from s2tx.studies.settings import Cell, resolve

KNOWN = {
    ("ETTh1", 96): (2785, 1.294, 0.713),
    ("ETTh1", 720): (2161, 1.335, 0.755),
    ("ETTh2", 96): (2785, 0.432, 0.422),
    ("ETTh2", 720): (2161, 0.594, 0.519),
    ("ETTm1", 96): (11425, 1.214, 0.665),
    ("ETTm1", 720): (10801, 1.322, 0.729),
    ("Weather", 96): (10444, 0.259, 0.254),
    ("Weather", 720): (9820, 0.465, 0.394),
    ("Exchange", 96): (1422, 0.081, 0.196),
    ("Exchange", 720): (798, 0.810, 0.676),
}


@pytest.mark.slow
@pytest.mark.parametrize(("data", "horizon"), KNOWN)
def test_repeat_last_is_the_fields(
    data: str, horizon: int, params: Params, places: Places, benchmark_data: Path
) -> None:
    """Protects every figure of the grid: rows as published, the field's split, all windows."""
    here = replace(params, runtime=replace(params.runtime, device="cpu"))
    setting = resolve(Cell(data, horizon, "repeat_last", 2024), here)
    table = one.bring(setting.entry, benchmark_data, benchmark_data)
    record = one.run(setting, table, places)
    test = record["test"]
    found = record["receipt"]["windows_scored"], round(test["mse"], 3), round(test["mae"], 3)
    assert found == pytest.approx(KNOWN[data, horizon], abs=0.0011)
