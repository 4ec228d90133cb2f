"""``dvc.yaml`` must list what a stage really reads, or DVC would call stale results fresh."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import PurePosixPath

import pytest
import yaml
from dvc_render.vega_templates import TEMPLATES

from s2tx.params import Params
from s2tx.training.train import code_of
from tests.builders import specs
from tests.conftest import ROOT

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
ENTRY = {
    "validate": "from s2tx.data.validate import run_validate",
    "inject": "from s2tx.data.missing import run_inject",
    "train": "from s2tx.training.train import run_train; from s2tx.model import s2tx, scan",
    "baseline": "from s2tx.training.train import run_baseline; from s2tx.baselines import "
    "itransformer, linear, naive, patchtst, sst",
    "evaluate": "from s2tx.evaluation.evaluate import run_evaluate; from s2tx.model import s2tx",
    "report": "from s2tx.evaluation.report import run_report",
}
# Settings, places, messages and identity: they carry values, which DVC tracks as params and files.
GROUND = {
    "s2tx",
    "s2tx.params",
    "s2tx.typed",
    "s2tx.yaml_core",
    "s2tx.specs",
    "s2tx.study_params",
    "s2tx.paths",
    "s2tx.errors",
    "s2tx.fingerprint",
    "s2tx.data",
}


NETWORKS = {
    "s2tx": "s2tx.model.s2tx",
    "sst": "s2tx.baselines.sst",
    "patchtst": "s2tx.baselines.patchtst",
    "itransformer": "s2tx.baselines.itransformer",
    "dlinear": "s2tx.baselines.linear",
    "naive": "s2tx.baselines.naive",
}
STATEMENTS = ENTRY | {
    name: f"import s2tx.training.train; import {module}" for name, module in NETWORKS.items()
}


@pytest.fixture(scope="module")
def modules() -> dict[str, set[str]]:
    """What of the package each statement imports, as if it were the first to import any of it.

    One process for all: what takes long to import is not the package's own.
    """
    code = """
import json, sys
for name, statement in json.load(sys.stdin).items():
    for module in [each for each in sys.modules if each.split(".")[0] == "s2tx"]:
        del sys.modules[module]
    exec(statement, {})
    print(name, *(each for each in sys.modules if each.split(".")[0] == "s2tx"))
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(STATEMENTS),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert run.returncode == 0, run.stderr
    lines = map(str.split, run.stdout.splitlines())
    return {name: set(imported) for name, *imported in lines}


def is_listed(module: str, deps: list[str]) -> bool:
    path = PurePosixPath(*module.split("."))
    own = {str(path), f"{path}.py"} | {str(parent) for parent in path.parents}
    return bool(own & set(deps))


@pytest.mark.slow
@pytest.mark.parametrize("stage", ENTRY)
def test_every_module_that_a_stage_imports_is_a_dependency(
    stage: str, modules: dict[str, set[str]]
) -> None:
    """Protects from changed code that leaves a stage up to date."""
    unlisted = {
        module for module in modules[stage] - GROUND if not is_listed(module, STAGES[stage]["deps"])
    }
    assert unlisted == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_module_of_a_network_is_in_its_fingerprint(
    name: str, params: Params, modules: dict[str, set[str]]
) -> None:
    """Protects from changed code that leaves a training, or a cell of the grid, finished."""
    listed = [f"s2tx/{place}" for place in code_of(specs(params)[name])]
    rooms = {"s2tx.model", "s2tx.baselines"}  # whose own modules hold a docstring
    unlisted = {each for each in modules[name] - GROUND - rooms if not is_listed(each, listed)}
    assert unlisted == set()


def test_every_stage_is_tested_here_and_called_by_its_name() -> None:
    """Protects a new stage from being forgotten above."""
    assert set(ENTRY) == set(STAGES)
    assert {name: stage["cmd"] for name, stage in STAGES.items()} == {
        name: f"s2tx {name}" for name in STAGES
    }


def test_no_stage_depends_on_the_machine() -> None:
    """Protects from stale results after switching from CPU to GPU."""
    listed = [param for stage in STAGES.values() for param in stage.get("params", [])]
    assert not [
        param for param in listed if param.split(".")[0] in {"runtime", "promote", "ingest"}
    ]


def test_templates_of_plots_exist() -> None:
    """Protects ``dvc plots`` from a renamed template, which DVC would miss only when it draws."""
    plots = [each for stage in STAGES.values() for each in stage.get("plots", [])]
    settings = [next(iter(each.values())) for each in plots if isinstance(each, dict)]
    named = {each["template"] for each in settings if "template" in each}
    own = {path.stem for path in (ROOT / ".dvc" / "plots").glob("*.json")}
    assert own
    assert named <= own | {template.DEFAULT_NAME for template in TEMPLATES}


def test_dependencies_exist() -> None:
    """Protects from a renamed file that DVC would miss only at run time."""
    code = {dep for stage in STAGES.values() for dep in stage["deps"] if dep.startswith("s2tx/")}
    assert [dep for dep in code if not (ROOT / dep).exists()] == []


def test_the_fingerprint_covers_the_code_that_dvc_sees(params: Params) -> None:
    """Protects the MLflow run's identity: what makes ``train`` stale makes another run, and
    nothing else does. The baseline stage lists the rooms of whatever any baseline runs."""
    baselines = [spec for spec in specs(params).values() if spec != params.model]
    for stage, trained in (("train", [params.model]), ("baseline", baselines)):
        deps = STAGES[stage]["deps"]
        listed = {dep.removeprefix("s2tx/") for dep in deps if dep.startswith("s2tx/")}
        covered = {place for spec in trained for place in code_of(spec)}
        assert listed == {
            room if (room := place.split("/")[0]) in listed else place for place in covered
        }
