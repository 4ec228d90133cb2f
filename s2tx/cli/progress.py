"""Training as a person watches it: a bar with the time left, and a line an epoch."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from s2tx.training.fit import Epoch


class Bar:
    """A ``Watch`` on the terminal; without one (a log, a pipe) only the lines are printed."""

    def __init__(self, title: str) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn(title),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task(title, total=None)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def on_step(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)

    def on_epoch(self, epoch: Epoch) -> None:
        self._console.print(
            f"epoch {epoch.epoch}: train loss {epoch.train_loss:.4f}, "
            f"validation MSE {epoch.val_mse:.4f} MAE {epoch.val_mae:.4f}",
            highlight=False,
        )
