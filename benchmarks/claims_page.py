"""The claims of ``docs/benchmarks.md`` and of the README, and whether the figures bear them out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean
from typing import Any

from benchmarks.grid_results import CONFIDENCE, ONE_SEED, Grid
from benchmarks.markdown import gap, table

COMPARED = (
    ("paper", "sst"),
    ("best", "patchtst"),
    ("best", "dlinear"),
    ("best", "paper"),
    ("best", "repeat_last"),
)
PUBLISHED = ("patchtst", "best")  # tables of published.yaml that `best` is held against
EVEN = ("best_no_linear", "patchtst_dropout")
_WORSE = "**no**"
_BEYOND = {"yes": "beyond the noise", _WORSE: "higher, beyond the noise"}
CLAIM_720 = 0.084  # the share by which S2TX is below the best competitor, arXiv 2502.11340
CLAIM_JOINT = 0.02  # the least that joint variates are worth on ETTh1, arXiv 2502.11340


@dataclass(frozen=True)
class _Comparison:
    """Two MSEs, each a mean over the same horizons, and what their difference has to exceed."""

    ours: Mapping[int, float]
    theirs: Mapping[int, float]
    noise: float
    seeds: str

    @property
    def difference(self) -> float:
        return fmean(self.ours.values()) - fmean(self.theirs.values())

    @property
    def change(self) -> str:
        return gap(fmean(self.ours.values()), fmean(self.theirs.values()))

    @property
    def verdict(self) -> str:
        return _verdict(self.difference, self.noise)

    @property
    def most(self) -> str:
        """The horizon that adds most to a difference beyond the noise, with its share."""
        if abs(self.difference) <= self.noise or len(self.ours) == 1:
            return ""
        gaps = {at: self.ours[at] - self.theirs[at] for at in self.ours}
        whole = sum(gaps.values())
        at = max(gaps, key=lambda each: gaps[each] / whole)
        return f"{gaps[at] / whole:.0%} at {at}"

    def row(self, claim: str) -> list[str]:
        a, b = (fmean(each.values()) for each in (self.ours, self.theirs))
        told = f"{a:.4f} against {b:.4f} ({self.change})"
        return [claim, told, self.seeds, self.most, self.verdict]


def claims(grid: Grid, published: Mapping[str, Any]) -> Iterator[str]:
    """What is claimed, found, and made of it."""
    yield "## The claims"
    yield ""
    yield (
        f"A difference counts where it exceeds the noise of the seeds: half its {CONFIDENCE:.0%} "
        "interval, where a cell with one seed, ours or theirs, is taken to deviate by "
        f"{ONE_SEED:.1%} of its MSE, or by what its recipe, or the one that it is a variant of, "
        "was seen to at this horizon on any data, if that is more. *Seeds* are ours / theirs. The "
        "months of the test windows are one sample, and no seed tells what other months would "
        "show. *Most of it* is the horizon that adds most to the difference, with its share; it is "
        "above 100 % where others go the other way."
    )
    yield ""
    rows = [*_of_paper(grid)]
    for data in grid.data_sets():
        rows += _of_data_set(grid, data, published)
    ours, theirs = EVEN
    for data, horizon, found in _even(grid):
        rows.append(found.row(f"`{ours}` is better than `{theirs}`, {data} at {horizon}"))
    yield from table(["claim", "MSE", "seeds", "most of it", "holds"], rows)
    yield ""
    yield (
        f"Of the networks, `best` alone was searched for its parts. `{ours}` and `{theirs}` stand "
        "on even ground: neither has a linear member, and both drop as much."
        f"{_told_even(grid)}"
    )
    old = [each for each in grid.cells if each.get("earlier_code")]
    if old:
        yield ""
        yield (
            f"{len(old)} of {len(grid.cells)} cells were made by earlier code, under the present "
            "settings: the last section but one lists them."
        )


def headline(grid: Grid) -> Iterator[str]:
    """For the README: `best` against PatchTST, with what the difference rests on."""
    ours, theirs = "best", "patchtst"
    told = []
    for data in grid.data_sets():
        if (found := _compared(grid, data, grid.horizons(data), ours, theirs)) is not None:
            part = f", {found.most}" if found.most else ""
            part += _naive(grid, data, ours, theirs)
            verdict = _BEYOND.get(found.verdict, found.verdict)
            told.append(f"{data} {found.change} ({verdict}{part})")
    if told:
        yield (
            f"`{ours}` beside our `{theirs}`, and which horizon makes most of a difference: "
            f"{'; '.join(told)}.{_told_even(grid)}"
        )


def _naive(grid: Grid, data: str, *recipes: str) -> str:
    """Said where no network is worth its training."""
    networks = [grid.average(data, recipe) for recipe in recipes]
    naive = grid.average(data, "repeat_last")
    lost = naive is not None and all(mse is not None and naive < mse for mse in networks)
    return ", and repeating the last value errs less than either" if lost else ""


def _of_paper(grid: Grid) -> Iterator[list[str]]:
    rivals = {
        name: mse
        for name in grid.recipes
        if name not in ("paper", "best") and (mse := grid.mse("ETTh1", 720, name)) is not None
    }
    if (ours := grid.mse("ETTh1", 720, "paper")) is not None and rivals:
        rival = min(rivals, key=lambda name: rivals[name])
        bound, names = (1 - CLAIM_720) * rivals[rival], ("paper", rival)
        noise = grid.noise("ETTh1", [720], *names)
        verdict = "cannot be told" if abs(ours - bound) <= noise else _verdict(ours - bound, noise)
        yield [
            f"The paper's S2TX is {CLAIM_720:.1%} below the best competitor on ETTh1 at 720",
            f"`paper` {ours:.4f}, `{rival}` {rivals[rival]:.4f} ({gap(ours, rivals[rival])})",
            _seeds(grid, "ETTh1", [720], *names),
            "",
            f"{verdict}: the noise is {noise / rivals[rival]:.1%}",
        ]
    for horizon in (96, 720):
        names = ("paper", "paper_no_joint")
        whole, without = (grid.mse("ETTh1", horizon, name) for name in names)
        if whole is not None and without is not None:
            noise = grid.noise("ETTh1", [horizon], *names)
            found = without - whole
            verdict = "yes" if found - noise >= CLAIM_JOINT else "cannot be told"
            verdict = "**no**" if found + noise < CLAIM_JOINT else verdict
            yield [
                f"Joint variates are worth {CLAIM_JOINT:.2f} to 0.04 on ETTh1, as the paper says, "
                f"at {horizon}",
                f"`paper` {whole:.4f}, without them {without:.4f}",
                _seeds(grid, "ETTh1", [horizon], *names),
                "",
                f"{verdict}: {found:+.4f}, the noise is {noise:.4f}",
            ]


def _of_data_set(grid: Grid, data: str, published: Mapping[str, Any]) -> Iterator[list[str]]:
    where = f"averaged over {data}'s horizons"
    for ours, other in COMPARED:
        if (found := _compared(grid, data, grid.horizons(data), ours, other)) is not None:
            yield found.row(f"`{ours}` is better than `{other}`, {where}")
    horizons = grid.horizons(data)
    if grid.average(data, "best") is None or horizons != published["horizons"]:
        return
    for name in PUBLISHED:
        named = published["tables"][name]
        if (figures := named["figures"].get(data)) is not None:
            theirs = {at: mse for at, (mse, _) in zip(horizons, figures, strict=True)}
            found = _Comparison(
                _mses(grid, data, horizons, "best"),
                theirs,
                grid.noise(data, horizons, "best", others=tuple(theirs.values())),
                f"{grid.seeds(data, horizons, 'best')} / 1",
            )
            yield found.row(f"`best` is better than {named['label']} (theirs), {where}")


def _compared(
    grid: Grid, data: str, horizons: Sequence[int], ours: str, theirs: str
) -> _Comparison | None:
    """One recipe beside another; None unless both ran at every horizon."""
    names = (ours, theirs)
    if any(grid.mse(data, at, name) is None for at, name in product(horizons, names)):
        return None
    return _Comparison(
        _mses(grid, data, horizons, ours),
        _mses(grid, data, horizons, theirs),
        grid.noise(data, horizons, *names),
        _seeds(grid, data, horizons, *names),
    )


def _mses(grid: Grid, data: str, horizons: Sequence[int], recipe: str) -> dict[int, float]:
    """By horizon."""
    return {at: float(grid.lines[data, at, recipe]["mse"]["mean"]) for at in horizons}


def _seeds(grid: Grid, data: str, horizons: Sequence[int], *recipes: str) -> str:
    return " / ".join(grid.seeds(data, horizons, recipe) for recipe in recipes)


def _even(grid: Grid) -> Iterator[tuple[str, int, _Comparison]]:
    """Where both of ``EVEN`` ran."""
    for data, horizon, recipe in grid.lines:
        if recipe == EVEN[0] and (found := _compared(grid, data, [horizon], *EVEN)) is not None:
            yield data, horizon, found


def _told_even(grid: Grid) -> str:
    """Said only where there is a lead, and no cell shows that the network has it alone."""
    lead = _compared(grid, "ETTh1", grid.horizons("ETTh1"), "best", "patchtst")
    even = {at: found for data, at, found in _even(grid) if data == "ETTh1"}
    if lead is None or lead.verdict != "yes" or not even:
        return ""
    if min(found.difference for found in even.values()) < 0:
        return ""
    where = " and ".join(map(str, even))
    behind = all(found.verdict == _WORSE for found in even.values())
    found = "is behind" if behind else "cannot be told from, nor is it ahead of,"
    return (
        " The lead on ETTh1 seems to rest on the linear map that `best` averages its network with: "
        f"at {where}, tried without it and with as much dropout on both sides, the network {found} "
        "PatchTST."
    )


def _verdict(difference: float, noise: float) -> str:
    """Whether an MSE is lower by more than the noise."""
    if abs(difference) <= noise:
        return f"{'lower' if difference < 0 else 'higher'}, within the noise ({noise:.4f})"
    return "yes" if difference < 0 else _WORSE
