"""One training step: ours, its first version, its torch path, PatchTST and iTransformer.

``python -m benchmarks.train_step`` takes recipe ``paper`` of ``params.yaml`` (batch 128, L 672) on
7 variates and the step of ``s2tx.training.fit``: forward, loss, backward, clipped gradients, AdamW,
averaged weights; everyone takes the same, and recipe ``best`` runs beside. It says how far ours is
from the floor (see ``benchmarks/floor.py``) and writes ``results/train_step.json``.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import floor, peers
from benchmarks.measure import (
    Call,
    conditions,
    gather,
    ms,
    options,
    race,
    show,
    show_targets,
    show_times,
    summary,
    target,
)
from benchmarks.project import read_params, torch_alone, write_results
from s2tx import zoo
from s2tx.params import Params, RuntimeParams, TrainParams, WindowParams, as_dict
from s2tx.training import optimise

VARIATES = 7
OURS, BEST, FIRST, TORCH = "ours", "ours, `best`", "first version", "ours on torch alone"
MATMUL, COPY = 2048, 64 * 2**20  # the ceilings: side of the matrices, numbers copied


def random_batch(window: WindowParams, batch: int, n_variates: int) -> tuple[Tensor, Tensor]:
    """Seeded inputs (B, L, D) and targets (B, H, D)."""
    torch.manual_seed(0)
    x_BLD = torch.randn(batch, window.look_back, n_variates)
    return x_BLD, torch.randn(batch, window.horizon, n_variates)


def training_step(
    network: nn.Module, params: TrainParams, x_BLD: Tensor, y_BHD: Tensor, recipe: Any = optimise
) -> Call:
    """A call that trains ``network`` by one step, as the loop in ``s2tx.training.fit``."""
    optimiser = recipe.optimiser_of(network, params)
    schedule = recipe.schedule_of(optimiser, params, 10**6)
    averaged = recipe.averaged_of(network, params)
    averaged.use_buffers = False  # a peer may have some that cannot be averaged
    network.train()

    def step() -> None:
        loss = recipe.loss_of(network(x_BLD, None), y_BHD, None, params.loss)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), params.clip_norm)
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
        averaged.update_parameters(network)

    return step


def contestants(paper: Params, best: Params, n_variates: int) -> dict[str, Callable[[], nn.Module]]:
    """Who takes part: name to builder, each from the same seed."""
    model, window = paper.model, paper.window

    def ours(params: Params, runtime: RuntimeParams) -> nn.Module:
        torch.manual_seed(0)
        return zoo.build(params.model, params.window, n_variates, runtime, torch.device("cpu"))

    def patchtst(steps: int, residual: bool) -> nn.Module:
        return peers.PatchTST(model, window.horizon, steps, residual)

    long, short = window.look_back, window.short_look_back
    return {
        OURS: lambda: ours(paper, paper.runtime),
        BEST: lambda: ours(best, best.runtime),
        FIRST: lambda: peers.FirstVersion().network(model, window, n_variates),
        TORCH: lambda: ours(paper, torch_alone(paper.runtime)),
        f"PatchTST, {long} steps": lambda: patchtst(long, True),
        f"PatchTST, {short} steps": lambda: patchtst(short, True),
        f"PatchTST, {long} steps, fused attention": lambda: patchtst(long, False),
        f"PatchTST, {short} steps, fused attention": lambda: patchtst(short, False),
        "iTransformer": lambda: peers.ITransformer(model, window, n_variates),
    }


def ceilings() -> dict[str, Call]:
    """Calls whose rates nothing here can beat: one large matrix product, one large copy."""
    a, b = torch.randn(2, MATMUL, MATMUL).unbind()
    product, source = torch.empty(MATMUL, MATMUL), torch.ones(COPY)
    copy = torch.empty_like(source)
    return {"matmul": lambda: torch.mm(a, b, out=product), "copy": lambda: copy.copy_(source)}


def report_floor(
    network: nn.Module, params: Params, times: dict[str, list[float]]
) -> dict[str, Any]:
    """Count, divide by the ceilings' best times, print and return."""
    model, window, batch = params.model, params.window, params.train.batch_size
    works = floor.parts(model, window, batch, VARIATES)
    n_parameters = sum(each.numel() for each in network.parameters())
    moved = floor.bytes_moved(works, n_parameters, window, batch, VARIATES)
    flops, bandwidth = 2 * MATMUL**3 / min(times["matmul"]), 8 * COPY / min(times["copy"])
    least = floor.floor_seconds(
        sum(work.multiply_adds for work in works.values()), moved, flops, bandwidth
    )
    rows = [
        [
            name,
            f"{(work.forward + work.backward) / 1e6:.0f}",
            f"{work.scan / 1e6:.0f}",
            f"{work.elementwise / 1e6:.0f}",
            f"{work.saved * 8 / 1e6:.1f}",
            ms(2 * work.multiply_adds / flops),
        ]
        for name, work in works.items()
    ]
    header = ["", "products", "scan", "elementwise", "saved MB, both ways", "ms at the ceiling"]
    show("the floor: millions of multiply-adds of a step, forward and backward", header, rows)
    step = summary({OURS: times[OURS]}, OURS)[OURS]
    far = step["median_s"] / least["floor_s"]
    print(
        f"ceilings: {flops / 1e9:.0f} GFLOP/s (matmul {MATMUL}), "
        f"{bandwidth / 1e9:.1f} GB/s (copy of {COPY * 4 / 2**20:.0f} MiB, read and written)\n"
        f"operations {ms(least['compute_s'])} ms, {moved / 1e6:.0f} MB {ms(least['memory_s'])} ms: "
        f"floor {ms(least['floor_s'])} ms; ours takes {far:.1f} times that"
    )
    return {
        "parts": {name: dataclasses.asdict(work) for name, work in works.items()},
        "parameters": n_parameters,
        "bytes": moved,
        "flops_per_second": flops,
        "bytes_per_second": bandwidth,
        **least,
        "times_floor": far,
        "times_floor_best": step["min_s"] / least["floor_s"],
    }


