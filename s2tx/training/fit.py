"""The one training loop: device, precision and processes are Fabric's, the rest is here.

The order of the windows depends on the seed and the epoch alone, and every generator's state is in
the checkpoint: a run that is killed and started again ends, on a CPU, with the same weights bit for
bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from s2tx.data.windows import Windows
from s2tx.errors import S2TXError
from s2tx.params import TrainParams
from s2tx.training.checkpoint import Checkpoint
from s2tx.training.masking import mask
from s2tx.training.optimise import averaged_of, loss_of, optimiser_of, schedule_of


@dataclass(frozen=True)
class Epoch:
    """One line of the history; errors are standardised, of the weights that would be kept."""

    epoch: int
    train_loss: float
    val_mse: float
    val_mae: float
    learning_rate: float


class Watch(Protocol):
    """Who is told how a run goes; a watcher must not raise."""

    def on_step(self, done: int, total: int) -> None:
        """``done`` of ``total`` optimiser steps lie behind."""

    def on_epoch(self, epoch: Epoch) -> None:
        """An epoch has ended."""


class NonFiniteLossError(S2TXError):
    """The loss is NaN or infinite; nothing of the run is kept."""


def fit(
    network: nn.Module,
    windows: Windows,
    train: range,
    validation: range,
    params: TrainParams,
    fabric: Fabric,
    checkpoint: Checkpoint,
    watchers: tuple[Watch, ...] = (),
) -> list[Epoch]:
    """Train ``network`` in place and leave it with the weights that the recipe keeps.

    Args:
        network: freshly built, on the device of ``fabric``.
        windows: the standardised series.
        train: first target rows of the training windows.
        validation: those of the validation windows, which alone choose what is kept.
        params: the recipe.
        fabric: launched.
        checkpoint: resumed from if it exists, discarded by the caller once the result is safe.
        watchers: told of every step and epoch.

    Returns:
        The history, one entry an epoch.

    Raises:
        NonFiniteLossError: names the epoch, the step and the batch.
    """
    n_windows = max(len(train) // params.stride, 1)
    steps = math.ceil(n_windows / params.batch_size)
    optimiser = optimiser_of(network, params)
    schedule = schedule_of(optimiser, params, steps * params.epochs)
    averaged = averaged_of(network, params)
    kept = network if averaged is None else averaged.module
    run = _Run(
        {"network": network, "optimiser": optimiser, "schedule": schedule}
        | ({} if averaged is None else {"averaged": averaged}),
        losses=torch.zeros(steps, device=windows.device),
    )
    run.resume(checkpoint)
    forward, stepper = fabric.setup(network, optimiser)

    while run.epoch < params.epochs and not run.out_of_patience(params.patience):
        # Each epoch begins a step later, so that in ``stride`` epochs every window is seen.
        first = run.epoch % min(params.stride, len(train))
        origins = torch.tensor(train[first :: params.stride][:n_windows])
        order = origins[_permutation(n_windows, params.seed, run.epoch)].to(windows.device)
        network.train()
        while run.step < steps:
            chosen = order[run.step * params.batch_size :][: params.batch_size]
            x_BLD, observed_BLD, y_BHD, target_BHD = mask(windows.batch(chosen), params.masking)
            loss = loss_of(forward(x_BLD, observed_BLD), y_BHD, target_BHD, params.loss)
            fabric.backward(loss)
            # What is not finite is found by ``check_finite``, without a wait for the device here.
            fabric.clip_gradients(
                forward, stepper, max_norm=params.clip_norm, error_if_nonfinite=False
            )
            stepper.step()
            stepper.zero_grad()
            schedule.step()
            if averaged is not None:
                averaged.update_parameters(network)
            run.losses[run.step] = loss.detach()
            run.step += 1
            if run.step % params.checkpoint_steps == 0 and run.step < steps:
                run.check_finite(order, params.batch_size)
                run.save(checkpoint)
            for watcher in watchers:
                watcher.on_step(run.epoch * steps + run.step, params.epochs * steps)

        run.check_finite(order, params.batch_size)
        with fabric.autocast():
            mse, mae = errors(kept, windows, validation, params.batch_size)
        if not math.isfinite(mse):
            raise NonFiniteLossError(
                f"the validation MSE is {mse} after epoch {run.epoch + 1}: lower "
                f"train.learning_rate; nothing was registered"
            )
        rate = float(schedule.get_last_lr()[0])
        entry = Epoch(run.epoch + 1, run.losses.mean().item(), mse, mae, rate)
        run.end_epoch(entry, kept)
        run.save(checkpoint)
        for watcher in watchers:
            watcher.on_epoch(entry)

    network.load_state_dict(run.best if params.select == "best" else kept.state_dict())
    network.eval()
    return run.history


@torch.no_grad()
def errors(
    network: nn.Module, windows: Windows, origins: range, batch_size: int
) -> tuple[float, float]:
    """Standardised MSE and MAE over every window of ``origins``, without leaving the device."""
    network.eval()
    sums = torch.zeros(3, dtype=torch.float64, device=windows.device)
    for chosen in torch.split(torch.tensor(origins, device=windows.device), batch_size):
        x_BLD, observed_BLD, y_BHD, target_BHD = windows.batch(chosen)
        error = network(x_BLD, observed_BLD).float() - y_BHD
        count = torch.tensor(error.numel(), device=windows.device)
        if target_BHD is not None:
            error, count = error.masked_fill(~target_BHD, 0.0), target_BHD.sum()
        sums += torch.stack([error.square().sum(), error.abs().sum(), count]).double()
    squared, absolute, count = sums.tolist()
    return squared / count, absolute / count


def _permutation(n: int, seed: int, epoch: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
    return torch.randperm(n, generator=generator)


class _Run:
    """Where the loop stands; all of it goes into the checkpoint."""

    def __init__(self, parts: Mapping[str, Any], losses: Tensor) -> None:
        self.parts = parts
        self.losses = losses
        self.epoch = 0
        self.step = 0
        self.history: list[Epoch] = []
        self.best: dict[str, Tensor] = {}
        self.best_epoch = 0

    def save(self, checkpoint: Checkpoint) -> None:
        checkpoint.save(
            {name: part.state_dict() for name, part in self.parts.items()}
            | {
                "losses": self.losses,
                "epoch": self.epoch,
                "step": self.step,
                "history": [asdict(entry) for entry in self.history],
                "best": self.best,
                "best_epoch": self.best_epoch,
            }
        )

    def resume(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.load()
        if state is None:
            return
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        self.losses.copy_(state["losses"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.history = [Epoch(**entry) for entry in state["history"]]
        self.best, self.best_epoch = state["best"], state["best_epoch"]

    def end_epoch(self, entry: Epoch, kept: nn.Module) -> None:
        if not self.history or entry.val_mse < min(past.val_mse for past in self.history):
            self.best = {name: tensor.clone() for name, tensor in kept.state_dict().items()}
            self.best_epoch = entry.epoch
        self.history.append(entry)
        self.epoch, self.step = self.epoch + 1, 0

    def out_of_patience(self, patience: int | None) -> bool:
        return patience is not None and self.epoch - self.best_epoch >= patience

    def check_finite(self, order: Tensor, batch_size: int) -> None:
        bad = (~torch.isfinite(self.losses[: self.step])).nonzero()
        if len(bad):
            step = int(bad[0])
            rows = order[step * batch_size :][:batch_size].tolist()
            raise NonFiniteLossError(
                f"the loss is {self.losses[step].item()} in epoch {self.epoch + 1}, step "
                f"{step + 1}, whose windows forecast from rows {rows}: lower train.learning_rate, "
                f"or look at those rows; nothing was registered"
            )
