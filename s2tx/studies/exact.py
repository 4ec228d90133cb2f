"""DLinear without training: is the baseline right?

``python -m s2tx.studies.exact --data-dir FOLDER`` (or ``s2tx study exact``) fits, for every
finished cell of a DLinear, the same map to the same train windows by least squares, which is what
its training seeks, and writes the errors to ``results/exact.json``. A trained DLinear that lands
there is as good as its windows and its look-back allow. Nothing is chosen by it.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from s2tx import fingerprint as identity
from s2tx.baselines.linear import DLinear
from s2tx.data.scaling import Scaler
from s2tx.data.split import Part, find_borders
from s2tx.data.table import Table
from s2tx.errors import InputError, S2TXError
from s2tx.evaluation.metrics import score
from s2tx.params import load_params
from s2tx.paths import Project
from s2tx.specs import DLinearParams
from s2tx.studies.cell import Places, bring
from s2tx.studies.collect import read_settled
from s2tx.studies.command import parser_of
from s2tx.studies.finished import add
from s2tx.studies.grid import places_of, settings_of
from s2tx.studies.settings import Setting
from s2tx.training.bundle import Predictor

FILE = "exact.json"


def solve(
    predictor: Predictor, table: Table, origins: range, batch_size: int
) -> tuple[Tensor, Tensor]:
    """The linear map from look-back to horizon, one for all variates, of least squared error.

    Args:
        predictor: its window and scaler are read.
        table: without missing values.
        origins: first target rows of the windows to fit.
        batch_size: windows summed up at once.

    Returns:
        Its matrix (H, L) and its bias (H,), float64, from the normal equations.
    """
    windows, window = predictor.windows(table), predictor.window
    gram = torch.zeros(window.look_back + 1, window.look_back + 1, dtype=torch.float64)
    moment = torch.zeros(window.look_back + 1, window.horizon, dtype=torch.float64)
    for batch_origins in torch.split(torch.tensor(origins), batch_size):
        x_BLD, _, y_BHD, _ = windows.batch(batch_origins)
        # The last input is the constant 1, whose weights are the bias.
        x_NL = F.pad(x_BLD.transpose(1, 2).flatten(0, 1).double(), (0, 1), value=1.0)
        gram += x_NL.T @ x_NL
        moment += x_NL.T @ y_BHD.transpose(1, 2).flatten(0, 1).double()
    weight_LH = torch.linalg.solve(gram, moment)
    return weight_LH[:-1].T, weight_LH[-1]


def examine(
    setting: Setting, spec: DLinearParams, places: Places, folder: Path | None
) -> dict[str, Any]:
    """MSE and MAE of the solution over every validation and every test window.

    Raises:
        S2TXError: the data cannot be had.
    """
    table = bring(setting.entry, folder, places.project.cache / "downloads")
    window, device = setting.params.window, torch.device("cpu")
    borders = find_borders(len(table.times), table.card, setting.params.data, window)
    scaler = Scaler.fit(table.values[: borders.train])
    network = DLinear(window.look_back, window.horizon, spec.kernel)
    exact = Predictor(network, window, scaler, device)
    batch_size = setting.params.evaluate.batch_size

    def origins(part: Part) -> range:
        return borders.origins(part, window.look_back, window.horizon)

    weight, bias = solve(exact, table, origins("train"), batch_size)
    with torch.no_grad():
        # Trend and remainder add up to the window: through one matrix, to one linear map of it.
        for layer in (network.trend, network.remainder):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias / 2)
    found: dict[str, Any] = {"cell": dataclasses.asdict(setting.cell)}
    parts: tuple[Part, ...] = ("validation", "test")
    for part in parts:
        scores = score(exact, table, origins(part), scaler, batch_size)
        found[part] = {"mse": scores.mse, "mae": scores.mae}
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = parser_of("exact", __doc__).parse_args(arguments)
    project = Project.here()
    places = places_of(project, options.results)
    solved = 0
    receipt = {
        "command": "python -m s2tx.studies.exact",
        "code": {"commit": identity.git_commit(project.root)},
        "machine": identity.machine(),
        "protocol": "fitted by least squares on every train window; every validation and test "
        "window scored, standardised by the train rows",
    }
    try:
        for setting in settings_of(load_params(project.params)):
            if not isinstance(setting.spec, DLinearParams):
                continue
            if (trained := read_settled(places, setting)) is not None:
                found = examine(setting, setting.spec, places, options.data_dir)
                weights = trained["receipt"]["weights_sha256"]  # beside which it stands
                found |= {"weights_sha256": weights, "receipt": receipt}
                add(places.results / FILE, found, receipt, places)
                solved += 1
                print(f"{setting.cell.name}: test MSE {found['test']['mse']:.4f}", flush=True)
        if not solved:
            raise InputError("no cell of a DLinear is finished", "Run: s2tx study grid")
    except S2TXError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
