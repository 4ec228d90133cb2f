"""Time and memory as the look-back and the number of variates grow.

``python -m benchmarks.scaling`` runs forward and backward passes of recipe ``paper``, of the same
on torch alone and of PatchTST, each in a process of its own, in turn, and writes
``results/scaling.json`` and ``docs/images/scaling.png``. Along the look-back the number of global
patches and the short look-back are fixed, so that time should stay what it is; along the variates
it should grow as they do.
"""

from __future__ import annotations

import dataclasses
import sys
from statistics import median
from typing import Any

import torch
from torch import nn

from benchmarks import peers
from benchmarks.measure import Call, conditions, ms, options, show, show_targets, target
from benchmarks.project import ROOT, read_params, torch_alone, write_results
from benchmarks.worker import Worker, race_workers
from s2tx import zoo

LOOK_BACKS = (672, 1344, 2688, 5376, 10752)
VARIATES = (7, 21, 50, 100, 321, 862, 2000)
PATCHES = 43  # global ones, where the look-back grows
BATCH, FEW, MANY = 8, 2, 1000  # with MANY variates or more, a batch of FEW
OURS, TORCH, PATCHTST = "ours", "ours on torch alone", "PatchTST"
KINDS = (OURS, TORCH, PATCHTST)
PATIENCE = 3.0  # seconds of a call; a peer who takes longer is not sent to a larger point
IMAGE = ROOT / "docs" / "images" / "scaling.png"


def point(
    kind: str, look_back: int, n_variates: int, batch: int, global_patches: int | None
) -> Call:
    """A call of the forward and the backward pass; whatever it compiles or loads is there."""
    both_ways(kind, look_back, 1, 1, global_patches)()
    return both_ways(kind, look_back, n_variates, batch, global_patches)


def both_ways(
    kind: str, look_back: int, n_variates: int, batch: int, global_patches: int | None
) -> Call:
    """The same, as it comes."""
    params = read_params("paper")
    window = dataclasses.replace(params.window, look_back=look_back)
    model = params.model
    if global_patches is not None:
        model = dataclasses.replace(model, global_stride=None, global_patches=global_patches)
    torch.manual_seed(0)
    if kind == PATCHTST:  # with torch's fused attention, the leaner of its two
        network: nn.Module = peers.PatchTST(model, window.horizon, look_back, residual=False)
    else:
        runtime = params.runtime
        if kind == TORCH:
            runtime = torch_alone(runtime)
        network = zoo.build(model, window, n_variates, runtime, torch.device("cpu"))
    x_BLD = torch.randn(batch, look_back, n_variates)
    y_BHD = torch.randn(batch, window.horizon, n_variates)
    network.train()

    def call() -> None:
        torch.autograd.backward(nn.functional.l1_loss(network(x_BLD), y_BHD))
        network.zero_grad()

    return call


