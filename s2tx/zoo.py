"""Name to network: the only place where model names are compared."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from s2tx.errors import InputError
from s2tx.params import ModelParams, Network, RuntimeParams, WindowParams
from s2tx.specs import DLinearParams, ITransformerParams, NaiveParams, PatchTSTParams, SSTParams

# Settings that S2TX did not always have, at what they were before: what was trained then loads.
_EARLIER: dict[str, Any] = {
    "infill": False,
    "infill_season": None,
    "infill_variates": True,
    "masked_revin": True,
    "skip_missing": False,
    "time_major": False,
    "head_tokens": "all",
    "linear_member": False,
    "season": None,
    "final_norm": "layer",
    "local_norm": "before",
}
# Settings that it has no more, at the one value that changed nothing.
_GONE: dict[str, Any] = {"linear_skip": False}

SPECS: dict[str, type[Network]] = {
    "s2tx": ModelParams,
    "sst": SSTParams,
    "patchtst": PatchTSTParams,
    "itransformer": ITransformerParams,
    "dlinear": DLinearParams,
    "naive": NaiveParams,
}


def build(
    spec: Network,
    window: WindowParams,
    n_variates: int,
    runtime: RuntimeParams,
    device: torch.device,
) -> nn.Module:
    """A freshly initialised network on ``device``.

    Every network has the contract ``forward(x_BLD, observed_BLD=None) -> y_BHD`` on standardised
    values (see ``s2tx.model.s2tx.S2TX.forward``).

    Raises:
        InputError: ``runtime`` names what this machine does not have, or a setting is open.
    """
    look_back, horizon = window.look_back, window.horizon
    match spec:
        case ModelParams():
            from s2tx.model import scan, sublayers
            from s2tx.model.s2tx import S2TX

            with _asked_of_the_machine():
                parts = scan.choose(runtime.scan, device), sublayers.choose(runtime, device, spec)
            return S2TX(window, n_variates, spec, *parts).to(device)
        case SSTParams():
            from s2tx.baselines.sst import SST
            from s2tx.model import scan, sublayers

            with _asked_of_the_machine():
                parts = scan.choose(runtime.scan, device), sublayers.choose(runtime, device, spec)
            return SST(window, n_variates, spec, *parts).to(device)
        case PatchTSTParams():
            from s2tx.baselines.patchtst import PatchTST
            from s2tx.model import sublayers

            with _asked_of_the_machine():
                layers = sublayers.choose(runtime, device, spec)
            return PatchTST(look_back, horizon, spec, layers).to(device)
        case ITransformerParams():
            from s2tx.baselines.itransformer import ITransformer
            from s2tx.model import sublayers

            with _asked_of_the_machine():
                layers = sublayers.choose(runtime, device, spec)
            return ITransformer(look_back, horizon, spec, layers).to(device)
        case DLinearParams():
            from s2tx.baselines.linear import DLinear

            return DLinear(look_back, horizon, spec.kernel).to(device)
        case NaiveParams():
            from s2tx.baselines.naive import SeasonalNaive

            if spec.season is None:
                raise InputError("season is null", "Give the steps of a season, 1 for repeat-last")
            return SeasonalNaive(spec.season, horizon)


@contextlib.contextmanager
def _asked_of_the_machine() -> Iterator[None]:
    try:
        yield
    except (ImportError, ValueError) as error:
        raise InputError(str(error), "Set section runtime in params.yaml") from error


def backends(spec: Network, runtime: RuntimeParams, device: torch.device) -> dict[str, str]:
    """Who computes the parts of a network that have several implementations, for the record."""
    from s2tx.model import scan, sublayers

    match spec:
        case ModelParams() | SSTParams():
            layers = sublayers.resolve(runtime, device, spec)
            return {"scan": scan.resolve(runtime.scan, device), "layers": layers}
        case PatchTSTParams() | ITransformerParams():
            return {"layers": sublayers.resolve(runtime, device, spec)}
        case _:
            return {}


def spec_from_dict(fields: dict[str, Any]) -> Network:
    """The inverse of ``s2tx.params.as_dict`` for a network's section, also of an earlier version.

    Raises:
        ValueError: no model has that name, or a size is out of range.
        TypeError: a field is missing or unknown.
    """
    fields = {key: value for key, value in fields.items() if (key, value) not in _GONE.items()}
    kind = SPECS.get(str(fields.get("name")))
    if kind is None:
        known = ", ".join(SPECS)
        raise ValueError(f"no model is called {fields.get('name')!r}: the zoo has {known}")
    return kind(**(_EARLIER if kind is ModelParams else {}) | fields)
