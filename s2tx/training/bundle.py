"""A trained model as a folder: weights in safetensors, everything else in JSON, no pickle.

``model.safetensors`` holds the tensors, ``config.json`` the model's section of the params, the
window, the scaler, the card of the data and the fingerprint of the training run.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from s2tx import zoo
from s2tx.data.scaling import Scaler
from s2tx.data.table import Card, Table
from s2tx.data.windows import Windows
from s2tx.errors import InputError
from s2tx.fingerprint import of_file
from s2tx.params import Network, RuntimeParams, WindowParams, as_dict

FORMAT = 1
WEIGHTS = "model.safetensors"
CONFIG = "config.json"


@dataclass(frozen=True, eq=False)
class Predictor:
    """A network with what it needs to work in the data's own units.

    Attributes:
        network: on ``device``, in evaluation mode.
        window: L, S and H.
        scaler: fitted on the train rows that the network saw.
        device: where it computes.
    """

    network: nn.Module
    window: WindowParams
    scaler: Scaler
    device: torch.device

    def windows(
        self, table: Table, visible: NDArray[np.bool_] | None = None, tail_steps: int = 0
    ) -> Windows:
        """The table's windows, standardised as this network expects them."""
        values = self.scaler.transform(table.values)
        look_back, horizon = self.window.look_back, self.window.horizon
        return Windows(values, look_back, horizon, self.device, visible, tail_steps)

    @torch.inference_mode()
    def forecast(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Forecast from the newest rows.

        Args:
            values: (T, D) in the data's own units, T >= L, NaN where missing; the last L are read.

        Returns:
            (H, D) in the data's own units.

        Raises:
            InputError: there are fewer than L rows, or other than D columns.
        """
        look_back, n_variates = self.window.look_back, len(self.scaler.mean)
        if values.ndim != 2 or values.shape[1] != n_variates or len(values) < look_back:
            raise InputError(
                f"the model reads {look_back} rows of {n_variates} variates, "
                f"and was given {' x '.join(map(str, values.shape))}",
                f"Give at least {look_back} rows with the columns the model was trained on",
            )
        x = self.scaler.transform(values[-look_back:])
        observed = ~np.isnan(x)
        x_BLD = torch.from_numpy(np.where(observed, x, 0.0).astype(np.float32)[None])
        seen = None if observed.all() else torch.from_numpy(observed[None]).to(self.device)
        y_BHD = self.network(x_BLD.to(self.device), seen)
        return self.scaler.inverse(y_BHD[0].float().cpu().numpy().astype(np.float64))


@dataclass(frozen=True, eq=False)
class Bundle(Predictor):
    """A predictor that was trained here and can be kept.

    Attributes:
        spec: the model's section of the params.
        card: of the data it was trained on.
        fingerprint: of the training run (code, data and params).
        sentinels: values that mean "no reading", in training as in service.
    """

    spec: Network
    card: Card
    fingerprint: str
    sentinels: tuple[float, ...] = ()

    def save(self, folder: Path) -> None:
        """Write the folder beside and rename it, replacing what is there."""
        from safetensors.torch import save_file

        part = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        tensors = {name: tensor.cpu() for name, tensor in self.network.state_dict().items()}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part / WEIGHTS)
        config = {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "model": as_dict(self.spec),
            "window": as_dict(self.window),
            "scaler": {"mean": self.scaler.mean.tolist(), "std": self.scaler.std.tolist()},
            "data": asdict(self.card),
            "sentinels": self.sentinels,
        }
        text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
        (part / CONFIG).write_text(text, encoding="utf-8")
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.replace(old)
        part.replace(folder)
        shutil.rmtree(old, ignore_errors=True)

    @classmethod
    def load(cls, folder: Path, runtime: RuntimeParams, device: torch.device) -> Bundle:
        """Read what ``save`` wrote.

        Raises:
            InputError: the folder is not a bundle, or is one of another format.
        """
        from safetensors.torch import load_file

        config = read_config(folder)
        card = Card.from_json(json.dumps(config["data"]))
        window = WindowParams(**config["window"])
        spec = zoo.spec_from_dict(config["model"])
        network = zoo.build(spec, window, len(card.variates), runtime, device)
        network.load_state_dict(load_file(folder / WEIGHTS, device=str(device)))
        scaler = Scaler(np.array(config["scaler"]["mean"]), np.array(config["scaler"]["std"]))
        fingerprint, sentinels = config["fingerprint"], tuple(config.get("sentinels", ()))
        network.eval()
        return cls(network, window, scaler, device, spec, card, fingerprint, sentinels)


def read_config(folder: Path) -> dict[str, Any]:
    """The JSON of a bundle, its format checked.

    Raises:
        InputError: the folder is not a bundle, or is one of another format.
    """
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder} holds no trained model", "Make it with: dvc repro") from None
    if config.get("format") != FORMAT:
        raise InputError(
            f"{folder / CONFIG} has format {config.get('format')!r}; this version reads {FORMAT}",
            "Load it with the version of s2tx that wrote it, or train again",
        )
    return config


def weights_hash(folder: Path) -> str:
    """sha256 of the weights: two runs are the same run where this is the same."""
    return of_file(folder / WEIGHTS)
