"""The same weights twice, and after a kill at three moments: sha256 of the trained model.

``python -m benchmarks.trust`` trains the embedded series in fresh clones, kills some of them
with SIGKILL, starts these again, and writes ``results/trust.json``.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import Any

from benchmarks.project import Clone, no_options, write_results
from s2tx.training.bundle import weights_hash

# Short enough to repeat five times; every part of the recipe is in use.
SETTINGS = {
    "window.short_look_back": 168,
    "model.cross_attention": True,
    "train.epochs": 3,
    "train.stride": 4,
    "train.checkpoint_steps": 10,
}
KILL_AT = (0.25, 0.5, 0.85)  # shares of the time that an undisturbed training takes


def train(clone: Clone, kill_after: float | None = None) -> float:
    """Run ``s2tx train``; with ``kill_after`` seconds, kill it then and start it again."""
    began = time.perf_counter()
    if kill_after is not None:
        process = subprocess.Popen(
            ["s2tx", "train"], cwd=clone.root, env=clone.environment, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(kill_after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        if (clone.root / "artifacts/train/model").exists():
            raise RuntimeError(f"the training ended before it could be killed at {kill_after} s")
    clone.run("s2tx", "train")
    return time.perf_counter() - began


def main() -> int:
    """The command line; 1 if the hashes differ."""
    no_options("trust", __doc__)
    runs: dict[str, Any] = {}
    whole = 0.0
    for name, share in [("first", None), ("second", None)] + [
        (f"killed at {share:.0%}", share) for share in KILL_AT
    ]:
        with Clone.fresh() as clone:
            clone.set(SETTINGS)
            clone.run("dvc", "pull", "data.dvc")
            clone.run("dvc", "repro", "inject")
            seconds = train(clone, None if share is None else share * whole)
            whole = whole or seconds
            digest = weights_hash(clone.root / "artifacts/train/model")
            runs[name] = {"weights_sha256": digest, "seconds": seconds}
            print(f"{name:15} {digest}", flush=True)
    same = len({run["weights_sha256"] for run in runs.values()}) == 1
    write_results("trust", {"settings": SETTINGS, "same_weights": same, "runs": runs})
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
