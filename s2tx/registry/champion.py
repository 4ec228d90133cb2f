"""From the registry back to a model in memory."""

from __future__ import annotations

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
from s2tx.training.bundle import CONFIG, Bundle, weights_hash
from s2tx.training.runtime import pick_device

if TYPE_CHECKING:
    from mlflow import MlflowClient


class UnloadableError(S2TXError):
    """A version of the registry that is no model here; the message says why."""


@guarded
def load_champion(project: Project, name: str, runtime: RuntimeParams) -> tuple[Bundle, int]:
    """The model in service and its version.

    Raises:
        InputError: no version of ``name`` holds the alias.
        UnloadableError: it does not load; the message has the way back.
        S2TXError: the registry does not answer.
    """
    client = connect(project)
    version = champion(client, name)
    if version is None:
        raise InputError(
            f"{name} has no champion",
            "Train and promote one: dvc repro, s2tx register, s2tx promote; or put back one that "
            "the ledger knows: s2tx rollback --to",
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
        OSError: this machine cannot hold or read it (a full disk, too many files); no fault of the
            version, and so is what torch raises where memory is short.
    """
    import torch
    from mlflow.exceptions import MlflowException

    try:
        entry = client.get_model_version(name, str(version))
        with tempfile.TemporaryDirectory() as folder:
            inside = f"{entry.tags[PLACE]}/{BUNDLE}"
            bundle = Path(client.download_artifacts(entry.run_id, inside, folder))
            config = of_file(bundle / CONFIG)
            for what, registered, found in (
                ("weights", entry.tags[tracking.WEIGHTS], weights_hash(bundle)),
                # Versions registered before this hash was kept have none.
                ("config", entry.tags.get(tracking.CONFIG, config), config),
            ):
                if found != registered:
                    raise UnloadableError(
                        f"the {what} of {name} version {version} have sha256 {found}, and were "
                        f"registered with {registered}."
                    )
            return Bundle.load(bundle, runtime, pick_device(runtime))
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, ValueError) as error:
        raise UnloadableError(
            f"{name} version {version} does not fit the model code that is checked out ({error}). "
            "Its own code lies in the registry: serve it with mlflow models serve, or check out "
            "the commit of its run."
        ) from error
    except (MlflowException, KeyError, FileNotFoundError, NotADirectoryError) as error:
        shown = without_password(error, client.tracking_uri)
        raise UnloadableError(
            f"{name} version {version} does not load ({type(error).__name__}: {shown})."
        ) from error
