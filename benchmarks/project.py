"""A fresh clone of this project to measure in, so that a benchmark never touches the user's own."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from s2tx import fingerprint
from s2tx.params import ModelParams, Params, RuntimeParams, load_params
from s2tx.paths import write_text
from s2tx.studies.settings import Cell, resolve

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"


@dataclass(frozen=True)
class Clone:
    """A clone of the last commit, in a temporary folder, run with its own code."""

    root: Path

    @classmethod
    @contextlib.contextmanager
    def fresh(cls) -> Iterator[Clone]:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "a clone"
            subprocess.run(["git", "clone", "--quiet", str(ROOT), str(root)], check=True)
            yield cls(root)

    @property
    def environment(self) -> dict[str, str]:
        paths = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
        return {**os.environ, "PATH": os.pathsep.join(paths), "PYTHONPATH": str(self.root)}

    def set(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Change ``params.yaml``; keys are dotted. Returns those that were not so before."""
        path = self.root / "params.yaml"
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        changed = {}
        for key, value in settings.items():
            *sections, last = key.split(".")
            node = tree
            for section in sections:
                node = node[section]
            if last not in node:
                raise KeyError(key)
            if node[last] != value:
                node[last] = changed[key] = value
        path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
        return changed

    def run(self, *command: str) -> float:
        """Run a command to its end; returns the seconds it took."""
        began = time.perf_counter()
        subprocess.run(command, cwd=self.root, env=self.environment, check=True)
        return time.perf_counter() - began

    def read(self, path: str) -> Any:
        """A JSON file of the clone."""
        return json.loads((self.root / path).read_text(encoding="utf-8"))


def no_options(name: str, told: str | None) -> None:
    """The command line of a benchmark that has no option: ``--help`` alone is answered."""
    argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=told,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()


def torch_alone(runtime: RuntimeParams) -> RuntimeParams:
    """The settings under which the model runs no kernel of its own."""
    return dataclasses.replace(runtime, scan="reference", layers="reference")


def read_params(recipe: str | None = None, data: str = "ETTh1") -> Params:
    """The project's ``params.yaml``, or as the grid runs a recipe of S2TX on ``data``."""
    params = load_params(ROOT / "params.yaml")
    if recipe is None:
        return params
    setting = resolve(Cell(data, params.window.horizon, recipe, params.train.seed), params)
    if not isinstance(setting.spec, ModelParams):
        raise TypeError(f"{recipe} is no recipe of S2TX")
    return dataclasses.replace(setting.params, train=setting.train)


def write_results(
    name: str, result: dict[str, Any], packages: dict[str, str | None] | None = None
) -> None:
    """Write ``results/NAME.json`` with the commit, the machine and the packages that made it."""
    receipt = {"code": fingerprint.git_commit(ROOT), "machine": fingerprint.machine()}
    if packages is not None:
        receipt["packages"] = packages
    text = json.dumps({**result, "receipt": receipt}, indent=2, ensure_ascii=False) + "\n"
    write_text(RESULTS / f"{name}.json", text)
    print(f"wrote results/{name}.json")
