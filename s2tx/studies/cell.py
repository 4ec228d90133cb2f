"""One cell: the data as the field reads them, a training, every test window, and the receipt."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s2tx import fingerprint as identity
from s2tx import zoo
from s2tx.data.catalog import Entry
from s2tx.data.missing import Mask
from s2tx.data.read import read_raw
from s2tx.data.scaling import Scaler
from s2tx.data.split import PARTS, Borders, find_borders
from s2tx.data.table import Table
from s2tx.errors import InputError
from s2tx.evaluation.metrics import Scores, score
from s2tx.params import Params, as_dict
from s2tx.paths import Project
from s2tx.studies.record import write_record
from s2tx.studies.settings import Cell, Setting
from s2tx.training.bundle import Bundle, weights_hash
from s2tx.training.checkpoint import Checkpoint
from s2tx.training.fit import Epoch, Watch
from s2tx.training.runtime import start
from s2tx.training.train import fingerprint, train

DROP_LAST_BATCH = 128  # of the test loaders that leave out the last windows


@dataclass(frozen=True)
class Places:
    """Where the grid writes.

    Attributes:
        project: the code's home, for the commit in the receipts.
        results: ``grid.json``, and ``grid/`` with a JSON file for each finished cell.
        models: a bundle folder for each trained cell.
        checkpoints: what a killed training resumes from.
    """

    project: Project
    results: Path
    models: Path
    checkpoints: Path

    def record(self, cell: Cell) -> Path:
        """The file that says the cell is finished."""
        return self.results / "grid" / f"{cell.name}.json"

    def bundle(self, cell: Cell) -> Path:
        return self.models / cell.name


def bring(entry: Entry, folder: Path | None, downloads: Path) -> Table:
    """A known data set in its rows as published: no row inserted, no sentinel taken out.

    Args:
        entry: which.
        folder: of local files; None to download it, or find it among ``downloads``.
        downloads: folder.

    Raises:
        S2TXError: it cannot be had; the message says why.
    """
    if entry.sha256 is None or not entry.addresses:
        raise InputError(f"{entry.name} is not a published data set", "Take it out of study")
    if folder is None:
        from s2tx.data.fetch import fetch

        path = fetch(entry.addresses, downloads, sha256=entry.sha256, file=entry.file)
    else:
        path = folder / entry.file
        if not path.is_file():
            raise InputError(f"{entry.file} is not in the folder of the data", "Put it there")
        found = identity.of_file(path)
        if found != entry.sha256:
            raise InputError(
                f"{entry.file} has sha256 {found}, the published one {entry.sha256}",
                "Bring the published file",
            )
    raw = read_raw(path, entry=entry, source=entry.addresses[0])
    card = dataclasses.replace(raw.card, file=entry.file, irregular="positional")
    return Table(card, raw.times, raw.frame[list(card.variates)].to_numpy(np.float64))


def run(
    setting: Setting, table: Table, places: Places, watchers: tuple[Watch, ...] = ()
) -> dict[str, Any]:
    """Train and score one cell; keep its bundle and then its record, which is returned.

    A killed run goes on from its checkpoint, which is forgotten only when the record is safe.

    Raises:
        S2TXError: the loss is not finite, or the machine lacks what ``runtime`` names.
    """
    began = time.perf_counter()
    mark = fingerprint(table, setting.spec, setting.train, setting.params)
    checkpoint = Checkpoint.of_run(places.checkpoints, mark)
    resumed = checkpoint.path.exists()
    bundle, history = _trained(setting, table, places, watchers)
    trained = time.perf_counter()
    borders = find_borders(len(table.times), table.card, setting.params.data, bundle.window)
    scores = score_test(bundle, table, borders, setting.params)
    folder = places.bundle(setting.cell)
    bundle.save(folder)
    record: dict[str, Any] = {
        "cell": dataclasses.asdict(setting.cell),
        "key": setting.key,
        "test": {"mse": scores.mse, "mae": scores.mae},
        "test_drop_last": drop_last(scores),
        "validation": validation_of(setting, history),
        "history": [dataclasses.asdict(epoch) for epoch in history],
        "seconds": {
            "train": trained - began,
            "score": time.perf_counter() - trained,
            "resumed": resumed,  # then these are not all the seconds
        },
        "parameters": sum(each.numel() for each in bundle.network.parameters()),
        "receipt": _receipt(setting, table, bundle, borders, folder, places.project),
    }
    write_record(places.record(setting.cell), record)
    checkpoint.discard()
    return record


def score_test(bundle: Bundle, table: Table, borders: Borders, params: Params) -> Scores:
    """Every test window, standardised by the train rows."""
    window = bundle.window
    origins = borders.origins("test", window.look_back, window.horizon)
    scaler = Scaler.fit(table.values[: borders.train])
    return score(bundle, table, origins, scaler, params.evaluate.batch_size)


def drop_last(scores: Scores, batch: int = DROP_LAST_BATCH) -> dict[str, Any]:
    """The figure of a loader that leaves out the last, incomplete batch: to explain a paper's.

    It is no result: the windows left out are the newest ones.
    """
    windows = len(scores.window_mse)
    kept = windows - windows % batch
    return {
        "label": f"the last {windows - kept} of {windows} windows left out, batches of {batch}",
        "windows": kept,
        "mse": float(np.nanmean(scores.window_mse[:kept])) if kept else None,
        "mae": float(np.nanmean(scores.window_mae[:kept])) if kept else None,
    }


def _trained(
    setting: Setting, table: Table, places: Places, watchers: tuple[Watch, ...]
) -> tuple[Bundle, list[Epoch]]:
    params = setting.params
    if setting.trained:
        mask = Mask(table.observed, 0)
        return train(table, mask, setting.spec, setting.train, params, places.checkpoints, watchers)
    device = start(params.runtime).device
    borders = find_borders(len(table.times), table.card, params.data, params.window)
    scaler = Scaler.fit(table.values[: borders.train])
    network = zoo.build(
        setting.spec, params.window, len(table.card.variates), params.runtime, device
    )
    return Bundle(
        network.eval(), params.window, scaler, device, setting.spec, table.card, setting.key
    ), []


def validation_of(setting: Setting, history: list[Epoch]) -> dict[str, Any] | None:
    """The epoch that was kept and its errors, from validation windows alone."""
    if not history:
        return None
    best = min(history, key=lambda epoch: epoch.val_mse)
    kept = best if setting.train.select == "best" else history[-1]
    return {"epoch": kept.epoch, "mse": kept.val_mse, "mae": kept.val_mae, "epochs": len(history)}


def _receipt(
    setting: Setting,
    table: Table,
    bundle: Bundle,
    borders: Borders,
    folder: Path,
    project: Project,
) -> dict[str, Any]:
    """Everything a reader needs to believe, or repeat, the figures."""
    params, window = setting.params, bundle.window
    origins = borders.origins("test", window.look_back, window.horizon)
    parts = {part: borders.rows(part) for part in PARTS}
    backends = zoo.backends(setting.spec, params.runtime, bundle.device)
    machinery = as_dict(params.runtime) | {
        "device": bundle.device.type,
        "scan": None,
        "layers": None,
    }
    return {
        "data": {
            "name": table.card.name,
            "sha256": table.card.sha256,
            "rows": len(table.times),
            "variates": len(table.card.variates),
        },
        "split": {part: [rows.start, rows.stop] for part, rows in parts.items()},
        "window": as_dict(window),
        "windows_scored": len(origins),
        "stride": 1,
        "scaler": "mean and population deviation of the observed train rows",
        "checkpoint_chosen_by": _chosen_by(setting),
        "seed": setting.cell.seed if setting.trained else None,
        "network": as_dict(setting.spec),
        "train": as_dict(setting.train) if setting.trained else None,
        "fingerprint": bundle.fingerprint,
        "weights_sha256": weights_hash(folder),
        "code": {"commit": identity.git_commit(project.root), "sources_sha256": setting.code},
        "runtime": machinery | backends,  # null: the network has no such part
        "machine": identity.machine(),
    }


def _chosen_by(setting: Setting) -> str:
    if not setting.trained:
        return "nothing: nothing is trained"
    return {"best": "validation MSE", "last": "nothing: the last epoch is kept"}[
        setting.train.select
    ]
