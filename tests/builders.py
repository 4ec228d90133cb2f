"""Small things to test with: a table with a daily cycle, and settings that train in a second."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from s2tx.data.table import Card, Table
from s2tx.params import Network, Params
from s2tx.specs import DLinearParams, ITransformerParams, NaiveParams, PatchTSTParams, SSTParams

# Small, and with the published parts, whatever params.yaml takes of them.
SMALL_MODEL = {
    "width": 8,
    "heads": 2,
    "m_layers": 1,
    "n_layers": 1,
    "feed_forward": 16,
    "state": 4,
    "global_patch": 12,
    "global_stride": 6,
    "local_patch": 6,
    "local_stride": 3,
    "window": 3,
    "dropout": 0.1,
    "cross_attention": True,
    "skip_missing": True,
    "head_tokens": "all",
    "linear_member": False,
    "final_norm": "layer",
    "local_norm": "before",
}
SMALL_TRAIN = {
    "epochs": 2,
    "batch_size": 32,
    "learning_rate": 0.002,
    "select": "best",
    "stride": 2,
    "checkpoint_steps": 3,
}


def specs(params: Params) -> dict[str, Network]:
    """Every network of the zoo, for ``params`` of ``make_params``: small, with a season of 5."""
    shared = {"width": 8, "heads": 2, "feed_forward": 16, "dropout": 0.1}
    patches = {"global_patch": 12, "global_stride": 6, "local_patch": 6, "local_stride": 3}
    sst: dict[str, Any] = {**shared, **patches, "m_layers": 2, "n_layers": 2, "state": 4}
    sst |= {"conv": 4, "expand": 2, "window": 3}
    return {
        "s2tx": params.model,
        "s2tx_of_two": replace(params.model, linear_member=True),
        "sst": SSTParams("sst", **sst, inverted_window=False),
        "sst_released": SSTParams("sst", **sst, inverted_window=True),
        "patchtst": PatchTSTParams("patchtst", **shared, layers=2, patch=8, stride=4),  # type: ignore[arg-type]
        "itransformer": ITransformerParams("itransformer", **shared, layers=2),  # type: ignore[arg-type]
        "dlinear": DLinearParams("dlinear", kernel=5),
        "naive": NaiveParams("naive", season=5),
    }


def make_table(rows: int = 600, variates: int = 3, seed: int = 0, missing: float = 0.0) -> Table:
    """An hourly table with a daily cycle, a drift and noise; ``missing`` is a share of cells."""
    random = np.random.default_rng(seed)
    hour = np.arange(rows)[:, None]
    phase = np.linspace(0, 3, variates)
    values = np.sin(2 * np.pi * hour / 24 + phase) * (1 + np.arange(variates)) + 0.002 * hour
    values += random.normal(scale=0.1, size=values.shape)
    values[random.random(values.shape) < missing] = np.nan
    card = Card(
        name="small",
        file="small.csv",
        sha256=f"{seed:064x}",
        time_column="date",
        step="1h",
        variates=tuple(f"v{number}" for number in range(variates)),
        split="ratio",
        irregular="insert",
        source="tests",
        licence="Apache-2.0",
        synthetic=True,
    )
    return Table(card, pd.date_range("2024-01-01", periods=rows, freq="h"), values)


def make_params(params: Params) -> Params:
    """The project's params, shrunk: look-back 48, short look-back 24, horizon 6."""
    return replace(
        params,
        window=replace(params.window, look_back=48, short_look_back=24, horizon=6),
        model=replace(params.model, **SMALL_MODEL),  # type: ignore[arg-type]
        train=replace(params.train, **SMALL_TRAIN),  # type: ignore[arg-type]
        baseline=replace(
            params.baseline,
            network=DLinearParams("dlinear", kernel=5),
            train=replace(params.baseline.train, **SMALL_TRAIN),  # type: ignore[arg-type]
        ),
    )
