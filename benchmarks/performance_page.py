"""The figures of docs/performance.md, made from ``results/*.json`` and never typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.markdown import commit_text
from benchmarks.measure import ms


def render(results: Mapping[str, Any]) -> str:
    """The tables, from the results of scan, train_step, inference and scaling by name."""
    parts = (
        *_scan(results["scan"]),
        *_train_step(results["train_step"]),
        *_inference(results["inference"]),
        *_scaling(results["scaling"]),
    )
    return "\n".join(parts)


def _head(title: str, name: str, result: Mapping[str, Any]) -> Iterator[str]:
    where = result["conditions"]
    code = commit_text(result["receipt"]["code"])
    yield from (
        "",
        f"### {title}",
        "",
        f"`python -m benchmarks.{name}`: {where['threads']} threads of {where['processor']}, load "
        f"before {where['load_before']}, commit {code}, in "
        f"[results/{name}.json](../results/{name}.json).",
        "",
    )


def _times(times: Mapping[str, Any], not_run: Mapping[str, str]) -> Iterator[str]:
    yield "| | median ms | shortest ms | times ours |"
    yield "|---|---|---|---|"
    for name, each in times.items():
        spent = f"{ms(each['median_s'])} | {ms(each['min_s'])}"
        yield f"| {name} | {spent} | {each['times_ours']:.2f} |"
    for name, reason in not_run.items():
        yield f"| {name} | not run: {reason} | | |"


def _targets(result: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    for each in result["targets"]:
        word = {True: "met", False: "**missed**", None: "not run"}[each["met"]]
        found = "" if each["found"] is None else f"{each['found']:.3g}, "
        yield f"- {each['what']}: {found}wanted {each['wanted']:g}: {word}"


def _scan(result: Mapping[str, Any]) -> Iterator[str]:
    yield from _head("The scan, forward and backward", "scan", result)
    shape = result["shape"]
    for length, each in result["by_length"].items():
        yield f"N = {shape['N']}, I = {shape['I']}, K = {shape['K']}, L = {length}:"
        yield ""
        yield from _times(each["times"], each["not_run"])
        yield ""
    growth = result["growth"]
    yield f"Ours alone, one sequence of {growth['I']} channels:"
    yield ""
    yield "| L | median ms | ns a step, channel and state | extra MiB |"
    yield "|---|---|---|---|"
    for length, each in growth["by_length"].items():
        per, extra = each["ns_per_step_channel_state"], each["extra_bytes"] / 2**20
        yield f"| {length} | {ms(each['median_s'])} | {per:.2f} | {extra:.0f} |"
    yield from _targets(result)


def _train_step(result: Mapping[str, Any]) -> Iterator[str]:
    yield from _head("A training step", "train_step", result)
    yield (
        f"Batch {result['batch']}, {result['variates']} variates, look-back "
        f"{result['window']['look_back']} (`best` {result['best']['window']['look_back']}), "
        "dropout, clipping, AdamW and averaging included:"
    )
    yield ""
    yield from _times(result["times"], result["not_run"])
    floor = result["floor"]
    yield ""
    yield (
        f"The floor: {ms(floor['compute_s'])} ms for the operations at the "
        f"{floor['flops_per_second'] / 1e9:.0f} GFLOP/s of a large product on the same threads, "
        f"{ms(floor['memory_s'])} ms for the {floor['bytes'] / 1e6:.0f} MB that must move. Ours "
        f"takes {floor['times_floor']:.1f} times the floor, and {floor['times_floor_best']:.1f} in "
        "its best round."
    )
    yield from _targets(result)


def _inference(result: Mapping[str, Any]) -> Iterator[str]:
    yield from _head("A forecast, and the scoring of a test part", "inference", result)
    yield f"One forecast of one window on {result['latency']['threads']} thread:"
    yield ""
    yield from _times(result["latency"]["times"], result["latency"]["not_run"])
    batch = result["batch"]
    yield ""
    yield f"All {batch['windows']} test windows of {batch['data']['name']}:"
    yield ""
    yield from _times(batch["times"], batch["not_run"])
    yield from _targets(result)


def _scaling(result: Mapping[str, Any]) -> Iterator[str]:
    yield from _head("As the work grows", "scaling", result)
    yield "![Time and memory of a window along look-back and variates](images/scaling.png)"
    for axis, letter in (("look_back", "L"), ("variates", "D")):
        walked = result[axis]
        kinds = list(next(iter(walked.values()))["found"])
        yield ""
        yield f"| {letter}, batch | " + " | ".join(f"{kind}: ms, MiB" for kind in kinds) + " |"
        yield "|---" * (len(kinds) + 1) + "|"
        for size, each in walked.items():
            cells = " | ".join(_cell(each["found"][kind]) for kind in kinds)
            yield f"| {size}, {each['batch']} | {cells} |"
    yield from _targets(result)


def _cell(found: Mapping[str, Any]) -> str:
    if "not_run" in found:
        return f"not run: {found['not_run']}"
    return f"{ms(found['median_s'])}, {found['extra_bytes'] / 2**20:.0f}"
