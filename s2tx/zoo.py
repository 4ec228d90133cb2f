"""Name to network: the only place where model names are compared."""

from __future__ import annotations

import torch
from torch import nn

from s2tx.errors import InputError
from s2tx.params import BaselineParams, ModelParams, RuntimeParams, TrainParams, WindowParams


def build(
    spec: ModelParams | BaselineParams,
    window: WindowParams,
    n_variates: int,
    runtime: RuntimeParams,
    device: torch.device,
) -> nn.Module:
    """A freshly initialised network on ``device``.

    Every network has the contract ``forward(x_BLD, observed_BLD=None) -> y_BHD`` on standardised
    values (see ``s2tx.model.s2tx.S2TX.forward``).

    Raises:
        InputError: ``runtime`` names what this machine does not have.
    """
    match spec:
        case ModelParams():
            from s2tx.model import scan, sublayers
            from s2tx.model.s2tx import S2TX

            try:
                parts = scan.choose(runtime.scan, device), sublayers.choose(runtime, device, spec)
            except (ImportError, ValueError) as error:
                raise InputError(str(error), "Set section runtime in params.yaml") from error
            return S2TX(window, n_variates, spec, *parts).to(device)
        case BaselineParams():
            from s2tx.baselines.linear import DLinear

            return DLinear(window.look_back, window.horizon, spec.kernel).to(device)


def backends(spec: ModelParams, runtime: RuntimeParams, device: torch.device) -> dict[str, str]:
    """Who computes the parts of a network that have several implementations, for the record."""
    from s2tx.model import scan, sublayers

    return {
        "scan": scan.resolve(runtime.scan, device),
        "layers": sublayers.resolve(runtime, device, spec),
    }


def spec_from_dict(fields: dict[str, object]) -> ModelParams | BaselineParams:
    """The inverse of ``s2tx.params.as_dict`` for a model's section.

    Raises:
        ValueError: no model has that name.
    """
    match fields.get("name"):
        case "s2tx":
            return ModelParams(**fields)  # type: ignore[arg-type]
        case "dlinear":
            train = TrainParams(**fields["train"])  # type: ignore[arg-type]
            return BaselineParams(**{**fields, "train": train})  # type: ignore[arg-type]
        case other:
            raise ValueError(f"no model is called {other!r}: the zoo has s2tx and dlinear")
