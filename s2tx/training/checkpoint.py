"""What a killed run resumes from: one file, replaced whole, read without pickle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from s2tx.paths import write_beside


@dataclass(frozen=True)
class Checkpoint:
    """The state of one training run on disk.

    The run's fingerprint is in the file's name, so a run of other code, data or params never
    resumes from it.
    """

    path: Path

    @classmethod
    def of_run(cls, folder: Path, fingerprint: str) -> Checkpoint:
        return cls(folder / f"{fingerprint[:32]}.pt")

    def save(self, state: dict[str, Any]) -> None:
        """Keep ``state`` (tensors and plain values), with the generators' states added."""
        generators = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            generators["cuda"] = torch.cuda.get_rng_state()
        with write_beside(self.path) as part:
            torch.save({**state, "generators": generators}, part)

    def load(self) -> dict[str, Any] | None:
        """The state that was kept, its generators put back in force; None if there is none."""
        if not self.path.exists():
            return None
        state: dict[str, Any] = torch.load(self.path, weights_only=True, map_location="cpu")
        generators = state.pop("generators")
        torch.set_rng_state(generators["cpu"])
        if "cuda" in generators and torch.cuda.is_available():
            torch.cuda.set_rng_state(generators["cuda"])
        return state

    def discard(self) -> None:
        """The run has ended well: forget its state."""
        self.path.unlink(missing_ok=True)
