"""Who computes the sublayers is said once, and what cannot run is refused with the cure."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
import torch

from s2tx.model.sublayers import choose, resolve
from s2tx.params import ModelParams, Params, RuntimeParams

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
RUNTIME = RuntimeParams(
    device="auto", precision="32-true", scan="auto", layers="auto", threads=None
)
BF16 = dataclasses.replace(RUNTIME, precision="bf16-mixed")


def model(params: Params, **sizes: int) -> ModelParams:
    return dataclasses.replace(params.model, **{"width": 8, "heads": 2, **sizes})


def test_auto_is_the_compiled_one_where_it_runs(params: Params) -> None:
    """A silent fall back would look like a slow machine."""
    assert resolve(RUNTIME, CPU, model(params)) == "cpu"
    assert choose(RUNTIME, CPU, model(params)).attend.__module__ == "s2tx.model.sublayers.cpu"


@pytest.mark.parametrize(
    ("runtime", "device", "sizes"),
    [
        (RUNTIME, CUDA, {}),
        (BF16, CPU, {}),
        (RUNTIME, CPU, {"width": 6}),
        (RUNTIME, CPU, {"feed_forward": 18}),
    ],
    ids=["GPU", "bfloat16", "head of 3", "hidden of 18"],
)
def test_auto_is_the_reference_elsewhere_and_the_compiled_one_by_name_is_refused(
    runtime: RuntimeParams, device: torch.device, sizes: dict[str, int], params: Params
) -> None:
    """A kernel that is asked for what it cannot do must not read beyond its tiles."""
    assert resolve(runtime, device, model(params, **sizes)) == "reference"
    named = dataclasses.replace(runtime, layers="cpu")
    with pytest.raises(ValueError, match=r"runtime\.layers is cpu, but .*: set runtime\.layers to"):
        choose(named, device, model(params, **sizes))


def test_importing_the_model_does_not_import_numba() -> None:
    """Numba takes half a second to import and is of no use on a GPU."""
    code = "import sys, s2tx.model.s2tx, s2tx.model.sublayers; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
