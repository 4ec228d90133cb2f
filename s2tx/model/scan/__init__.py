"""The selective scan: one function, several implementations, one place that chooses.

The choice is made once, when a model is built, from what the machine has (``runtime.scan`` in
``params.yaml``); ``forward`` never changes it in silence.
"""

from __future__ import annotations

import importlib.util
from typing import Protocol

import torch
from torch import Tensor


class SelectiveScan(Protocol):
    """The meaning every implementation shares; see ``reference.selective_scan``."""

    def __call__(
        self,
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None = None,
        z: Tensor | None = None,
        delta_bias: Tensor | None = None,
        softplus: bool = False,
        reverse: tuple[bool, ...] = (False,),
    ) -> Tensor: ...


def resolve(name: str, device: torch.device) -> str:
    """The implementation that ``name`` means on ``device``: ``auto`` is the fastest that works."""
    if name != "auto":
        return name
    if device.type == "cpu":
        return "cpu"
    if device.type == "cuda":
        for kernel in ("triton", "mamba_ssm"):
            if importlib.util.find_spec(kernel) is not None:
                return kernel
    return "reference"


def choose(name: str, device: torch.device) -> SelectiveScan:
    """The scan called ``name`` (or ``auto``) for ``device``.

    Raises:
        ImportError: it is not installed; the message names the command.
        ValueError: it does not run on that device, or no scan has that name.
    """
    match resolve(name, device):
        case "reference":
            from s2tx.model.scan.reference import selective_scan

            return selective_scan
        case "cpu":
            if device.type != "cpu":
                raise ValueError(
                    f"runtime.scan is cpu, but the device is {device}: set runtime.scan to auto"
                )
            from s2tx.model.scan.cpu import selective_scan as fused

            return fused
        case "mamba_ssm":
            if device.type != "cuda":
                raise ValueError(
                    f"runtime.scan is mamba_ssm, whose kernel needs CUDA, but the device is "
                    f"{device}: set runtime.scan to auto"
                )
            from s2tx.model.scan.mamba_ssm import selective_scan as kernel

            return kernel
        case "triton":
            if device.type != "cuda":
                raise ValueError(
                    f"runtime.scan is triton, whose kernels need CUDA, but the device is "
                    f"{device}: set runtime.scan to auto"
                )
            from s2tx.model.scan.triton import selective_scan as own

            return own
        case other:
            raise ValueError(
                f"runtime.scan is {other!r}: give auto, reference, cpu, triton or mamba_ssm"
            )
