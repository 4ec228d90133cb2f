"""From the registry back to a model in memory."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from s2tx.errors import InputError, S2TXError
from s2tx.fingerprint import of_file
from s2tx.params import RuntimeParams
from s2tx.paths import Project
from s2tx.registry import tracking
from s2tx.registry.ledger import champion
from s2tx.registry.package import BUNDLE, PLACE
from s2tx.registry.store import connect, guarded, without_password
from s2tx.training.bundle import CONFIG, Bundle, read_config, weights_hash
from s2tx.training.runtime import pick_device

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


# As torch says it, of the GPU and of the CPU.
_SHORT = re.compile("out of memory|can't allocate memory|CUDA error")


class UnloadableError(S2TXError):
    """A version of the registry that is no model here; the message says why."""


class MachineError(S2TXError):
    """A version that nothing is known to be wrong with could not be fetched, or held in memory."""


@guarded
def load_champion(project: Project, name: str, runtime: RuntimeParams) -> tuple[Bundle, int]:
    """The model in service and its version.

    Raises:
        InputError: no version of ``name`` holds the alias.
        UnloadableError: it does not load; the message has the way back.
        MachineError: this machine could not take it in.
        S2TXError: the registry does not answer.
    """
    client = connect(project)
    version = champion(client, name)
    if version is None:
        raise InputError(
            f"{name} has no champion",
            "Train and promote one: dvc repro, s2tx register, s2tx promote, which says why if not; "
            "or put one in service unscored: s2tx rollback --to",
        )
    try:
        return load_version(client, name, version, runtime), version
    except UnloadableError as error:
        raise UnloadableError(
            f"{error} Go back with: s2tx rollback, or to another version with: s2tx rollback --to"
        ) from error


def load_version(client: MlflowClient, name: str, version: int, runtime: RuntimeParams) -> Bundle:
    """One version, its files checked against the hashes it was registered with.

    Raises:
        UnloadableError: there is no such version, its files are absent or changed, or the code of
            this project is no longer the code that it was trained with.
        MachineError: it is there, and this machine could not fetch or hold it.
        InputError: ``runtime`` asks for what this machine lacks.
    """
    from mlflow.exceptions import MlflowException

    called = f"{name} version {version}"
    try:
        entry = client.get_model_version(name, str(version))
        with tempfile.TemporaryDirectory() as folder:
            bundle = _fetch(client, entry, called, Path(folder))
            config = of_file(bundle / CONFIG)
            for what, registered, found in (
                ("weights", entry.tags[tracking.WEIGHTS], weights_hash(bundle)),
                # Versions registered before this hash was kept have none.
                ("config", entry.tags.get(tracking.CONFIG, config), config),
            ):
                if found != registered:
                    raise UnloadableError(
                        f"the {what} of {called} have sha256 {found}, and were registered with "
                        f"{registered}."
                    )
            _require_format(bundle, called)
            return Bundle.load(bundle, runtime, pick_device(runtime))
    except (RuntimeError, TypeError, ValueError, MemoryError) as error:
        if isinstance(error, MemoryError) or _SHORT.search(str(error)):
            raise _too_little(called, client, error) from None
        raise UnloadableError(
            f"{called} does not fit the model code that is checked out ({error}). "
            "Its own code lies in the registry: serve it with mlflow models serve, or check out "
            "the commit of its run."
        ) from error
    except (MlflowException, KeyError, FileNotFoundError, NotADirectoryError) as error:
        shown = without_password(error, client.tracking_uri)
        raise UnloadableError(
            f"{called} does not load ({type(error).__name__}: {shown})."
        ) from None
    except OSError as error:
        raise _too_little(called, client, error) from None


def _require_format(bundle: Path, called: str) -> None:
    """Of another format is the version at fault, not who asks for it."""
    try:
        read_config(bundle)
    except InputError as error:
        raise UnloadableError(f"{called} does not load ({error.what}).") from None


def _fetch(client: MlflowClient, entry: ModelVersion, called: str, folder: Path) -> Path:
    """The bundle of a version, in ``folder``.

    Raises:
        MachineError: its files are in the registry, and did not arrive.
    """
    from mlflow.exceptions import MlflowException

    inside = f"{entry.tags[PLACE]}/{BUNDLE}"
    try:
        return Path(client.download_artifacts(entry.run_id, inside, folder))
    except (MlflowException, OSError) as error:
        # MLflow says the same of files that are absent and of a disk that is full.
        if not client.list_artifacts(entry.run_id, inside):
            raise
        raise _too_little(called, client, error) from None


def _too_little(called: str, client: MlflowClient, error: Exception) -> MachineError:
    free = shutil.disk_usage(tempfile.gettempdir()).free / 2**30
    shown = without_password(error, client.tracking_uri)
    return MachineError(
        f"{called} is in the registry, and this machine could not take it in ({shown}). Nothing is "
        f"known to be wrong with it: see to memory, and to the disk of {tempfile.gettempdir()}, "
        f"where {free:.1f} GiB are free."
    )
