"""The scans of a GPU: right, repeatable, capturable, and how fast beside what memory allows.

Part of ``python -m benchmarks.gpu_check``. Letters: N sequences, I channels, L steps, K state.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch
from torch import Tensor

from s2tx.model.scan import SelectiveScan, choose
from s2tx.model.scan.reference import selective_scan as reference

NAMES = ("y", "u", "delta", "A", "B", "C", "D", "z", "delta_bias")
# Largest error as a share of the largest exact value, and no value smaller than 1.
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 2**-7}
BOTH = (False, True)
PARITY: list[tuple[int, int, int, int, tuple[bool, ...]]] = [
    (3, 64, 287, 16, BOTH), (2, 8, 1, 16, BOTH), (2, 6, 97, 4, (True,)), (2, 40, 861, 16, BOTH),
    (1, 96, 130, 64, (False,)), (1, 2, 33, 1, BOTH),
]  # fmt: skip
TIMED: list[tuple[int, int, int, int, tuple[bool, ...]]] = [
    (128, 64, 287, 16, BOTH), (128, 32, 287, 16, (False,)), (32, 512, 13161, 16, BOTH),
    (1, 64, 13161, 16, BOTH),
]  # fmt: skip


def kernels(device: torch.device) -> list[str]:
    """The scans to be had on ``device``, besides the reference."""
    if device.type == "cpu":
        return ["cpu"]
    return [name for name in ("triton", "mamba_ssm") if importlib.util.find_spec(name) is not None]


def leaves(
    N: int, I: int, L: int, K: int, reverse: tuple[bool, ...],  # noqa: E741
    device: torch.device, dtype: torch.dtype = torch.float32,
) -> list[Tensor]:  # fmt: skip
    """Inputs as a model makes them, time innermost: u, delta, A, B, C, D, z, bias."""
    torch.manual_seed(0)
    shapes = [(N, I, L), (N, I, L), (I, K), *[(N, len(reverse), K, L)] * 2, (I,), (N, I, L), (I,)]
    made = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    made[2] = -made[2].exp()
    wide = (2, 5, 7)  # A, D and the bias are parameters, float32 under autocast too
    return [
        value.to(device, torch.float32 if i in wide and dtype != torch.float64 else dtype)
        for i, value in enumerate(made)
    ]


def step(scan: SelectiveScan, given: list[Tensor], reverse: tuple[bool, ...]) -> list[Tensor]:
    """The output and the gradient of every input, for one fixed gradient of the output."""
    inputs = [value.detach().requires_grad_() for value in given]
    u, delta, A, B, C, D, z, bias = inputs
    y = scan(u, delta, A, B, C, D, z, bias, softplus=True, reverse=reverse)
    dy = torch.cos(torch.arange(y.numel(), device=y.device)).view_as(y).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, inputs, dy)]


@torch.no_grad()
def forward(scan: SelectiveScan, given: list[Tensor], reverse: tuple[bool, ...]) -> Tensor:
    """The output alone."""
    u, delta, A, B, C, D, z, bias = given
    return scan(u, delta, A, B, C, D, z, bias, softplus=True, reverse=reverse)


def parity(device: torch.device) -> dict[str, Any]:
    """Every kernel against the reference in float64 on the CPU: output and every gradient."""
    found: dict[str, Any] = {}
    for name in kernels(device):
        scan = choose(name, device)
        for dtype, allowed in TOLERANCE.items():
            for shape in PARITY:
                given = leaves(*shape, device, dtype)
                results = step(scan, given, shape[-1])
                exact = step(reference, [x.cpu().double() for x in given], shape[-1])
                errors = {
                    part: float((a.cpu().double() - b).abs().max() / b.abs().max().clamp(min=1))
                    for part, a, b in zip(NAMES, results, exact, strict=True)
                }
                key = f"{name} {str(dtype).removeprefix('torch.')} {shape}"
                found[key] = {"ok": within(errors, allowed), "relative_error": errors}
    right = bool(found) and all(each["ok"] for each in found.values())
    return {"ok": right, "cases": found}


def within(errors: Mapping[str, float], allowed: float) -> bool:
    """Every error is a number and no larger; a NaN, which ``max`` may pass over, is none."""
    return all(error <= allowed for error in errors.values())


def repeatable(device: torch.device) -> dict[str, Any]:
    """The same bits twice, and for a sequence whatever else is in its batch."""
    scan, shape = choose(kernels(device)[0], device), TIMED[0]
    given = leaves(*shape, device)
    first, again = step(scan, given, BOTH), step(scan, given, BOTH)
    fewer = [x[:-1] if x.dim() > 2 else x for x in given]
    part = forward(scan, fewer, BOTH)
    twice = all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    alone = torch.equal(part, first[0][:-1])
    return {"ok": twice and alone, "twice": twice, "in_another_batch": alone}


def captured(device: torch.device) -> dict[str, Any]:
    """Forward and backward in a CUDA graph, replayed: no allocation or wait hides in a launch."""
    scan, given = choose(kernels(device)[0], device), leaves(*TIMED[0], device)
    expected = step(scan, given, BOTH)
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            step(scan, given, BOTH)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step(scan, given, BOTH)
    for _ in range(100):
        graph.replay()
    torch.cuda.synchronize()
    return {"ok": all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))}


def seconds(call: Callable[[], object], repeats: int = 20) -> float:
    """Median seconds of a call on the GPU, by events around it."""
    for _ in range(3):
        call()
    pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]  # type: ignore[no-untyped-call]
    for began, ended in pairs:
        began.record()
        call()
        ended.record()
    torch.cuda.synchronize()
    return median(float(began.elapsed_time(ended)) / 1e3 for began, ended in pairs)


def copy_speed(device: torch.device) -> float:
    """Bytes a second that a large copy reads and writes: the ceiling."""
    source = torch.empty(2**28, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() * 4 / seconds(lambda: target.copy_(source))


def bytes_moved(N: int, I: int, L: int, K: int, G: int) -> dict[str, int]:  # noqa: E741
    """What a forward and a backward pass must read and write, in float32, each thing once.

    The states kept between them are not counted: they are the kernel's choice.
    """
    wide, narrow = N * I * L * 4, N * G * K * L * 4
    return {"forward": 4 * wide + 2 * narrow, "backward": 7 * wide + 4 * narrow}


def speed(device: torch.device) -> dict[str, Any]:
    """Seconds of every kernel, forward and with the backward, and their share of a copy's speed."""
    ceiling = copy_speed(device)
    rows: dict[str, Any] = {}
    for N, I, L, K, reverse in TIMED:  # noqa: E741
        given = leaves(N, I, L, K, reverse, device)
        moved = bytes_moved(N, I, L, K, len(reverse))
        for name in kernels(device):
            scan = choose(name, device)

            torch.cuda.reset_peak_memory_stats()
            times = {
                "forward": seconds(functools.partial(forward, scan, given, reverse)),
                "forward_backward": seconds(functools.partial(step, scan, given, reverse)),
            }
            total = moved["forward"] + moved["backward"]
            rows[f"{name} {(N, I, L, K)} {len(reverse)} directions"] = {
                "seconds": times,
                "share_of_copy_speed": {
                    "forward": moved["forward"] / times["forward"] / ceiling,
                    "forward_backward": total / times["forward_backward"] / ceiling,
                },
                "peak_bytes": torch.cuda.max_memory_allocated(),
            }
    return {"ok": True, "copy_bytes_per_second": ceiling, "scans": rows}
