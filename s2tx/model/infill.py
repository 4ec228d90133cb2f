"""Estimates in the place of missing values, from what was observed in the same window alone.

Letters: B windows, L steps, D variates.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

# Chosen on validation windows of ETTh1 and ETTh2, for weights that were trained on complete data.
# What a value has in common with one at another step, in shares of its variance:
FAST = 0.4, 0.95  # a share, and what is left of it a step further away
SLOW = 0.1, 0.99  # likewise
SEASONAL = 0.5, 0.95, 0.5  # likewise a season further away, and a step off the same phase
NOISE = 0.1  # variance that a value has in common with no other, in the same unit
OWN = 0.05  # share by which variates are taken to have less in common than they seem to
FIRST_STEPS, STEPS = 20, 60  # of the solver: for a first look at what variates share, and else
CONDITION = 2500.0  # of the systems it is given; more noise is taken where there would be more


class Infill:
    """Missing steps by kriging: from the same variate at other steps, and from other variates.

    The covariance of two values is a product. One factor is of their distance in time: it fades
    fast, slowly, and from season to season at the same phase. The other is the correlation of their
    variates in this window, which are those that it shows after each variate was estimated by
    itself. What is missing is the mean, given what was observed (simple cokriging under a separable
    covariance: Cressie, Statistics for Spatial Data, 1993, section 3.2). The linear system is
    solved in a fixed number of steps of B L D (L + D) products each, for windows with gaps alone;
    what they leave of it are fine details, which the noise drowns.

    Nothing is trained; scale and shift of a variate pass through.

    Args:
        season: steps; None for a series without one.
        variates: whether they are estimated from each other.
    """

    def __init__(self, season: int | None, variates: bool = True) -> None:
        self.season, self.variates = season, variates

    def __call__(self, x_BLD: Tensor, observed_BLD: Tensor) -> Tensor:
        """Fill a window.

        Args:
            x_BLD: values; what stands at a missing place is not read.
            observed_BLD: bool, true where a value was observed.

        Returns:
            (B, L, D), observed values as they are; 0 for a variate with nothing observed.
        """
        incomplete = ~observed_BLD.flatten(1).all(dim=1)
        if not incomplete.any():
            return x_BLD
        filled_BLD = x_BLD.clone()
        with torch.autocast(x_BLD.device.type, enabled=False):
            filled_BDL = self._fill(x_BLD[incomplete].mT, observed_BLD[incomplete].mT)
        filled_BLD[incomplete] = filled_BDL.mT
        return filled_BLD

    def _fill(self, x_BDL: Tensor, observed_BDL: Tensor) -> Tensor:
        seen_BDL = observed_BDL.to(x_BDL)
        known_BDL = x_BDL.masked_fill(~observed_BDL, 0.0)
        count = seen_BDL.sum(dim=2, keepdim=True).clamp(min=1)
        mean = known_BDL.sum(dim=2, keepdim=True) / count
        rest_BDL = (known_BDL - mean) * seen_BDL
        scale = (rest_BDL.square().sum(dim=2, keepdim=True) / count).sqrt()
        # What rounding leaves of a level variate is no course that others could follow.
        level = scale <= 32 * torch.finfo(x_BDL.dtype).eps * mean.abs()
        rest_BDL = torch.where(level, 0.0, rest_BDL / scale.masked_fill(level, 1.0))

        time = _in_time(x_BDL.shape[2], self.season, x_BDL.dtype, x_BDL.device)
        between_BDD = torch.eye(x_BDL.shape[1]).to(x_BDL)[None]
        if self.variates:
            alone_BDL = _krige(rest_BDL, seen_BDL, between_BDD, time, FIRST_STEPS)
            between_BDD = _correlation(torch.where(observed_BDL, rest_BDL, alone_BDL))
        estimate_BDL = _krige(rest_BDL, seen_BDL, between_BDD, time, STEPS)
        return torch.where(observed_BDL, x_BDL, mean + scale * estimate_BDL)


@functools.lru_cache(maxsize=4)
def _in_time(
    L: int, season: int | None, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """(L, L), the covariance of the steps of a window with variance 1, and its ``_largest``."""
    with torch.inference_mode(False):  # what is kept serves a training too
        step = torch.arange(L, dtype=torch.float64)
        apart_LL = (step[:, None] - step[None, :]).abs()
        covariance_LL = FAST[0] * FAST[1] ** apart_LL + SLOW[0] * SLOW[1] ** apart_LL
        if season is not None:
            share, left, left_off = SEASONAL
            off_LL = apart_LL % season
            off_LL = torch.minimum(off_LL, season - off_LL)
            covariance_LL += share * left ** (apart_LL / season) * left_off**off_LL
        covariance_LL = (covariance_LL / covariance_LL[0, 0]).to(device, dtype)
        return covariance_LL, _largest(covariance_LL)


def _krige(
    known_BDL: Tensor,
    seen_BDL: Tensor,
    between_BDD: Tensor,
    time: tuple[Tensor, Tensor],
    steps: int,
) -> Tensor:
    """The mean at every place given the known values, which are 0 where nothing was seen.

    Chebyshev's iteration on each window's ``(seen K seen + noise) weight = known``, where K is the
    covariance between variates and in time. Unlike conjugate gradients it is linear in what is
    known, and rounding stays small where it has not yet converged.
    """
    time_LL, largest = time
    # The eigenvalues lie between the noise and two radii more.
    radius = (_largest(between_BDD) * largest)[:, None, None] / 2
    noise = (2 * radius / CONDITION).clamp(min=NOISE)
    centre = noise + radius
    weight_BDL, left_BDL = torch.zeros_like(known_BDL), known_BDL
    step_BDL, ratio = known_BDL / centre, radius / centre
    for _ in range(steps):
        weight_BDL = weight_BDL + step_BDL
        turned_BDL = seen_BDL * (between_BDD @ (step_BDL @ time_LL)) + noise * step_BDL
        left_BDL = left_BDL - turned_BDL
        following = 1 / (2 * centre / radius - ratio)
        step_BDL = following * (ratio * step_BDL + 2 / radius * left_BDL)
        ratio = following
    return between_BDD @ (weight_BDL @ time_LL)


def _correlation(filled_BDL: Tensor) -> Tensor:
    """(B, D, D), with less in common than there seems to be; 0 beside a variate that is level."""
    product_BDD = filled_BDL @ filled_BDL.transpose(1, 2)
    tiny = torch.finfo(filled_BDL.dtype).tiny
    size_BD = product_BDD.diagonal(dim1=1, dim2=2).clamp(min=tiny).sqrt()
    common_BDD = (1 - OWN) * product_BDD / (size_BD[:, :, None] * size_BD[:, None, :])
    common_BDD.diagonal(dim1=1, dim2=2).fill_(1.0)
    return common_BDD


def _largest(symmetric: Tensor) -> Tensor:
    """A bound, close from above, on the largest eigenvalue.

    It is the fourth root of the largest row sum, of magnitudes, in the fourth power.
    """
    square = symmetric @ symmetric
    return (square @ square).abs().sum(dim=-1).amax(dim=-1) ** 0.25
