"""The best checkpoint of a run."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from seqlight.common.private_api import NotInEveryStep, keep_file_name
from seqlight.training.non_finite import NonFiniteError, check_metric


class BestCheckpoint(NotInEveryStep, ModelCheckpoint):
    """As Lightning's, but a run that goes on has all of its state, and no metric that is not finite saves anything."""

    def belong_to(self, run: Path | None) -> None:
        """Save into the folder of a run, which may have a best one already, unless another folder is given.

        Args:
            run: the folder; None in all processes but the first, which tells the others.
        """
        if self.dirpath is None:
            keep_file_name(self)
            self.dirpath = None if run is None else str(run / "checkpoints")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The score of what was saved last too."""
        super().load_state_dict(state_dict)
        self.current_score = state_dict["current_score"]

    def check_monitor_top_k(self, trainer: pl.Trainer, current: Tensor | None = None) -> bool:
        """As Lightning's.

        Raises:
            NonFiniteError: if the monitored metric is not finite.
        """
        check_metric(trainer, str(self.monitor), current)
        return super().check_monitor_top_k(trainer, current)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """As Lightning's, which `save_on_exception` would let write over the best checkpoint."""
        if not isinstance(exception, NonFiniteError):
            super().on_exception(trainer, pl_module, exception)
