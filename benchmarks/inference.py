"""One forecast on one thread, and the scoring of every test window of ETTh1.

``python -m benchmarks.inference`` saves an untrained model of recipe ``paper`` as a bundle, loads
it as the product does, and times one forecast: from data frame to data frame, from rows to rows,
and the network alone; beside recipe ``best``, the first version, PatchTST and iTransformer. Then
all score the 2,785 test windows of ETTh1 (``S2TX_BENCHMARK_DATA`` names the folder of
``ETTh1.csv``; without it, as many random ones). Writes ``results/inference.json``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from benchmarks import peers
from benchmarks.measure import (
    Call,
    conditions,
    gather,
    ms,
    options,
    percentile,
    race,
    show,
    show_targets,
    show_times,
    summary,
    target,
)
from benchmarks.project import read_params, torch_alone, write_results
from s2tx import zoo
from s2tx.data.scaling import Scaler
from s2tx.data.split import find_borders
from s2tx.data.table import Card, Table
from s2tx.evaluation.metrics import score
from s2tx.fingerprint import of_file
from s2tx.forecasting.forecaster import Forecaster
from s2tx.params import Params, WindowParams
from s2tx.training.bundle import Bundle, Predictor

ROWS, WINDOWS = 17_420, 2785
VARIATES = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
CPU = torch.device("cpu")
OURS, NETWORK, WHOLE = "ours", "ours, the network alone", "ours, data frame to data frame"
BEST = "ours, `best`"


def etth1() -> Table:
    """ETTh1 where it is to be had, else random rows of its shape."""
    folder = os.environ.get("S2TX_BENCHMARK_DATA")
    path = Path(folder) / "ETTh1.csv" if folder else None
    if path is not None:
        frame = pd.read_csv(path, parse_dates=["date"])
        times, values = pd.DatetimeIndex(frame["date"]), frame[list(VARIATES)].to_numpy(np.float64)
        name, digest = "ETTh1", of_file(path)
    else:
        values = np.random.default_rng(0).standard_normal((ROWS, len(VARIATES)))
        times = pd.date_range("2016-07-01", periods=ROWS, freq="h")
        name, digest = "random", "0" * 64
    card = Card(
        name, "ETTh1.csv", digest, "date", "1h", VARIATES, "ett", "insert", "", "", path is None
    )
    return Table(card, times.as_unit("ns"), values)


def networks(params: Params, best: Params) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """Who takes part, untrained and in evaluation mode; and who does not, and why."""
    model, window, n_variates = params.model, params.window, len(VARIATES)
    torch.manual_seed(0)
    builders: dict[str, Callable[[], nn.Module]] = {
        OURS: lambda: zoo.build(model, window, n_variates, params.runtime, CPU),
        BEST: lambda: zoo.build(best.model, best.window, n_variates, best.runtime, CPU),
        "ours on torch alone": lambda: zoo.build(
            model, window, n_variates, torch_alone(params.runtime), CPU
        ),
        "first version": lambda: peers.FirstVersion().network(model, window, n_variates),
        f"PatchTST, {window.look_back} steps": lambda: peers.PatchTST(
            model, window.horizon, window.look_back
        ),
        f"PatchTST, {window.short_look_back} steps": lambda: peers.PatchTST(
            model, window.horizon, window.short_look_back
        ),
        "iTransformer": lambda: peers.ITransformer(model, window, n_variates),
    }
    made, not_run = gather(builders)
    return {name: network.eval() for name, network in made.items()}, not_run


def forecasts(
    made: dict[str, nn.Module],
    windows: dict[str, WindowParams],
    params: Params,
    table: Table,
    scaler: Scaler,
    folder: Path,
) -> dict[str, Call]:
    """Calls that forecast from the newest window."""
    unsaved = Bundle(
        made[OURS], params.window, scaler, CPU, params.model, table.card, "untrained",
        params.validate.sentinels,
    )  # fmt: skip
    unsaved.save(folder / "model")
    forecaster = Forecaster.load(folder / "model", params.runtime)
    frame = table.frame().tail(params.window.look_back)
    rows = frame[list(VARIATES)].to_numpy(np.float64)
    x_BLD = torch.from_numpy(scaler.transform(rows).astype(np.float32)[None])
    calls: dict[str, Call] = {
        WHOLE: lambda: forecaster.predict(frame),
        "ours, rows to rows": lambda: forecaster.bundle.forecast(rows),
    }
    for name, network in (made | {OURS: forecaster.bundle.network}).items():
        read_BLD = x_BLD[:, -windows[name].look_back :].contiguous()
        calls[f"{name}, the network alone"] = _inference(network, read_BLD)
    return calls


def _inference(network: nn.Module, x_BLD: torch.Tensor) -> Call:
    def call() -> None:
        with torch.inference_mode():
            network(x_BLD)

    return call


def main() -> int:
    """The command line; returns the exit code."""
    quick = options("inference", __doc__)
    result: dict[str, Any] = {"conditions": conditions()}
    print(result["conditions"])
    params, best, table = read_params("paper"), read_params("best"), etth1()
    borders = find_borders(len(table.times), table.card, params.data, params.window)
    scaler = Scaler.fit(table.values[: borders.train])
    origins = borders.origins("test", params.window.look_back, params.window.horizon)
    made, not_run = networks(params, best)
    windows = {name: best.window if name == BEST else params.window for name in made}

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        calls = forecasts(made, windows, params, table, scaler, Path(folder))
        times = race(calls, 20 if quick else 300, slot=0.0)
    torch.set_num_threads(threads)
    latency = {
        name: {**each, "p95_s": percentile(times[name], 0.95)}
        for name, each in summary(times, NETWORK).items()
    }
    show(
        "one forecast on one thread: 7 variates, "
        f"L = {params.window.look_back}, H = {params.window.horizon}",
        ["", "median ms", "p95 ms", "min ms", "times our network"],
        [
            [
                name,
                *(ms(each[field]) for field in ("median_s", "p95_s", "min_s")),
                f"{each['times_ours']:.2f}",
            ]
            for name, each in latency.items()
        ],
    )

    def scoring(network: nn.Module, window: WindowParams) -> Call:
        predictor = Predictor(network, window, scaler, CPU)
        some = origins[:: 20 if quick else 1]
        return lambda: score(predictor, table, some, scaler, params.evaluate.batch_size)

    calls = {name: scoring(network, windows[name]) for name, network in made.items()}
    batch = summary(race(calls, 2 if quick else 7, slot=0.0), OURS)
    title = f"score {len(origins)} windows of {table.card.name} on {threads} threads"
    show_times(title, batch, not_run)
    if len(origins) != WINDOWS:
        raise RuntimeError(f"ETTh1 has {WINDOWS} test windows, not {len(origins)}")

    result |= {
        "latency": {"threads": 1, "times": latency, "not_run": not_run},
        "batch": {
            "threads": threads,
            "data": {"name": table.card.name, "sha256": table.card.sha256},
            "windows": len(origins),
            "batch_size": params.evaluate.batch_size,
            "times": batch,
            "not_run": not_run,
        },
        "targets": [
            target(f"ms, one forecast, {name}", latency[name]["median_s"] * 1e3, 10, at_least=False)
            for name in (WHOLE, NETWORK)
        ],
    }
    show_targets(result["targets"])
    if not quick:
        write_results("inference", result, peers.versions())
    return 0


if __name__ == "__main__":
    sys.exit(main())
