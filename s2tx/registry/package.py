"""A version in the registry: MLflow's models-from-code, with safetensors and JSON and no pickle.

The version carries its own copy of this package's sources, so what is served does not depend on
the working tree; it carries the run's fingerprint and the hash of its weights as tags, so the same
model is never registered twice.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2tx.data.read import CARD_FILE, read_card
from s2tx.data.split import find_borders
from s2tx.data.table import Card, Table
from s2tx.errors import InputError, S2TXError
from s2tx.fingerprint import of_file
from s2tx.params import Params, WindowParams, as_dict
from s2tx.paths import Project
from s2tx.registry import tracking
from s2tx.registry.store import connect, guarded, locked
from s2tx.training.bundle import CONFIG, read_config, weights_hash
from s2tx.training.train import fingerprint

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

# What the served model imports, and nothing of what only training needs.
_REQUIREMENTS = (
    "lightning-fabric",
    "mlflow",
    "numba",
    "numpy",
    "pandas",
    "pyarrow",
    "safetensors",
    "torch",
)
BUNDLE = "artifacts/bundle"  # where the bundle lies inside the packaged model
PLACE = "s2tx.artifact_path"  # tag: where the packaged model lies inside its run


@dataclass(frozen=True)
class Registered:
    """A version in the registry.

    Attributes:
        name: of the registered model.
        version: counted by the registry, from 1.
        run_id: of the training run that made it.
        new: false if this very model was there already.
    """

    name: str
    version: int
    run_id: str
    new: bool


def model_name(card: Card, window: WindowParams) -> str:
    """Name of the registered model: one for each data set and horizon."""
    return f"s2tx-{card.name}-h{window.horizon}"


def current_card(project: Project) -> Card:
    """Of the current version of the data; where only the validated table is there, of that.

    Raises:
        InputError: there is neither.
    """
    only_table = project.table.exists() and not (project.data / CARD_FILE).exists()
    return Table.read(project.table).card if only_table else read_card(project)


def current_table(project: Project) -> Table:
    """The validated table of the current version of the data.

    Raises:
        InputError: there is none, or it is of a version that ingest has replaced since.
    """
    table, card = Table.read(project.table), current_card(project)
    if table.card.sha256 != card.sha256:
        raise InputError(
            f"{project.table} is of {table.card.file}, and {project.data} holds {card.file} now",
            "Run: dvc repro",
        )
    return table


def require_current(project: Project, params: Params, card: Card) -> None:
    """The model on disk was trained on the columns of this data set, with this window.

    Raises:
        InputError: it was not, or there is none.
    """
    config = read_config(project.model)
    then = {**config["data"], **config["window"]}
    now = {**as_dict(card), **as_dict(params.window)}
    for key in ("name", "time_column", "step", "variates", *config["window"]):
        if then[key] != now[key]:
            raise InputError(
                f"{project.model} was trained with {key} {then[key]!r}, and it is {now[key]!r} now",
                "Run: dvc repro",
            )


@guarded
def register(project: Project, params: Params, serve: Path) -> Registered:
    """Send the run, then register the model on disk; a repeat returns the version that is there.

    Args:
        serve: the models-from-code file (``s2tx.forecasting.SERVE``).

    Raises:
        InputError: there is no trained model, or no validated table of the current data, on disk,
            the model is of another data set or window, or the newest rows hold nothing to forecast
            from.
        UnreachableError: MLflow does not answer.
        S2TXError: the packaged model does not load or predict; nothing was registered.
    """
    from mlflow.exceptions import MlflowException

    config, weights = read_config(project.model), weights_hash(project.model)
    table = current_table(project)
    require_current(project, params, table.card)
    name = model_name(table.card, params.window)
    run_id = tracking.sync(project, params)
    client = connect(project)
    with locked(project, "versions"):
        known = find_version(client, name, str(config["fingerprint"]), weights)
        if known is not None:
            return Registered(name, known, run_id, new=False)
        place = f"model-{weights[:12]}"
        with tempfile.TemporaryDirectory() as folder:
            package = Path(folder) / "package"
            _save(project.model, serve, table, package)
            client.log_artifacts(run_id, str(package), place)
        with contextlib.suppress(MlflowException):  # it exists already
            client.create_registered_model(name)
        tags = {
            tracking.FINGERPRINT: str(config["fingerprint"]),
            tracking.WEIGHTS: weights,
            tracking.DATA: config["data"]["sha256"],
            tracking.CONFIG: of_file(project.model / CONFIG),
            PLACE: place,
            **_seen(table, params, str(config["fingerprint"])),
        }
        source = f"runs:/{run_id}/{place}"
        version = client.create_model_version(name, source, run_id, tags=tags)
        return Registered(name, int(version.version), run_id, new=True)


def _seen(table: Table, params: Params, mark: str) -> dict[str, str]:
    """The tag that says which rows a training read; none if it was of other rows or settings."""
    if fingerprint(table, params.model, params.train, params) != mark:
        return {}
    borders = find_borders(len(table.times), table.card, params.data, params.window)
    return {tracking.SEEN: table.times[borders.validation - 1].isoformat()}


def find_version(client: MlflowClient, name: str, fingerprint: str, weights: str) -> int | None:
    """The version of this very model, the newest if there are several."""
    same = [
        int(version.version)
        for version in client.search_model_versions(f"name = '{name}'")
        if version.tags.get(tracking.FINGERPRINT) == fingerprint
        and version.tags.get(tracking.WEIGHTS) == weights
    ]
    return max(same, default=None)


def _save(bundle: Path, serve: Path, table: Table, package: Path) -> None:
    """Write the packaged model and prove that it loads and predicts.

    Raises:
        InputError: the newest rows of the table hold nothing to forecast from.
        S2TXError: it does not.
    """
    import mlflow

    config = read_config(bundle)
    example: Any = table.frame().tail(config["window"]["look_back"]).reset_index(drop=True)
    zoned = table.times.tz is not None
    if zoned:  # MLflow's datetime knows no zone
        example[table.card.time_column] = [stamp.isoformat() for stamp in example.iloc[:, 0]]
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        sources = Path(folder) / "s2tx"
        _copy_sources(sources)
        shutil.copytree(bundle, Path(folder) / "bundle")
        mlflow.pyfunc.save_model(
            path=str(package),
            python_model=str(serve),
            artifacts={"bundle": str(Path(folder) / "bundle")},
            code_paths=[str(sources)],
            signature=_signature(table.card, zoned),
            input_example=example,
            pip_requirements=[_pinned(distribution) for distribution in _REQUIREMENTS],
        )
        try:
            loaded = mlflow.pyfunc.load_model(str(package))
            rows = len(loaded.predict(example))
        except InputError:
            raise
        except Exception as error:
            raise S2TXError(
                f"the packaged model does not predict ({type(error).__name__}: {error}). "
                "Nothing was registered; the model in the registry stays in service."
            ) from error
    if rows != config["window"]["horizon"]:
        raise S2TXError(f"the packaged model gives {rows} rows. Nothing was registered.")


def _signature(card: Card, zoned: bool) -> ModelSignature:
    """Time and variates in, the same columns out."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    time = ColSpec("string" if zoned else "datetime", card.time_column)
    columns = Schema([time, *(ColSpec("double", variate) for variate in card.variates)])
    return ModelSignature(inputs=columns, outputs=columns)


def _copy_sources(target: Path) -> None:
    """The Python sources of this package, without caches."""
    package = Path(__file__).parents[1]
    shutil.copytree(package, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))


def _pinned(distribution: str) -> str:
    return f"{distribution}=={metadata.version(distribution).split('+')[0]}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """MLflow's hints kept off the screen; ``sys.path`` as it was (loading a model extends it)."""
    before = list(sys.path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.path[:] = before
