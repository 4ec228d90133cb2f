"""A grid of a few seconds: one small data set that is there, one that is not, three recipes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from s2tx import fingerprint
from s2tx.data import catalog
from s2tx.params import Params
from s2tx.paths import Project
from s2tx.studies.cell import Places
from s2tx.studies.grid import places_of
from s2tx.study_params import (
    BlockParams,
    DrawsParams,
    MissingParams,
    RecipeParams,
    SearchParams,
    StudyParams,
)
from tests.builders import make_params, make_table

DLINEAR = RecipeParams({"name": "dlinear", "kernel": 5}, {"epochs": 3}, {}, {})
NAIVE = RecipeParams({"name": "naive", "season": 1}, {}, {}, {})
S2TX = RecipeParams({"dropout": 0.0}, {"epochs": 1, "stride": 8}, {"short_look_back": 12}, {})

SEARCH = SearchParams(
    recipe="dlinear",
    data_sets=("Small",),
    trials=5,
    horizons=(4, 6),
    seed=1,
    space={"train.learning_rate": (1e-5, 0.003, 0.01), "model.kernel": (3, 5)},
    barred=(),
    confidence=0.9,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the data: ``Small`` is in it, ``Gone`` is not; both are in the catalog."""
    place = tmp_path / "data files"
    place.mkdir()
    make_table(rows=900).frame().to_csv(place / "small.csv", index=False)
    sha256 = fingerprint.of_file(place / "small.csv")

    def entry(name: str) -> catalog.Entry:
        file = f"{name.lower()}.csv"
        address = (f"https://example.org/{file}",)
        return catalog.Entry(
            name, address, sha256, file, 900, 3, "1h", "ratio", "positional", "none", "a test"
        )

    monkeypatch.setattr(catalog, "ENTRIES", (entry("Small"), entry("Gone")))
    return place


@pytest.fixture
def study(params: Params) -> Params:
    """Small params on the CPU whose grid has 22 cells."""
    small = make_params(params)
    runtime = replace(small.runtime, device="cpu", scan="reference", layers="reference")
    return replace(
        small,
        runtime=runtime,
        study=StudyParams(
            data_sets=("Small", "Gone"),
            horizons=(6, 4),
            seeds=(1, 2),
            first=(BlockParams(("Small",), (4,), ("dlinear", "naive"), 2),),
            compared=("naive", "dlinear", "s2tx"),
            recipes={"naive": NAIVE, "dlinear": DLINEAR, "s2tx": S2TX},
            searches=(SEARCH,),
            missing=MissingParams(1, 6, (), (), DrawsParams((), (), ()), (), (), ()),
        ),
    )


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return places_of(Project(tmp_path / "project"))
