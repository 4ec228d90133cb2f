"""What the machine decides: device, precision, threads."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric

from s2tx.errors import InputError
from s2tx.params import RuntimeParams


def pick_device(runtime: RuntimeParams) -> torch.device:
    """The device that ``runtime.device`` means here.

    Raises:
        InputError: CUDA was asked for by name and is not to be had.
    """
    if runtime.device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "runtime.device is cuda, and torch finds no CUDA device",
            "Set runtime.device to auto or cpu in params.yaml, or mend the driver",
        )
    if runtime.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda")


def start(runtime: RuntimeParams) -> Fabric:
    """Set the number of threads and launch Fabric on the device of ``runtime``."""
    if runtime.threads is not None:
        torch.set_num_threads(runtime.threads)
    device = pick_device(runtime)
    fabric = Fabric(accelerator=device.type, devices=1, precision=runtime.precision)
    fabric.launch()
    return fabric
