"""The sizes of every baseline, and what the sections of ``params.yaml`` share (``s2tx.params``)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

MAX_TAPS = 32  # of a convolution, what the CPU kernels hold (their CHUNK)
Pattern = Literal["point", "block", "sensor", "tail", "blackout"]  # see ``s2tx.data.missing.hide``


def check(ok: bool, key: str, value: object, cure: str) -> None:
    """Refuse a setting.

    Raises:
        ValueError: names the key, the value and the cure, unless ``ok``.
    """
    if not ok:
        raise ValueError(f"{key} is {value!r}: {cure}")


def check_seed(key: str, seed: int) -> None:
    """Refuse a seed of which generators could not make others (see ``s2tx.training.fit``).

    Raises:
        ValueError: names the key, the value and the cure.
    """
    check(0 <= seed < 2**46, key, seed, "give 0 or more, below 2**46 (70368744177664)")


@dataclass(frozen=True)
class NaiveParams:
    """Repeat the newest season; ``season`` in steps, 1 for the last value, null for what the
    step suggests. Nothing is trained, so it is no ``Trained``."""

    name: Literal["naive"]
    season: int | None

    def __post_init__(self) -> None:
        check(
            self.season is None or self.season >= 1, "season", self.season, "give 1 or more steps"
        )


@dataclass(frozen=True)
class DLinearParams:
    """DLinear (arXiv 2205.13504)."""

    name: Literal["dlinear"]
    kernel: int

    def __post_init__(self) -> None:
        check(
            self.kernel >= 1 and self.kernel % 2 == 1, "kernel", self.kernel, "give an odd number"
        )


@dataclass(frozen=True)
class PatchTSTParams:
    """PatchTST (arXiv 2211.14730)."""

    name: Literal["patchtst"]
    width: int
    heads: int
    layers: int
    feed_forward: int
    dropout: float
    patch: int
    stride: int

    def __post_init__(self) -> None:
        check_sizes(self)
        check(self.stride <= self.patch, "stride", self.stride, f"give at most {self.patch}")


@dataclass(frozen=True)
class ITransformerParams:
    """iTransformer (arXiv 2310.06625)."""

    name: Literal["itransformer"]
    width: int
    heads: int
    layers: int
    feed_forward: int
    dropout: float

    def __post_init__(self) -> None:
        check_sizes(self)


@dataclass(frozen=True)
class SSTParams:
    """SST (arXiv 2404.14757); ``inverted_window`` is the mask of its released code."""

    name: Literal["sst"]
    width: int
    heads: int
    m_layers: int
    n_layers: int
    feed_forward: int
    dropout: float
    state: int
    conv: int
    expand: int
    global_patch: int
    global_stride: int
    local_patch: int
    local_stride: int
    window: int
    inverted_window: bool

    def __post_init__(self) -> None:
        check_sizes(self)
        for kind in ("global", "local"):
            patch, stride = getattr(self, f"{kind}_patch"), getattr(self, f"{kind}_stride")
            check(stride <= patch, f"{kind}_stride", stride, f"give at most {patch}")


def check_sizes(network: Any) -> None:
    """What every network's sizes must keep."""
    for field in dataclasses.fields(network):
        value = getattr(network, field.name)
        if type(value) is int:
            check(value >= 1, field.name, value, "give 1 or more")
    width, heads, rate = network.width, network.heads, network.dropout
    check(width % heads == 0, "heads", heads, f"divide width ({width})")
    check(0 <= rate < 1, "dropout", rate, "give a rate from 0 to below 1")
    taps = getattr(network, "conv", 1)
    check(taps <= MAX_TAPS, "conv", taps, f"give at most {MAX_TAPS}")


Trained = DLinearParams | PatchTSTParams | ITransformerParams | SSTParams
Baseline = NaiveParams | Trained
