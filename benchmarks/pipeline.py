"""Real data through the whole pipeline, each set in a fresh clone: scores, receipts and times.

``python -m benchmarks.pipeline --data-dir FOLDER [NAME ...]`` ingests the benchmark files found in
FOLDER, runs ``dvc repro`` twice, and writes ``results/pipeline.json``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks.project import Clone, write_results
from s2tx.data.catalog import find

# ETTh1 with the paper-like recipe; the others with short training, to see them through.
RUNS: dict[str, dict[str, Any]] = {
    "ETTh1": {
        "model.dropout": 0.3,
        "train.batch_size": 128,
        "train.epochs": 6,
        "train.stride": 1,
    },
    "Exchange": {"window.look_back": 336, "window.short_look_back": 168, "train.epochs": 2},
    "Weather": {
        "window.look_back": 336,
        "window.short_look_back": 168,
        "train.epochs": 1,
        "train.stride": 8,
        "baseline.train.epochs": 1,
    },
}


def measure(name: str, file: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """One data set from its file to its report."""
    with Clone.fresh() as clone:
        clone.set(settings)
        return {
            "settings": settings,
            "seconds": {
                "ingest": clone.run("s2tx", "ingest", name, "--from", str(file.resolve())),
                "dvc repro": clone.run("dvc", "repro"),
                "dvc repro again": clone.run("dvc", "repro"),
            },
            "metrics": clone.read("artifacts/evaluate/metrics.json"),
            "receipt": clone.read("artifacts/evaluate/receipt.json"),
            "findings": clone.read("artifacts/validate/report.json")["findings"],
        }


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("names", nargs="*", default=list(RUNS))
    options = parser.parse_args()
    runs: dict[str, Any] = {}
    for name in options.names:
        file = options.data_dir / find(name).file
        if file.exists():
            runs[name] = measure(name, file, RUNS[name])
        else:
            runs[name] = {"not_run": f"{file.name} is not in the folder"}
    write_results("pipeline", {"runs": runs})
    for name, run in runs.items():
        for model, score in run.get("metrics", {}).get("test", {}).items():
            print(f"{name:10} {model:15} MSE {score['mse']:.4f}  MAE {score['mae']:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
