"""The check of a GPU's scans, as far as a machine without one can hold it to account."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from benchmarks import gpu_scan, scan
from s2tx.model.scan.reference import selective_scan as reference


def _spoiled(*inputs: Tensor, **named: object) -> Tensor:
    """The right output, and no number in the gradient of the second input."""
    inputs[1].register_hook(lambda gradient: gradient * math.nan)
    return reference(*inputs, **named)  # type: ignore[arg-type]


@pytest.mark.parametrize("spoiled", [False, True])
def test_a_gradient_that_is_no_number_is_not_right(
    monkeypatch: pytest.MonkeyPatch, spoiled: bool
) -> None:
    """Protects the results file of a GPU from a kernel whose output alone is right."""
    monkeypatch.setattr(gpu_scan, "PARITY", gpu_scan.PARITY[2:3])
    monkeypatch.setattr(gpu_scan, "choose", lambda *_: _spoiled if spoiled else reference)
    found = gpu_scan.parity(torch.device("cpu"))
    assert found["ok"] is not spoiled
    assert len(found["cases"]) == 2


def test_no_scan_is_not_a_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects from a check that passes because there was nothing to check."""
    monkeypatch.setattr(gpu_scan, "kernels", lambda _: [])
    assert not gpu_scan.parity(torch.device("cpu"))["ok"]


def test_a_scan_that_does_other_work_is_not_timed() -> None:
    """Protects a race from a contestant that is fast since it is wrong."""
    twice = scan.ours("reference")
    for wrong in (lambda *leaves: 2 * twice(*leaves), lambda *leaves: math.nan * twice(*leaves)):
        with pytest.raises(ValueError, match="wrong is "):
            scan.agree({"right": twice, "wrong": wrong})
