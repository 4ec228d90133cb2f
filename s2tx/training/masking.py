"""Values hidden from training windows at random, so that a network learns to do without them.

The patterns are those of ``s2tx.data.missing``, drawn anew for each window of each epoch; a rate is
here the chance of a run, not its exact share, and a tail is of 1 to 2 ``block_steps`` whatever the
rate. Letters: B windows, L steps, D variates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from s2tx.data.missing import SENSOR_BLOCKS
from s2tx.data.windows import Batch
from s2tx.params import MaskingParams
from s2tx.specs import Pattern


def mask(batch: Batch, params: MaskingParams | None) -> Batch:
    """The batch with some of what it shows hidden; the targets stay as they are.

    Draws from torch's generator of the batch's device, whose state a checkpoint keeps.
    """
    if params is None:
        return batch
    visible_BLD = draw(batch.x_BLD, params)
    if batch.observed_BLD is not None:
        visible_BLD &= batch.observed_BLD
    return batch._replace(
        x_BLD=batch.x_BLD.masked_fill(~visible_BLD, 0.0), observed_BLD=visible_BLD
    )


def draw(x_BLD: Tensor, params: MaskingParams) -> Tensor:
    """(B, L, D) bool, true where a value may be shown."""
    B, device = len(x_BLD), x_BLD.device
    rates = torch.tensor(params.rates, device=device)
    rate_B = rates[torch.randint(len(rates), (B,), device=device)]
    which_B = torch.randint(len(params.patterns), (B,), device=device)
    which_B[torch.rand(B, device=device) >= params.share] = -1  # these lose nothing
    visible_BLD = torch.ones_like(x_BLD, dtype=torch.bool)
    for number, pattern in enumerate(params.patterns):
        hidden_BLD = _hide(pattern, x_BLD, rate_B, params.block_steps)
        visible_BLD &= ~(hidden_BLD & (which_B == number)[:, None, None])
    return visible_BLD


def _hide(pattern: Pattern, x_BLD: Tensor, rate_B: Tensor, block: int) -> Tensor:
    """(B, L, D) bool, true at what the pattern hides of each window."""
    match pattern:
        case "point":
            return _runs(x_BLD, rate_B, 1)
        case "block":
            return _runs(x_BLD, rate_B, block)
        case "sensor":
            return _runs(x_BLD, rate_B, block * SENSOR_BLOCKS)
        case "blackout":
            return _runs(x_BLD[..., :1], rate_B, block).expand_as(x_BLD)
        case "tail":
            return _tail(x_BLD, 2 * block)


def _runs(x_BLD: Tensor, rate_B: Tensor, steps: int) -> Tensor:
    """Runs of ``steps`` of each variate, hidden at the window's rate."""
    (B, L, D), device = x_BLD.shape, x_BLD.device
    offset = torch.randint(steps, (B, 1, D), device=device)
    run = (torch.arange(L, device=device)[:, None] + offset) // steps
    count = (L - 1 + steps - 1) // steps + 1
    hidden = torch.rand(B, count, D, device=device) < rate_B[:, None, None]
    return hidden.gather(1, run)


def _tail(x_BLD: Tensor, most: int) -> Tensor:
    """The newest 1 to ``most`` steps of all variates."""
    (B, L, _), device = x_BLD.shape, x_BLD.device
    steps_B = torch.randint(1, most + 1, (B,), device=device)
    hidden = torch.arange(L, device=device) >= (L - steps_B)[:, None]
    return hidden[:, :, None].expand_as(x_BLD)
