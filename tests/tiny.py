"""A whole project in a few kilobytes: table, params, an untrained model and what stages write."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from s2tx import zoo
from s2tx.baselines.linear import DLinear
from s2tx.data.missing import run_inject
from s2tx.data.scaling import Scaler
from s2tx.data.table import Card, Table
from s2tx.params import Params, RuntimeParams
from s2tx.paths import Project, write_text
from s2tx.registry.store import connect
from s2tx.training.bundle import Bundle, weights_hash
from s2tx.training.train import fingerprint
from tests.builders import make_params

ROOT = Path(__file__).parents[1]
CPU = RuntimeParams(
    device="cpu", precision="32-true", scan="reference", layers="reference", threads=None
)


def tiny_params(params: Params) -> Params:
    """The project's params, shrunk, on the CPU whatever the machine has."""
    return dataclasses.replace(make_params(params), runtime=CPU)


def tiny_table(rows: int = 600, zone: str | None = None, seed: int = 0) -> Table:
    """Hourly, two variates with a little noise and a few readings missing, in a cycle of 9.6 hours
    that repeating a day or the last value misses, so that many a model may be the first champion.
    """
    random = np.random.default_rng(seed)
    phase = np.arange(rows)[:, None] * 2 * np.pi / 9.6 + np.array([0.0, 1.0])
    values = np.array([10.0, 100.0]) + np.sin(phase) + 0.1 * random.standard_normal((rows, 2))
    values[rows - 5, 0] = np.nan
    card = Card(
        name="tiny",
        file="tiny.csv",
        sha256=f"{seed:064x}",
        time_column="when",
        step="1h",
        variates=("load", "oil (C)"),
        split="ratio",
        irregular="insert",
        source="a test",
        licence="none",
        synthetic=True,
    )
    times = pd.date_range("2024-01-01", periods=rows, freq="h", tz=zone).as_unit("ns")
    return Table(card, times, values)


def tiny_bundle(table: Table, params: Params, shift: float | None = None) -> Bundle:
    """An untrained S2TX; or, given ``shift``, the mean of the window plus so many deviations.

    The larger the shift, the worse the forecast: champions and challengers of known order.
    """
    torch.manual_seed(1)
    device = torch.device("cpu")
    spec = params.model if shift is None else params.baseline.network
    network = zoo.build(spec, params.window, len(table.card.variates), CPU, device)
    if isinstance(network, DLinear) and shift is not None:
        nn.init.constant_(network.trend.bias, shift)
        nn.init.zeros_(network.remainder.bias)
    scaler = Scaler.fit(table.values[:420])
    mark = f"shifted-by-{shift}"
    if shift is None:
        mark = fingerprint(table, params.model, params.train, params)
    return Bundle(network.eval(), params.window, scaler, device, spec, table.card, mark)


def put_on_disk(project: Project, bundle: Bundle, mse: float = 0.5) -> None:
    """The model and what train, evaluate and report would have left beside it."""
    bundle.save(project.model)
    epochs = [
        {"epoch": n, "train_loss": 1 / n, "val_mse": 2 / n, "val_mae": 3 / n, "learning_rate": 0.1}
        for n in (1, 2)
    ]
    scores = {"s2tx": {"mse": mse, "mae": 0.4}, "repeat_last": {"mse": 1.0, "mae": 0.8}}
    hidden = {"s2tx": {"mse": 0.6, "mae": 0.5}, "repeat_last": {"mse": 1.5, "mae": 0.9}}
    metrics = {
        "windows": 109,
        "test": scores,
        "test_missing": hidden,
        "missing_rates": [0.0, 0.4],
        "missing_curve": {
            model: {key: [scores[model][key], hidden[model][key]] for key in ("mse", "mae")}
            for model in scores
        },
    }
    receipt = {"fingerprint": bundle.fingerprint, "weights_sha256": weights_hash(project.model)}
    write_text(project.history, json.dumps(epochs))
    write_text(project.metrics, json.dumps(metrics))
    write_text(project.receipt, json.dumps(receipt))
    write_text(project.plots / "horizon.csv", "step,mse\n1,0.5\n")
    write_text(project.report, "<p>report</p>")


def tiny_project(root: Path, params: Params, shift: float | None = None) -> Project:
    """A project with a table and a model; by default a tiny S2TX."""
    project = Project(root)
    root.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "params.yaml", project.params)
    table = tiny_table()
    table.write(project.table)
    run_inject(project, params)
    put_on_disk(project, tiny_bundle(table, params, shift=shift))
    return project


# Fixtures, which a room's conftest.py imports.


@pytest.fixture(scope="session")
def tiny(params: Params) -> Params:
    return tiny_params(params)


@pytest.fixture
def project(
    tmp_path: Path, tiny: Params, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> Project:
    """In a folder with a space in its name, with an untrained S2TX on disk and a store."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    made = tiny_project(tmp_path / "a project", tiny)
    made.mlruns.mkdir()
    shutil.copy(empty_store, made.mlruns / "mlflow.db")
    return made


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database without an experiment: making one takes a second and a half."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        project = Project(tmp_path_factory.mktemp("store"))
        connect(project)
        return project.mlruns / "mlflow.db"
