"""A claim must hold by more than another seed would turn, and say what it rests on."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.claims_page import claims, headline
from benchmarks.grid_results import Grid
from tests.benchmarks.test_tables import cell, some_grid, tree_of

PUBLISHED: dict[str, Any] = {
    "horizons": [96, 720],
    "tables": {
        "patchtst": {"label": "PatchTST, rerun", "figures": {"ETTh1": [[0.3, 0.3], [0.4, 0.4]]}},
        "best": {"label": "best published", "figures": {"ETTh1": [[0.2, 0.3], [0.2, 0.4]]}},
    },
}


def grid_of(cells: list[dict[str, Any]]) -> Grid:
    return Grid.of(some_grid() | tree_of(cells))


def seeds(recipe: str, horizon: int, *mses: float) -> list[dict[str, Any]]:
    return [cell(recipe, horizon, mse, seed) for seed, mse in enumerate(mses, 1)]


def test_the_noise_is_that_of_every_cell() -> None:
    """Protects from a known deviation that is dropped where another cell has a single seed, and
    from three seeds that are taken for many."""
    grid = grid_of([*seeds("best", 96, 0.3, 0.33, 0.36), cell("dlinear", 96, 0.3)])
    # By t with 2 degrees of freedom, 4.303 standard errors.
    assert grid.noise("ETTh1", [96], "best") == pytest.approx(4.303 * 0.03 / 3**0.5, rel=1e-3)
    # Of a single seed, as if its deviation were known for sure.
    assert grid.noise("ETTh1", [96], "dlinear") == pytest.approx(1.96 * 0.015 * 0.3, rel=1e-3)
    single = 0.015 * 0.3
    both, error = grid.noise("ETTh1", [96], "best", "dlinear"), (0.03**2 / 3 + single**2) ** 0.5
    assert 1.96 * error < both < 4.303 * error
    others = grid.noise("ETTh1", [96], "dlinear", others=[0.3])
    assert others == pytest.approx(2**0.5 * 1.96 * single, rel=1e-3)


def test_a_single_seed_deviates_as_what_it_is_a_variant_of_by_a_share_of_its_error() -> None:
    """Protects from a part's worth that another seed of the part would turn, and from the noise
    of one data set's errors on another's, which may be a tenth."""
    seen = [each | {"data": "ETTh2"} for each in seeds("best", 96, 3.0, 3.2)]
    alone = [cell(recipe, 96, 0.3) for recipe in ("best", "best_none", "bester")]
    grid, share = grid_of([*seen, *alone]), 0.2 / 2**0.5 / 3.1
    assert grid.noise("ETTh1", [96], "best") == pytest.approx(1.96 * share * 0.3, rel=1e-3)
    assert grid.noise("ETTh1", [96], "best_none") == pytest.approx(1.96 * share * 0.3, rel=1e-3)
    assert grid.noise("ETTh1", [96], "bester") == pytest.approx(1.96 * 0.015 * 0.3, rel=1e-3)


def test_a_claim_holds_only_beyond_the_noise_and_names_the_horizon_it_rests_on() -> None:
    """Protects from a verdict on a gap that another seed would turn, and from one horizon's gain
    that reads as if it were everywhere."""
    cells = [*seeds("best", 96, 0.300, 0.301, 0.302), *seeds("best", 720, 0.400, 0.401, 0.402)]
    cells += [*seeds("patchtst", 96, 0.301, 0.302, 0.303), *seeds("patchtst", 720, 0.5, 0.5, 0.5)]
    cells += [cell("dlinear", 96, 0.306), cell("dlinear", 720, 0.404)]
    cells += [cell("paper", 96, 0.2), cell("paper", 720, 0.3)]
    page = list(claims(grid_of(cells), PUBLISHED))
    told = "averaged over ETTh1's horizons | 0.3510 against"
    assert (
        f"| `best` is better than `patchtst`, {told} 0.4010 (-12.5%) | 3 / 3 | 99% at 720 | yes |"
        in page
    )
    within = "| lower, within the noise (0.0075) |"
    assert f"| `best` is better than `dlinear`, {told} 0.3550 (-1.1%) | 3 / 1 |  {within}" in page
    assert (
        f"| `best` is better than `paper`, {told} 0.2500 (+40.4%) | 3 / 1 | 50% at 720 | **no** |"
        in page
    )
    theirs = (
        f"PatchTST, rerun (theirs), {told} 0.3500 (+0.3%) | 3 / 1 |  | higher, within the noise"
    )
    assert any(theirs in line for line in page)
    theirs = f"best published (theirs), {told} 0.2000 (+75.5%) | 3 / 1 | 67% at 720 | **no** |"
    assert any(theirs in line for line in page)
    (line,) = headline(grid_of(cells))
    assert "ETTh1 -12.5% (beyond the noise, 99% at 720)" in line
    cells += [cell("repeat_last", 96, 0.3), cell("repeat_last", 720, 0.3)]
    (line,) = headline(grid_of(cells))
    assert "99% at 720, and repeating the last value errs less than either)" in line
    cells[-2:] = [cell("repeat_last", 96, 0.3), cell("repeat_last", 720, 0.45)]  # than one of them
    (line,) = headline(grid_of(cells))
    assert "repeating" not in line


def test_what_the_lead_rests_on_is_said_only_of_a_lead() -> None:
    """Protects from an explanation of what is not there, and from more than the cells show."""
    lead = [*seeds("best", 96, 0.3, 0.3, 0.3), *seeds("patchtst", 96, 0.4, 0.4, 0.4)]
    behind = [*seeds("best", 96, 0.4, 0.4, 0.4), *seeds("patchtst", 96, 0.3, 0.3, 0.3)]
    for cells, alone, told in (
        (
            lead,
            0.401,
            "96, tried without it and with as much dropout on both sides, the network "
            "cannot be told from, nor is it ahead of, PatchTST.",
        ),
        (lead, 0.5, "the network is behind PatchTST."),
        (lead, 0.39, ""),
        (behind, 0.401, ""),
    ):
        even = [cell("best_no_linear", 96, alone), cell("patchtst_dropout", 96, 0.4)]
        grid = Grid.of(some_grid() | tree_of([*cells, *even]) | {"not_run": {}})
        (line,) = headline(grid)
        assert ("seems to rest" in line) == bool(told)
        assert line.endswith(told or ".")
        assert ("higher, beyond the noise" in line) == (cells is behind)


def test_no_seed_draws_what_is_naive() -> None:
    """Protects a verdict from noise that is not there."""
    cells = [*seeds("best", 96, 0.3, 0.3, 0.3), cell("repeat_last", 96, 0.303)]
    grid = grid_of(cells)
    assert grid.noise("ETTh1", [96], "best", "repeat_last") == 0
    assert grid.seeds("ETTh1", [96], "repeat_last") == "any"


@pytest.mark.parametrize(
    ("without", "verdict"), [(0.44, "yes"), (0.41, "cannot be told"), (0.40, "**no**")]
)
def test_the_papers_claims_are_judged_by_their_own_words(without: float, verdict: str) -> None:
    """Protects from a claim of the paper that is taken for true, or for refuted, by noise."""
    cells = [cell("paper", 96, 0.4), cell("paper_no_joint", 96, without)]
    page = list(claims(grid_of(cells), PUBLISHED))
    told = f"without them {without:.4f} | 1 / 1 |  | {verdict}: {without - 0.4:+.4f}, the"
    assert any(told in line for line in page)


@pytest.mark.parametrize(
    ("mse", "verdict"), [(0.38, "yes"), (0.46, "cannot be told"), (0.5, "**no**")]
)
def test_the_papers_lead_is_judged_against_our_own_rivals(mse: float, verdict: str) -> None:
    """Protects from an absolute figure that holds while the lead which it stood for does not."""
    cells = [cell("paper", 720, mse), cell("sst", 720, 0.5), cell("best", 720, 0.1)]
    tree = some_grid() | tree_of([*cells, cell("dlinear", 720, 0.6)])
    grid = Grid.of(tree | {"recipes": ["best", "paper", "sst", "dlinear"]})
    told = f"| `paper` {mse:.4f}, `sst` 0.5000 ({mse / 0.5 - 1:+.1%}) | 1 / 1 |  | {verdict}: the"
    assert any(told in line for line in claims(grid, PUBLISHED))


def test_even_ground_is_compared_by_the_mean_over_the_seeds() -> None:
    """Protects the comparison without what `best` has and PatchTST has not."""
    cells = [cell("best_no_linear", 96, 0.39), *seeds("patchtst_dropout", 96, 0.37, 0.39)]
    page = "\n".join(claims(grid_of(cells), PUBLISHED))
    assert "`patchtst_dropout`, ETTh1 at 96 | 0.3900 against 0.3800" in page
