"""The progress bar of the command line."""

import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import TQDMProgressBar

from seqlight.common.private_lightning import NotInEveryStep


class TimedProgressBar(NotInEveryStep, TQDMProgressBar):
    """Lightning's TQDMProgressBar, but drawn ten times a second instead of every few steps."""

    _SECONDS = 0.1
    _last_drawn = 0.0

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, int | str | float | Any]:
        """Metrics without the version, which Lightning shows as the last characters of its name."""
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Draw if the interval has passed or the epoch ends."""
        now = time.monotonic()
        if now - self._last_drawn >= self._SECONDS or trainer.is_last_batch:
            self._last_drawn = now
            super().on_train_batch_end(trainer, pl_module, *args)
