"""Better, or only lucky: the paired block bootstrap of two models' losses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from s2tx.params import PromoteParams


def block_bootstrap(
    champion: NDArray[np.float64], challenger: NDArray[np.float64], block: int, rule: PromoteParams
) -> float:
    """Share of resamples in which the challenger's mean loss is lower by the margin.

    The circular moving-block bootstrap: whole blocks of neighbouring windows are drawn, since
    windows that overlap err alike; and the same blocks for both, since a hard week is hard for
    both. A tie is no win, so equal losses give 0.

    Args:
        champion: (W,) loss of each window, in order of time.
        challenger: (W,) loss of the same windows.
        block: windows a block: at least the horizon, or 1 where each loss is already the mean of
            a stretch as long.
        rule: margin, number of resamples and seed.
    """
    W = len(champion)
    block = min(block, W)
    blocks = -(-W // block)
    random = np.random.default_rng(rule.seed)
    starts_RB = random.integers(0, W, size=(rule.resamples, blocks))

    def sums(losses: NDArray[np.float64]) -> NDArray[np.float64]:
        ahead = np.concatenate([[0.0], np.cumsum(np.concatenate([losses, losses[: block - 1]]))])
        result: NDArray[np.float64] = (ahead[block:] - ahead[:-block])[starts_RB].sum(axis=1)
        return result

    return float(np.mean(sums(challenger) < sums(champion) * (1 - rule.min_gain)))
