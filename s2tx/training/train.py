"""From a table to a bundle: the train and baseline stages."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch

from s2tx import fingerprint as identity
from s2tx import zoo
from s2tx.data.missing import Mask, read_mask
from s2tx.data.scaling import Scaler
from s2tx.data.split import find_borders, require_observed
from s2tx.data.table import Table
from s2tx.params import ModelParams, Network, Params, TrainParams, as_dict
from s2tx.paths import Project, write_text
from s2tx.specs import (
    DLinearParams,
    ITransformerParams,
    NaiveParams,
    PatchTSTParams,
    SSTParams,
)
from s2tx.training.bundle import Bundle, Predictor
from s2tx.training.checkpoint import Checkpoint
from s2tx.training.fit import Epoch, Watch, fit
from s2tx.training.runtime import start

# The code that decides the weights, as the stages in dvc.yaml list it.
_DATA_CODE = ("missing", "scaling", "split", "table", "windows")
_CODE = (*(f"data/{name}.py" for name in _DATA_CODE), "training", "zoo.py")
_ENCODER = (
    "baselines/encoder.py",
    "model/attention.py",
    "model/compiled",
    "model/norm.py",
    "model/revin.py",
    "model/sublayers",
)


def code_of(spec: Network) -> tuple[str, ...]:
    """Rooms and files, below ``s2tx/``, whose sources are part of a training's fingerprint."""
    match spec:
        case ModelParams():
            return (*_CODE, "model")
        case DLinearParams():
            return (*_CODE, "baselines/linear.py")
        case NaiveParams():
            return (*_CODE, "baselines/naive.py")
        case ITransformerParams():
            return (*_CODE, "baselines/itransformer.py", *_ENCODER)
        case PatchTSTParams():
            return (*_CODE, "baselines/patchtst.py", *_ENCODER, "model/patching.py")
        case SSTParams():
            own = ("baselines/sst.py", "baselines/patchtst.py", "model/patching.py")
            mamba = ("model/mamba.py", "model/mixer", "model/scan")
            return (*_CODE, *own, *_ENCODER, *mamba)


def train(
    table: Table,
    mask: Mask,
    spec: Network,
    recipe: TrainParams,
    params: Params,
    checkpoints: Path,
    watchers: tuple[Watch, ...] = (),
) -> tuple[Bundle, list[Epoch]]:
    """Train one model on one table.

    Args:
        table: validated.
        mask: what the inputs may show.
        spec: which model.
        recipe: how it is trained.
        params: ``data``, ``window``, ``runtime`` and ``validate.sentinels`` are read.
        checkpoints: folder of resumable states.
        watchers: told of every step and epoch.

    Returns:
        The trained model and its history.
    """
    borders = find_borders(len(table.times), table.card, params.data, params.window)
    require_observed(table, borders)
    scaler = Scaler.fit(table.values[: borders.train])
    fabric = start(params.runtime)
    torch.manual_seed(recipe.seed)
    network = zoo.build(
        spec, params.window, len(table.card.variates), params.runtime, fabric.device
    )
    predictor = Predictor(network, params.window, scaler, fabric.device)
    visible = mask.visible.copy()
    visible[borders.train :] = True  # the mask is of the train rows: the choice is made in the open
    windows = predictor.windows(table, visible, mask.tail_steps)
    mark = fingerprint(table, spec, recipe, params)
    checkpoint = Checkpoint.of_run(checkpoints, mark)
    look_back, horizon = params.window.look_back, params.window.horizon
    history = fit(
        network,
        windows,
        borders.origins("train", look_back, horizon),
        borders.origins("validation", look_back, horizon),
        recipe,
        fabric,
        checkpoint,
        watchers,
    )
    bundle = Bundle(
        **vars(predictor),
        spec=spec,
        card=table.card,
        fingerprint=mark,
        sentinels=params.validate.sentinels,
    )
    return bundle, history


def fingerprint(table: Table, spec: Network, recipe: TrainParams, params: Params) -> str:
    """Identity of a training run: code, data and params, and nothing of the machine."""
    settings: list[object] = [params.data, params.window, params.validate.sentinels]
    if params.inject.train:
        settings.append(params.inject)
    return identity.of_json(
        {
            "code": identity.of_code(code_of(spec)),
            "data": table.sha256(),
            "model": as_dict(spec),
            "train": as_dict(recipe),
            "settings": [str(section) for section in settings],
        }
    )


def run_train(project: Project, params: Params, watchers: tuple[Watch, ...] = ()) -> Bundle:
    """The train stage: the model of ``params.model``."""
    return _run(project, params, params.model, params.train, project.model, watchers)


def run_baseline(project: Project, params: Params, watchers: tuple[Watch, ...] = ()) -> Bundle:
    """The baseline stage: what ``params.baseline`` names, on the same windows."""
    spec, recipe = params.baseline.network, params.baseline.train
    return _run(project, params, spec, recipe, project.baseline, watchers)


def _run(
    project: Project,
    params: Params,
    spec: Network,
    recipe: TrainParams,
    folder: Path,
    watchers: tuple[Watch, ...],
) -> Bundle:
    """Train and keep the history, then the bundle; only then forget what a kill would need."""
    table = Table.read(project.table)
    mask = read_mask(project.train_mask)
    checkpoints = project.cache / "training"
    bundle, history = train(table, mask, spec, recipe, params, checkpoints, watchers)
    lines = [dataclasses.asdict(epoch) for epoch in history]
    write_text(folder.parent / project.history.name, json.dumps(lines, indent=2) + "\n")
    bundle.save(folder)
    Checkpoint.of_run(checkpoints, bundle.fingerprint).discard()
    return bundle
