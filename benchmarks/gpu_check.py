"""Every check that needs a GPU, in one command: parity, speed, memory, a short real training.

``python -m benchmarks.gpu_check`` needs only torch, lightning, numpy, pandas, pyarrow, safetensors
and PyYAML, and writes ``results/gpu_check.json``. ``--device cpu`` rehearses it where there is no
GPU, and writes nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch

from benchmarks import gpu_scan
from benchmarks.project import read_params, write_results
from s2tx import zoo
from s2tx.data.demo import NAME, make_demo
from s2tx.data.missing import Mask
from s2tx.data.table import Card, Table
from s2tx.params import Params
from s2tx.training.fit import Epoch
from s2tx.training.optimise import loss_of, optimiser_of
from s2tx.training.train import train

Precision = Literal["32-true", "bf16-mixed"]
TOLERANCE: dict[Precision, float] = {"32-true": 1e-4, "bf16-mixed": 5e-2}  # of the largest value


def demo_table() -> Table:
    """The embedded series, made by its generator: no file is needed."""
    frame = make_demo()
    variates = tuple(frame.columns[1:])
    card = Card(NAME, "", "0" * 64, "date", "1h", variates, "ratio", "insert", NAME, "", True)
    return Table(card, pd.DatetimeIndex(frame["date"]), frame[list(variates)].to_numpy())


def model_parity(params: Params, device: torch.device) -> dict[str, Any]:
    """The whole network from one state dict on the CPU and on the device, with values missing and
    without."""
    torch.manual_seed(0)
    runtime, window = params.runtime, params.window
    cpu = zoo.build(params.model, window, 7, runtime, torch.device("cpu")).eval()
    other = zoo.build(params.model, window, 7, runtime, device).eval()
    other.load_state_dict(cpu.state_dict())
    x = torch.randn(16, window.look_back, 7)
    observed = torch.rand_like(x) > 0.2
    observed[:, -200:-50, ::2] = False  # whole patches, of some of the variates
    errors: dict[str, dict[Precision, float]] = {"complete": {}, "missing": {}}
    with torch.inference_mode():
        for name, seen in (("complete", None), ("missing", observed)):
            expected = cpu(x, seen)
            for precision in TOLERANCE:
                with torch.autocast(device.type, torch.bfloat16, enabled=precision != "32-true"):
                    found = other(x.to(device), None if seen is None else seen.to(device))
                difference = (found.float().cpu() - expected).abs().max()
                errors[name][precision] = float(difference / expected.abs().max())
    ok = all(
        error < TOLERANCE[precision]
        for each in errors.values()
        for precision, error in each.items()
    )
    return {"ok": ok, "relative_error": errors}


def steps(params: Params, device: torch.device) -> dict[str, Any]:
    """Training steps on the GPU as the work grows, and whether any of them waits for the host.

    Batch 128 and 7 variates are an epoch of ETTh1 in 63 steps; 862 variates are Traffic's.
    """
    found: dict[str, Any] = {}
    for precision in TOLERANCE:
        for batch, variates, look_back in (
            (128, 7, 672), (8, 862, 672), (128, 7, 2688), (128, 7, 10752),
        ):  # fmt: skip
            window = dataclasses.replace(params.window, look_back=look_back)
            model = dataclasses.replace(params.model, global_stride=None, global_patches=43)
            network = zoo.build(model, window, variates, params.runtime, device)
            optimiser = optimiser_of(network, params.train)
            x = torch.randn(batch, look_back, variates, device=device)
            y = torch.randn(batch, window.horizon, variates, device=device)

            def one(
                network: torch.nn.Module = network, x: torch.Tensor = x, y: torch.Tensor = y,
                optimiser: torch.optim.Optimizer = optimiser, precision: Precision = precision,
            ) -> None:  # fmt: skip
                with torch.autocast("cuda", torch.bfloat16, enabled=precision != "32-true"):
                    loss = loss_of(network(x), y, None, params.train.loss)
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(network.parameters(), params.train.clip_norm)
                optimiser.step()
                optimiser.zero_grad()

            torch.cuda.reset_peak_memory_stats()
            time_taken = gpu_scan.seconds(one)
            torch.cuda.set_sync_debug_mode("error")
            waits = None
            try:
                one()
            except RuntimeError as error:
                waits = str(error)
            finally:
                torch.cuda.set_sync_debug_mode("default")
            found[f"step_{precision}_batch_{batch}_variates_{variates}_look_back_{look_back}"] = {
                "ok": waits is None,
                "waits_for_the_host": waits,
                "seconds": time_taken,
                "peak_bytes": torch.cuda.max_memory_allocated(),
            }
    return found


class Clock:
    """A watcher that keeps the seconds of each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = time.perf_counter()

    def on_step(self, done: int, total: int) -> None: ...

    def on_epoch(self, epoch: Epoch) -> None:  # noqa: ARG002
        now = time.perf_counter()
        self.seconds.append(now - self._began)
        self._began = now


def short_training(params: Params, device: torch.device, epochs: int, stride: int) -> Any:
    """A real training on the embedded series, in each precision."""
    table, runs = demo_table(), {}
    place: Literal["cpu", "cuda"] = "cuda" if device.type == "cuda" else "cpu"
    for precision in TOLERANCE:
        runtime = dataclasses.replace(params.runtime, device=place, precision=precision)
        recipe = dataclasses.replace(params.train, epochs=epochs, stride=stride)
        clock = Clock()
        some = dataclasses.replace(params, runtime=runtime)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        with tempfile.TemporaryDirectory() as folder:
            mask = Mask(table.observed, 0)
            spec = params.model
            _, history = train(table, mask, spec, recipe, some, Path(folder), (clock,))
        runs[precision] = {
            "ok": history[-1].train_loss < history[0].train_loss,
            "history": [dataclasses.asdict(epoch) for epoch in history],
            "epoch_seconds": clock.seconds,
            "peak_bytes": torch.cuda.max_memory_allocated() if device.type == "cuda" else None,
        }
    return runs


def main() -> int:
    """The command line; 1 if a check fails or there is no GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("torch finds no CUDA device; rehearse with --device cpu", file=sys.stderr)
        return 1
    params, recipes = read_params(), {name: read_params(name) for name in ("paper", "best")}
    rehearsal = device.type == "cpu"
    checks = {
        "scan_parity": gpu_scan.parity(device),
        "scan_repeatable": gpu_scan.repeatable(device),
        **{f"model_parity_{name}": model_parity(each, device) for name, each in recipes.items()},
    }
    if not rehearsal:
        checks["scan_captured"] = gpu_scan.captured(device)
        checks["scan_speed"] = gpu_scan.speed(device)
        checks |= steps(recipes["paper"], device)
    runs = short_training(params, device, *((2, 64) if rehearsal else (params.train.epochs, 1)))
    checks |= {f"training_{precision}": run for precision, run in runs.items()}
    for name, check in checks.items():
        print(f"{'ok  ' if check['ok'] else 'FAIL'} {name}: {check}")
    if not rehearsal:
        write_results("gpu_check", {"checks": checks})
    return 0 if all(check["ok"] for check in checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