def walk(axis: str, points: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Everyone at every point of an axis, smallest first."""
    found: dict[str, Any] = {}
    stopped: dict[str, str] = {}
    for size, arguments in points.items():
        names = [kind for kind in KINDS if kind not in stopped]
        workers = {
            kind: Worker("benchmarks.scaling:point", kind=kind, **arguments) for kind in names
        }
        times = race_workers(workers, 5 if arguments["n_variates"] < 100 else 2)
        memory = {kind: worker.close() for kind, worker in workers.items()}
        series = arguments["batch"] * arguments["n_variates"]
        here: dict[str, Any] = {kind: {"not_run": reason} for kind, reason in stopped.items()}
        for kind, worker in workers.items():
            if kind not in times:
                here[kind] = {"not_run": worker.not_run}
                stopped[kind] = f"not at {axis} = {size} either: {worker.not_run}"
                continue
            seconds, held = median(times[kind]), memory[kind]
            assert held is not None
            here[kind] = {
                "median_s": seconds,
                "min_s": min(times[kind]),
                "us_per_window_and_variate": min(times[kind]) * 1e6 / series,
                **held._asdict(),
            }
            if seconds > PATIENCE and kind != OURS:
                stopped[kind] = f"a call took {seconds:.1f} s at {axis} = {size}"
        found[str(size)] = {**arguments, "found": here}
        print(f"{axis} = {size}: " + "; ".join(f"{kind} {_cell(here[kind])}" for kind in KINDS))
    return found


def _cell(each: dict[str, Any]) -> str:
    if "not_run" in each:
        return "not run"
    return f"{ms(each['median_s'])} ms, {each['extra_bytes'] / 2**20:.0f} MiB"


def show_walk(axis: str, walked: dict[str, Any]) -> None:
    """Print an axis, and who did not run where, and why."""
    rows = []
    for size, each in walked.items():
        ours = each["found"][OURS]
        per = "-" if "not_run" in ours else f"{ours['us_per_window_and_variate']:.0f}"
        cells = [_cell(each["found"][kind]) for kind in KINDS]
        rows.append([f"{axis} = {size}, batch {each['batch']}", *cells, per])
    show(
        f"forward + backward as {axis} grows: time, extra memory at the peak",
        ["", *KINDS, "ours, µs a window and variate"],
        rows,
    )
    for size, each in walked.items():
        for kind, found in each["found"].items():
            if "not_run" in found:
                print(f"not run: {kind} at {axis} = {size}: {found['not_run']}")


def draw(result: dict[str, Any]) -> None:
    """Time and memory of a window along both axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots(2, 2)
    columns = (("look_back", "look-back L"), ("variates", "variates D"))
    rows = (
        ("median_s", "s a window, forward + backward", 1.0),
        ("extra_bytes", "MiB a window", 2.0**20),
    )
    for column, (axis, label) in enumerate(columns):
        for row, (field, title, unit) in enumerate(rows):
            place = axes[row][column]
            for kind in KINDS:
                points = [
                    (int(size), each["found"][kind][field] / unit / each["batch"])
                    for size, each in result[axis].items()
                    if "not_run" not in each["found"][kind]
                ]
                if points:
                    place.loglog(*zip(*points, strict=True), marker="o", label=kind)
            place.set_xlabel(label)
            place.set_ylabel(title)
            place.grid(True, which="both", alpha=0.2)
    axes[0][0].legend(frameon=False)
    IMAGE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(IMAGE, dpi=120)
    print(f"wrote {IMAGE.relative_to(ROOT)}")


def spread(walked: dict[str, Any], field: str) -> float | None:
    """How many times larger ours is at its largest than at its smallest, over all points."""
    values = [each["found"][OURS].get(field) for each in walked.values()]
    return None if None in values else max(values) / min(values)


def targets(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Flat along the look-back, linear along the variates, and small enough."""
    wide = {size: each for size, each in result["variates"].items() if int(size) >= 100}
    per = "us_per_window_and_variate"
    ecl = result["variates"].get("862", {"found": {OURS: {}}})["found"][OURS].get("peak_bytes")
    return [
        target(
            f"shortest time, largest over smallest, L from {LOOK_BACKS[0]} to {LOOK_BACKS[-1]}",
            spread(result["look_back"], "min_s"), 1.5, at_least=False,
        ),
        target(
            f"shortest time of a variate, largest over smallest, D from 100 to {VARIATES[-1]}",
            spread(wide, per) if wide else None, 1.5, at_least=False,
        ),
        target(
            f"GB held at most, D = 862, batch {BATCH}",
            None if ecl is None else ecl / 1e9, 24, at_least=False,
        ),
    ]  # fmt: skip


def main() -> int:
    """The command line; returns the exit code."""
    quick = options("scaling", __doc__)
    result: dict[str, Any] = {"conditions": conditions()}
    print(result["conditions"])
    look_back = read_params("paper").window.look_back
    lengths = {
        length: {"look_back": length, "n_variates": 7, "batch": BATCH, "global_patches": PATCHES}
        for length in (LOOK_BACKS[:2] if quick else LOOK_BACKS)
    }
    widths = {
        n: {
            "look_back": look_back,
            "n_variates": n,
            "batch": BATCH if n < MANY else FEW,
            "global_patches": None,
        }
        for n in (VARIATES[:2] if quick else VARIATES)
    }
    result["look_back"] = walk("L", lengths)
    result["variates"] = walk("D", widths)
    show_walk("L", result["look_back"])
    show_walk("D", result["variates"])
    result["targets"] = targets(result)
    show_targets(result["targets"])
    if not quick:
        draw(result)
        write_results("scaling", result, peers.versions())
    return 0


if __name__ == "__main__":
    sys.exit(main())
