"""The selective scan, forward and backward: ours, a good torch loop, and other people's.

``python -m benchmarks.scan`` times them in turn on the same inputs and gradients, at the shape of
the project's own model and at longer ones; then ours alone at the length of 321 variates, and how
its time and memory grow. Writes ``results/scan.json``.

The good torch loop is the project's ``reference``: it takes the steps apart with ``unbind``. Where
they are indexed one by one, as in the others, the backward pass grows with the square of L.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.measure import (
    conditions,
    gather,
    ms,
    options,
    race,
    ratio,
    show,
    show_targets,
    show_times,
    summary,
    target,
)
from benchmarks.project import write_results
from benchmarks.worker import Worker
from s2tx.model.scan import choose

N, I, K = 32, 32, 16  # noqa: E741  sequences, channels, state
LENGTHS = (287, 861, 4097)  # 7 variates of 41 patches, 21 of 41, and longer
LONG = (1645, 3290, 6580, 13161)  # 321 variates of 41 patches, and halves of it
SAME = 1e-5  # share of the largest gradient by which a scan may be from the reference
WIDTH = 256  # channels of the long ones, one sequence
OURS = "ours (cpu)"
SQUARE = {"mamba_ssm's reference", "transformers' slow path"}


def ours(name: str) -> peers.Scan:
    """One of the project's scans, called as the peers are."""
    selective_scan = choose(name, torch.device("cpu"))

    def scan(
        u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor,
        D: Tensor, z: Tensor, delta_bias: Tensor,
    ) -> Tensor:  # fmt: skip
        groups = B.unsqueeze(1), C.unsqueeze(1)
        return selective_scan(u, delta, A, *groups, D, z, delta_bias, softplus=True)

    return scan


def inputs(sequences: int, channels: int, length: int) -> tuple[list[Tensor], Tensor]:
    """Seeded inputs, and the gradient of the output; laid out as a linear map leaves them."""
    torch.manual_seed(0)

    def over_time(size: int) -> Tensor:
        return torch.randn(sequences, length, size).transpose(1, 2)

    A, D, bias = -torch.rand(channels, K).exp(), torch.randn(channels), torch.randn(channels)
    u, delta, z, dy = (over_time(channels) for _ in range(4))
    leaves = [u, delta, A, over_time(K), over_time(K), D, z, bias]
    return [leaf.requires_grad_() for leaf in leaves], dy


def both_ways(scan: peers.Scan, sequences: int, channels: int, length: int) -> Callable[[], object]:
    """A call of the scan and of its backward pass, for every gradient."""
    leaves, dy = inputs(sequences, channels, length)
    return lambda: torch.autograd.grad(scan(*leaves), leaves, dy)


def alone(length: int) -> Callable[[], object]:
    """Ours at the long shape, for a process of its own; its kernels are loaded first."""
    both_ways(ours("cpu"), 1, WIDTH, 8)()
    return both_ways(ours("cpu"), 1, WIDTH, length)


def agree(scans: dict[str, peers.Scan]) -> dict[str, float]:
    """The largest error of any gradient against the reference, so that all do the same work.

    Raises:
        ValueError: one does not; names it.
    """
    leaves, dy = inputs(2, I, 37)

    def gradients(scan: peers.Scan) -> tuple[Tensor, ...]:
        return torch.autograd.grad(scan(*leaves), leaves, dy)

    expected, errors = gradients(ours("reference")), {}
    for name, scan in scans.items():
        pairs = zip(gradients(scan), expected, strict=True)
        apart = [(found - wanted).abs().max() / wanted.abs().max() for found, wanted in pairs]
        errors[name] = float(torch.stack(apart).max())  # NaN where any is
        if not errors[name] <= SAME:
            raise ValueError(f"{name} is {errors[name]:.1e} from the reference: another scan")
    return errors


def grow(quick: bool) -> dict[str, dict[str, float]]:
    """Ours alone, by length: seconds, nanoseconds per step, channel and state, extra memory."""
    lengths = LONG[:2] if quick else LONG
    times = race({str(length): alone(length) for length in lengths}, 3 if quick else 7)
    found = {}
    for length in lengths:
        worker = Worker("benchmarks.scan:alone", length=length)
        worker.ready()
        worker.seconds()
        memory = worker.close()
        seconds = summary(times, str(length))[str(length)]["median_s"]
        found[str(length)] = {
            "median_s": seconds,
            "ns_per_step_channel_state": seconds * 1e9 / (length * WIDTH * K),
            "extra_bytes": 0 if memory is None else memory.extra_bytes,
            "times_shortest": ratio(times[str(length)], times[str(lengths[0])]),
        }
    return found


def main() -> int:
    """The command line; returns the exit code."""
    quick = options("scan", __doc__)
    result: dict[str, Any] = {"conditions": conditions()}
    print(result["conditions"])
    scans, not_run = gather(
        {
            OURS: lambda: ours("cpu"),
            "a good torch loop": lambda: ours("reference"),
            "mambapy": peers.mambapy,
            "mamba_ssm's reference": peers.selective_scan_ref,
            "transformers' slow path": peers.transformers_slow,
        }
    )
    result |= {"shape": {"N": N, "I": I, "K": K}, "not_run": not_run, "error": agree(scans)}
    by_length: dict[str, Any] = {}
    for length in LENGTHS[: 1 if quick else None]:
        slow = [name for name in scans if length > LENGTHS[0] and name in SQUARE]
        absent = not_run | dict.fromkeys(slow, "its backward pass grows with the square of L")
        calls = {
            name: both_ways(scan, N, I, length) for name, scan in scans.items() if name not in slow
        }
        times = summary(race(calls, 3 if quick or length > 1000 else 9), OURS)
        show_times(f"scan, forward + backward, L = {length}", times, absent)
        by_length[str(length)] = {"times": times, "not_run": absent}
    result["by_length"] = by_length

    result["growth"] = {"N": 1, "I": WIDTH, "K": K, "by_length": grow(quick)}
    show(
        f"ours alone, {WIDTH} channels",
        ["L", "median ms", "ns / step·channel·state", "extra MiB", "times the shortest"],
        [
            [
                length,
                ms(each["median_s"]),
                f"{each['ns_per_step_channel_state']:.3f}",
                f"{each['extra_bytes'] / 2**20:.0f}",
                f"{each['times_shortest']:.2f}",
            ]
            for length, each in result["growth"]["by_length"].items()
        ],
    )

    def times_ours(name: str) -> float | None:
        found = by_length[str(LENGTHS[0])]["times"].get(name)
        return None if found is None else float(found["times_ours"])

    result["targets"] = [
        target(f"times faster than {name}, L = 287", times_ours(name), wanted, at_least=True)
        for name, wanted in (
            ("mambapy", 12),
            ("a good torch loop", 8),
            ("mamba_ssm's reference", 20),
        )
    ]
    show_targets(result["targets"])
    if not quick:
        write_results("scan", result, peers.versions())
    return 0


if __name__ == "__main__":
    sys.exit(main())
