"""The parts of ``docs/benchmarks.md`` about the global context and earlier code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.markdown import cell_name, commit_text, left_out, table


def context(record: Mapping[str, Any]) -> Iterator[str]:
    """What trained networks make of the global context."""
    yield "## Does the cross-attention do anything?"
    yield ""
    yield (
        f"`{record['receipt']['command'].split(' --')[0]}`: on the trained weights of a cell, over "
        "every test window, the cross-attention is given the context Z_g of another window, half "
        "of the test rows away (shuffled), or the mean of its own tokens in the place of each "
        "(averaged); the head, where it reads Z_g, that of another window. How much worse is the "
        "forecast?"
    )
    yield ""
    labels = ("cross_shuffled", "cross_averaged", "head_shuffled")
    rows = []
    for cell in record["cells"]:
        mse = cell["test_mse"]
        changes = [_change(mse.get(label), mse["intact"]) for label in labels]
        rows.append([cell_name(cell), f"{mse['intact']:.4f}", *changes])
    yield from table(
        ["cell", "MSE", "cross-attention: shuffled", "averaged", "head: shuffled"], rows
    )
    yield ""
    yield (
        f"Another window's context in the cross-attention changes the MSE of these cells by "
        f"{_range(record, labels[0])}; the mean of its tokens by {_range(record, labels[1])}; "
        f"another window's context in the head by {_range(record, labels[2])}. Where the first is "
        "small and the second large, the cross-attention seems to read the places of the tokens, "
        "which are the same for every window, and not what the window holds (though a mean of "
        "tokens is also something that it never met). Where the third is large, the head does read "
        "the content; where half of the forecast is a linear map's (`linear`), the network's own "
        "forecast changes twice as much."
    )
    yield ""
    yield (
        "What each sublayer adds to the tokens, as a share of their norm (mean over the blocks), "
        "and each part's share of the squared gradient of the forecast's error on training "
        "windows, all parts together, as in service:"
    )
    yield ""
    parts = list(
        dict.fromkeys(part for each in record["cells"] for part in each["gradient_shares"])
    )
    sublayers = ("local", "cross", "feed_forward")
    rows = []
    for cell in record["cells"]:
        adds = [
            _mean([block[name] for block in cell["update_shares"] if name in block])
            for name in sublayers
        ]
        shares = [cell["gradient_shares"].get(part) for part in parts]
        rows.append([cell_name(cell), *adds, *(_share(share) for share in shares)])
    yield from table(
        [
            "cell",
            *(f"adds: {name}" for name in sublayers),
            *(f"gradient: {part}" for part in parts),
        ],
        rows,
    )
    yield from left_out(record)


def earlier(cells: Mapping[str, Any]) -> Iterator[str]:
    """The cells that the present code did not make, by the commit that did."""
    yield "## Made by earlier code"
    yield ""
    by_commit: dict[str, list[str]] = {}
    for name, cell in cells.items():
        if cell.get("earlier_code"):
            by_commit.setdefault(commit_text(cell["commit"]), []).append(name)
    if not by_commit:
        yield "None: every cell above is of the present code."
        return
    yield (
        "These have the present settings, and the code that decides a cell has changed since; "
        "`s2tx study grid` runs them again. By commit:"
    )
    yield ""
    for commit, names in by_commit.items():
        yield f"- {commit} ({len(names)}): {', '.join(names)}"


def _range(record: Mapping[str, Any], label: str) -> str:
    """The smallest and the largest change of the MSE."""
    errors = [cell["test_mse"] for cell in record["cells"] if label in cell["test_mse"]]
    changes = sorted(mse[label] / mse["intact"] - 1 for mse in errors)
    return f"{changes[0]:+.1%} to {changes[-1]:+.1%}" if changes else "nothing, as none has it"


def _change(value: float | None, intact: float) -> str:
    return "" if value is None else f"{value / intact - 1:+.2%}"


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.3f}" if values else ""


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
