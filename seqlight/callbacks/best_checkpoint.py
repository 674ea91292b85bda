"""The best checkpoint of a run."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from seqlight.common.private_lightning import NotInEveryStep, keep_file_name
from seqlight.training.non_finite import NonFiniteError, UndefinedMetricError, check_metric


class BestCheckpoint(NotInEveryStep, ModelCheckpoint):
    """Save the best checkpoint of a run.

    Unlike Lightning's `ModelCheckpoint`, it restores all of its state if a run continues, and it never saves a
    checkpoint with a non-finite metric.
    """

    def belong_to(self, run: Path | None) -> None:
        """Save in the folder of a run, and overwrite its best checkpoint, unless the user has set another folder.

        Args:
            run: the folder; None in all processes except the first, which sends it to the others.
        """
        if self.dirpath is None:
            keep_file_name(self)
            self.dirpath = None if run is None else str(run / "checkpoints")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state, including the score of the last saved checkpoint."""
        super().load_state_dict(state_dict)
        self.current_score = state_dict["current_score"]

    def check_monitor_top_k(self, trainer: pl.Trainer, current: Tensor | None = None) -> bool:
        """Whether the monitored metric is good enough to save, as in Lightning.

        Raises:
            NonFiniteError: if the monitored metric is not finite.
        """
        check_metric(trainer, str(self.monitor), current)
        return super().check_monitor_top_k(trainer, current)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Save as Lightning does, unless the metric is the reason: the best checkpoint would be overwritten."""
        if not isinstance(exception, NonFiniteError | UndefinedMetricError):
            super().on_exception(trainer, pl_module, exception)
