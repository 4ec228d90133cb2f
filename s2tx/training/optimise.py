"""Loss, optimiser, learning rate and averaged weights, as the recipe names them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    SequentialLR,
)
from torch.optim.swa_utils import AveragedModel

from s2tx.params import TrainParams

_Tensors = tuple[Tensor, ...] | list[Tensor]


def loss_of(forecast: Tensor, y_BHD: Tensor, target_BHD: Tensor | None, kind: str) -> Tensor:
    """Mean loss over the observed targets; ``kind`` is mse, mae or huber (with delta 1)."""
    losses: dict[str, Callable[..., Tensor]] = {
        "mse": F.mse_loss,
        "mae": F.l1_loss,
        "huber": F.huber_loss,
    }
    if target_BHD is None:
        return losses[kind](forecast, y_BHD)
    each = losses[kind](forecast, y_BHD, reduction="none")
    return each.masked_fill(~target_BHD, 0.0).sum() / target_BHD.sum().clamp(min=1)


def optimiser_of(network: nn.Module, params: TrainParams) -> torch.optim.AdamW:
    """AdamW; only matrices decay (not biases, norms, positions, nor Mamba's A and D)."""
    decaying: list[Tensor] = []
    free: list[Tensor] = []
    for name, parameter in network.named_parameters():
        plain = parameter.ndim >= 2 and not name.endswith(("A_log", "position", "variate"))
        (decaying if plain else free).append(parameter)
    groups = [
        {"params": decaying, "weight_decay": params.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=params.learning_rate, fused=True)


def schedule_of(optimiser: torch.optim.Optimizer, params: TrainParams, steps: int) -> LRScheduler:
    """The learning rate over all ``steps`` of the run, rising for ``params.warmup`` of them."""
    match params.schedule:
        case "one_cycle":
            return OneCycleLR(
                optimiser,
                params.learning_rate,
                total_steps=max(steps, 2),
                pct_start=params.warmup,
                cycle_momentum=False,
            )
        case "cosine":
            rising = max(round(steps * params.warmup), 1)
            return SequentialLR(
                optimiser,
                [
                    LinearLR(optimiser, start_factor=0.01, total_iters=rising),
                    CosineAnnealingLR(optimiser, T_max=max(steps - rising, 1)),
                ],
                milestones=[rising],
            )
        case "constant":
            return ConstantLR(optimiser, factor=1.0)


def averaged_of(network: nn.Module, params: TrainParams) -> AveragedModel | None:
    """A copy of the network whose weights follow by ``params.averaging``; None if not asked for.

    Early on the decay is lower, (1 + n) / (10 + n) after n steps, so that the random beginning is
    forgotten within the first epoch.
    """
    decay = params.averaging
    if decay is None:
        return None

    @torch.no_grad()
    def follow(averaged: _Tensors, current: _Tensors, n: Tensor | int) -> None:
        weight = 1 - min(decay, (1 + int(n)) / (10 + int(n)))
        torch._foreach_lerp_(averaged, current, weight)

    return AveragedModel(network, multi_avg_fn=follow, use_buffers=True)
