"""Where things are. Naming a place makes nothing: who writes there makes the folder."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Project:
    """The places of one project, all below its root."""

    root: Path

    @classmethod
    def here(cls) -> Project:
        """The project whose root is the working folder (DVC runs every stage there)."""
        return cls(Path.cwd())

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def data(self) -> Path:
        """The current version of the table and its card, tracked whole by ``data.dvc``."""
        return self.root / "data"

    @property
    def quarantine(self) -> Path:
        """Refused candidates, each with the report that says why."""
        return self.root / "quarantine"

    @property
    def night(self) -> Path:
        """The lock that a night at work holds."""
        return self.cache / "nightly.lock"

    @property
    def cache(self) -> Path:
        """Downloads, locks and resumable state; safe to delete when nothing runs."""
        return self.root / ".cache"

    @property
    def mlruns(self) -> Path:
        """MLflow's home and the promotion ledger."""
        return self.root / "mlruns"

    @property
    def forecasts(self) -> Path:
        return self.root / "forecasts"

    @property
    def artifacts(self) -> Path:
        """What the stages write, one folder a stage."""
        return self.root / "artifacts"

    # The files that stages exchange.

    @property
    def table(self) -> Path:
        """The validated table: regular, sentinels missing, float64; Parquet with its card."""
        return self.artifacts / "validate" / "table.parquet"

    @property
    def validation(self) -> Path:
        return self.artifacts / "validate" / "report.json"

    @property
    def data_docs(self) -> Path:
        return self.artifacts / "validate" / "docs"

    @property
    def train_mask(self) -> Path:
        """What training may see: a file apart, so that a new evaluation mask trains nothing."""
        return self.artifacts / "inject" / "train.npz"

    @property
    def evaluate_mask(self) -> Path:
        """What the evaluation's second pass may see."""
        return self.artifacts / "inject" / "evaluate.npz"

    @property
    def model(self) -> Path:
        """The trained model: a bundle folder (see ``s2tx.training.bundle``)."""
        return self.artifacts / "train" / "model"

    @property
    def history(self) -> Path:
        """One JSON object an epoch: losses and rate."""
        return self.artifacts / "train" / "history.json"

    @property
    def baseline(self) -> Path:
        """The trained baseline: a bundle folder."""
        return self.artifacts / "baseline" / "model"

    @property
    def metrics(self) -> Path:
        return self.artifacts / "evaluate" / "metrics.json"

    @property
    def receipt(self) -> Path:
        return self.artifacts / "evaluate" / "receipt.json"

    @property
    def plots(self) -> Path:
        return self.artifacts / "evaluate" / "plots"

    @property
    def report(self) -> Path:
        return self.artifacts / "report" / "report.html"


@contextlib.contextmanager
def write_beside(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that takes its place only when the block succeeds.

    A reader sees the old file or the new one, never a part. Folders of ``target`` are made.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    os.close(handle)
    part = Path(name)
    part.chmod(0o644)
    try:
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    with write_beside(target) as part:
        part.write_text(text, encoding="utf-8")
