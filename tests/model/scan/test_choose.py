"""Which scan runs is settled once, in one place, and said plainly."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import get_args, get_type_hints

import pytest
import torch

from s2tx.model.scan import choose, resolve
from s2tx.params import RuntimeParams

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_auto_on_a_cpu_is_the_fused_scan() -> None:
    """The reference is many times slower: nobody should train on it by default."""
    from s2tx.model.scan.cpu import selective_scan

    assert resolve("auto", CPU) == "cpu"
    assert choose("auto", CPU) is selective_scan


@pytest.mark.parametrize(
    ("installed", "name"),
    [
        (("triton", "mamba_ssm"), "triton"),
        (("triton",), "triton"),
        (("mamba_ssm",), "mamba_ssm"),
        ((), "reference"),
    ],
)
def test_auto_on_a_gpu_is_the_best_kernel_that_is_installed(
    installed: tuple[str, ...], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without any kernel must still train."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: module in installed or None)
    assert resolve("auto", CUDA) == name


@pytest.mark.parametrize("name", ["reference", "cpu", "triton", "mamba_ssm"])
@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
def test_a_name_means_itself_everywhere(name: str, device: torch.device) -> None:
    """What was asked for by name is never exchanged in silence."""
    assert resolve(name, device) == name


def test_the_reference_runs_on_every_device() -> None:
    from s2tx.model.scan.reference import selective_scan

    assert choose("reference", CPU) is selective_scan
    assert choose("reference", CUDA) is selective_scan


@pytest.mark.parametrize(("name", "device"), [("cpu", CUDA), ("triton", CPU), ("mamba_ssm", CPU)])
def test_a_scan_on_a_device_it_cannot_use_is_an_error_with_the_cure(
    name: str, device: torch.device
) -> None:
    """It would otherwise fail deep inside the first batch."""
    with pytest.raises(ValueError, match=rf"runtime.scan is {name}.*{device}.*to auto"):
        choose(name, device)


def test_an_unknown_name_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(ValueError, match="'fast': give auto, reference, cpu, triton or mamba_ssm"):
        choose("fast", CPU)


def test_every_name_the_settings_take_is_known_here() -> None:
    """params.yaml would otherwise take a name that fails later, when the model is built."""
    with pytest.raises(ValueError, match="give auto") as error:
        choose("fast", CPU)
    known = str(error.value).partition("give ")[2].replace(" or ", ", ").split(", ")
    assert tuple(known) == get_args(get_type_hints(RuntimeParams)["scan"])


def test_without_numba_the_error_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent fall back to the reference would look like a slow machine."""
    for module in ("s2tx.model.compiled", "s2tx.model.scan.cpu", "s2tx.model.scan.cpu_kernels"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ImportError, match="pip install numba"):
        choose("auto", CPU)


def test_importing_the_model_does_not_import_numba() -> None:
    """Numba takes half a second to import and is of no use on a GPU."""
    code = "import sys, s2tx.model.s2tx, s2tx.model.scan; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