def main() -> int:
    """The command line; returns the exit code."""
    quick = options("train_step", __doc__)
    result: dict[str, Any] = {"conditions": conditions()}
    print(result["conditions"])
    params, best = read_params("paper"), read_params("best")
    batch = params.train.batch_size
    networks, not_run = gather(contestants(params, best, VARIATES))
    x_BLD, y_BHD = random_batch(params.window, batch, VARIATES)
    inputs = {BEST: x_BLD[:, -best.window.look_back :].contiguous()}

    def recipe(name: str) -> Any:
        return peers.FirstVersion().module("s2tx.training.optimise") if name == FIRST else optimise

    steps = {
        name: training_step(network, params.train, inputs.get(name, x_BLD), y_BHD, recipe(name))
        for name, network in networks.items()
    }
    times = race(steps | ceilings(), 3 if quick else 15, slot=0.3)
    found = summary({name: times[name] for name in steps}, OURS)
    show_times(f"one training step, batch {batch}, {VARIATES} variates", found, not_run)
    result |= {
        "batch": batch,
        "variates": VARIATES,
        "model": as_dict(params.model),
        "window": as_dict(params.window),
        "best": {"model": as_dict(best.model), "window": as_dict(best.window)},
        "train": as_dict(params.train),
        "times": found,
        "not_run": not_run,
        "floor": report_floor(networks[OURS], params, times),
    }

    def times_ours(name: str) -> float | None:
        return found[name]["times_ours"] if name in found else None

    result["targets"] = [
        target("times faster than the first version", times_ours(FIRST), 2.5, at_least=True),
        *(
            target(f"times faster than {name}", times_ours(name), 1.0, at_least=True)
            for name in networks
            if name.startswith("PatchTST")
        ),
    ]
    show_targets(result["targets"])
    if not quick:
        write_results("train_step", result, peers.versions())
    return 0


if __name__ == "__main__":
    sys.exit(main())
