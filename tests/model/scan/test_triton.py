"""The project's own GPU scan: that it is right, that it compiles, what it says where it cannot."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[3]
MODULES = ("s2tx.model.scan.triton", "s2tx.model.scan.triton_kernels")

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason='triton is not installed: ".[triton]"'
)


def check(marked: str) -> None:
    """Run ``triton_checks`` in a process of its own.

    Triton settles when it is imported whether it interprets or compiles, and other rooms import it
    to compile.
    """
    interpret = {} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"}
    checks = Path(__file__).with_name("triton_checks.py")
    command = [sys.executable, "-m", "pytest", str(checks), "-p", "no:cacheprovider", "-m", marked]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **interpret},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]


@needs_triton
def test_the_kernels_do_what_the_reference_does() -> None:
    """Every check of ``triton_checks``: on the GPU, or interpreted where there is none."""
    check("not slow")


@needs_triton
@pytest.mark.slow
def test_the_kernels_do_what_the_reference_does_at_large_sizes() -> None:
    """The slow checks of ``triton_checks``."""
    check("slow")


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_kernels_compile_for_a_gpu(dtype: str, tmp_path: Path) -> None:
    """The interpreter takes what the compiler does not: it knows no types, layouts or registers.

    Triton compiles to the end for a GPU that is not there. The recurrence is written as picks from
    a tile, which the compiler must see through: every pick left would be thousands of instructions.
    """
    code = f"""
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from s2tx.model.scan import triton_kernels as kernels
from s2tx.model.scan.triton import STEPS, _Cut
cut = _Cut.of(32, 16)
constants = dict(SOFTPLUS=True, STEPS=STEPS, P=cut.P, I=cut.I, Q=cut.Q)
floats = "A D bias states dA dB dC dD dbias".split()
arrays = "u delta B C z y dy du ddelta dz".split()
for kernel in (kernels.forward, kernels.backward):
    types = dict.fromkeys(kernel.arg_names, "i32")
    types |= {{name: "*fp32" for name in floats if name in types}}
    types |= {{name: "*{dtype}" for name in arrays if name in types}}
    types |= dict.fromkeys(constants, "constexpr")
    places = {{(kernel.arg_names.index(name),): value for name, value in constants.items()}}
    made = triton.compile(
        ASTSource(kernel, types, places),
        target=GPUTarget("cuda", 90, 32),
        options=dict(num_warps=cut.warps, enable_fp_fusion=True),
    )
    assert made.asm["cubin"]
    assert made.asm["ptx"].count("selp") < STEPS * cut.P * 10
    assert made.metadata.shared <= 48 * 1024
"""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-5_000:]


@needs_triton
def test_tensors_on_a_cpu_are_refused_with_the_cure() -> None:
    """A compiled kernel would read an address of the CPU on the GPU."""
    code = """
from s2tx.model.scan.triton import selective_scan
from tests.model.scan.cases import inputs
selective_scan(**inputs(1, 2, 3, 4))
"""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert "ValueError: the triton scan got u on cpu" in done.stderr
    assert "set runtime.scan to auto" in done.stderr


def test_without_triton_the_error_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent fall back to the reference would look like a slow machine."""
    for module in MODULES:
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(ImportError, match=r'pip install -e "\.\[triton\]".*to auto'):
        importlib.import_module("s2tx.model.scan.triton")


def test_importing_the_model_does_not_import_the_kernels() -> None:
    """Triton takes a second to import and is of no use on a CPU."""
    code = (
        "import sys, s2tx.model.s2tx, s2tx.model.scan; "
        f"sys.exit(any(module in sys.modules for module in {MODULES}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
