"""Checks of the Trainer's settings."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from seqlight.common.private_lightning import is_of_finder


def check_settings(trainer: pl.Trainer) -> None:
    """Raise MisconfigurationException for settings that Lightning accepts, but does not train with."""
    if not (trainer.gradient_clip_val or 0) >= 0:
        raise MisconfigurationException(f"gradient_clip_val must be at least 0, got {trainer.gradient_clip_val}")
    if not trainer.accumulate_grad_batches >= 1:
        raise MisconfigurationException(
            f"accumulate_grad_batches must be at least 1, got {trainer.accumulate_grad_batches}"
        )


def check_callbacks(trainer: pl.Trainer) -> None:
    """Raise MisconfigurationException for callbacks that would drop the training state of `ckpt_path`.

    Lightning would restore it after their search, but they end by restoring a checkpoint of their own.
    """
    if is_of_finder(trainer.ckpt_path):
        return
    for callback in trainer.callbacks:  # type: ignore[attr-defined] # missing in Lightning's annotations
        if isinstance(callback, LearningRateFinder | BatchSizeFinder):
            name = type(callback).__name__
            raise MisconfigurationException(
                f"{name} would begin training anew, but ckpt_path continues it: use one of the two"
            )


def check_strategy(strategy: Any) -> None:
    """Raise MisconfigurationException for strategies other than one device and DDP.

    Clipping, the check for finite numbers and checkpoints need whole parameters in each process. Subclasses are refused
    too: DeepSpeedStrategy and XLAStrategy are subclasses of DDPStrategy.
    """
    if type(strategy) not in (SingleDeviceStrategy, DDPStrategy):
        name = type(strategy).__name__
        raise MisconfigurationException(
            f"seqlight trains on one device or with DDP, not with {name}: use the Trainer's strategy 'auto' or 'ddp'"
        )
