"""Real data through the whole pipeline, each set in a fresh clone: scores, receipts and times.

``python -m benchmarks.pipeline --data-dir FOLDER [NAME ...]`` ingests the benchmark files found in
FOLDER, runs ``dvc repro`` twice, and writes ``results/pipeline.json``. The settings are those of
recipe ``best``, with what was found for the data set, but for what ``RUNS`` says.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks.project import Clone, read_params, write_results
from s2tx.data.catalog import find
from s2tx.params import as_dict

# What else than by the recipe: a short training where a whole one takes a quarter of an hour.
RUNS: dict[str, dict[str, Any]] = {
    "ETTh1": {},
    "Exchange": {},
    "Weather": {"train.epochs": 1, "baseline.train.epochs": 1},
}


def measure(name: str, file: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """One data set from its file to its report."""
    with Clone.fresh() as clone:
        best = read_params("best", name)
        found = {
            f"{section}.{key}": value
            for section in ("model", "window", "train")
            for key, value in as_dict(getattr(best, section)).items()
        }
        changed = clone.set(found | settings)
        return {
            "settings": changed,
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
    if unknown := set(options.names) - set(RUNS):
        parser.error(f"no run of {', '.join(sorted(unknown))}; there are {', '.join(RUNS)}")
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
