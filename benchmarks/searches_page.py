"""``docs/searches.md``, made from the records of ``results/search/``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.markdown import commit_text, table
from benchmarks.project import ROOT

PAGE = ROOT / "docs" / "searches.md"


def page(records: Iterable[Mapping[str, Any]], waiting: Sequence[str] = ()) -> str:
    """The whole of ``docs/searches.md``: what each search tried, in the order of trial.

    Args:
        records: the files of ``results/search/``.
        waiting: searches that were not run yet.
    """
    return "\n".join(_lines(records, waiting)) + "\n"


def _lines(records: Iterable[Mapping[str, Any]], waiting: Sequence[str]) -> Iterator[str]:
    yield "# How the settings were chosen"
    yield ""
    yield "<!-- Made by `python -m benchmarks.tables` from results/search/: do not edit. -->"
    yield ""
    yield (
        "`s2tx study search` reads validation windows only, with the first seed. Trial 1 is the "
        "plain setting, the first choice of every key. Each next one changes one key of the "
        "champion; when all such changes were tried, Optuna proposes. A challenger takes the place "
        "only if its validation MSE, averaged over the horizons, is lower, and a one-sided paired "
        "t test over stretches as long as the horizon is as confident as the search asks. Of a "
        "baseline it asks nothing: the lowest error wins. Stretches are few and neighbours "
        "overlap, so the test is surer than it should be, and each challenger is tested anew: "
        "of six that are no better, one wins by luck nearly half the time, if not more. Bold "
        "trials took the place; the last bold one is what `params.yaml` holds, at every horizon "
        "and seed."
    )
    if waiting:
        yield ""
        yield f"Not searched yet: {', '.join(waiting)}."
    for record in records:
        keys = list(record["space"])
        varied = [key for key in keys if len(record["space"][key]) > 1]
        yield ""
        horizons = ", ".join(map(str, record["horizons"]))
        yield (
            f"## `{record['recipe']}` on {record['data']}: {len(record['trials'])} of "
            f"{record['budget']} trials, horizon {horizons}, seed {record['seed']}, confidence "
            f"{record['confidence']:g}"
        )
        yield ""
        searched = record["receipt"]["code"]["commit"]
        commits = dict.fromkeys(
            commit_text(trial.get("commit", searched)) for trial in record["trials"]
        )
        yield (
            f"Trained by the code of commit {', '.join(commits)}."
            + "".join(f" Not tried together: {_together(barred)}." for barred in record["barred"])
        )
        yield ""
        rows = []
        for at, trial in enumerate(record["trials"]):
            value = "failed" if trial["value"] is None else f"{trial['value']:.4f}"
            sure = trial["confidence"]
            cells = [
                str(at + 1),
                *(_value(trial["settings"][key]) for key in varied),
                value,
                "-" if sure is None else f"{sure:.3f}",
                f"{trial['seconds']:.0f}",
            ]
            rows.append([f"**{cell}**" for cell in cells] if trial["promoted"] else cells)
        heads = [f"`{key}`" for key in varied]
        heads = ["trial", *heads, "validation MSE", "confidence", "seconds"]
        yield from table(heads, rows)


def _together(settings: Mapping[str, Any]) -> str:
    return " and ".join(f"`{key}` {_value(value)}" for key, value in settings.items())


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool | None) else str(value)
