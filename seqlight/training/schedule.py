"""The optimizer, and its learning rate over a run that may be resumed."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from seqlight.common.private_lightning import lambda_schedule_state
from seqlight.common.validation import check_choice

ScheduleKind = Literal["cosine", "constant"]
_NEEDS_END = (
    'a cosine needs the end of the run: set the Trainer\'s max_epochs or max_steps, or `lr_schedule="constant"`'
)


@dataclass(frozen=True)
class Schedule:
    """Adam with a learning rate that stays constant, or falls to 0 along a cosine over the run.

    Attributes:
        learning_rate: the rate at the first step.
        lr_schedule: "cosine" or "constant".

    Raises:
        ValueError: if `lr_schedule` is neither, or `learning_rate` is not finite and greater than 0.
    """

    learning_rate: float
    lr_schedule: ScheduleKind

    def __post_init__(self) -> None:
        check_choice("lr_schedule", self.lr_schedule, ("cosine", "constant"))
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be greater than 0 and finite, got {self.learning_rate}")

    def configure(self, module: pl.LightningModule) -> Any:
        """The return value of `configure_optimizers`."""
        # The fused step unscales float16 gradients itself, after clipping would have used them.
        fused = module.trainer.precision != "16-mixed"
        optimizer = torch.optim.Adam(module.parameters(), lr=self.learning_rate, fused=fused)
        if self.lr_schedule == "constant":
            return optimizer
        # A plain function is not part of the scheduler's state. A bound method would be, and with it the model. Step 0
        # does not need the loader: before training runs, it is too early for Lightning to restore its position.
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: _cosine(module.trainer, within_epoch=True) if step else 1.0
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def check(self, trainer: pl.Trainer) -> None:
        """Raise MisconfigurationException if the run has no end, which a cosine needs."""
        if self.lr_schedule == "cosine" and trainer.max_epochs == -1 and trainer.max_steps == -1:
            raise MisconfigurationException(_NEEDS_END)

    def begin(self, trainer: pl.Trainer, *, is_new: bool) -> None:
        """Set the learning rate of the first step of this training.

        A resumed run may have had other settings.

        Args:
            trainer: the Trainer.
            is_new: whether the rate differs from that at `configure`, as after Lightning's `LearningRateFinder`.
        """
        scheduler: Any = next((config.scheduler for config in trainer.lr_scheduler_configs), None)
        groups = trainer.optimizers[0].param_groups
        if isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR):  # else the finder is at work, with its own
            epochs: Any = trainer.fit_loop.epoch_progress.current
            factor = _cosine(trainer, within_epoch=epochs.started > epochs.processed)
            scheduler.base_lrs = [self.learning_rate for _ in groups]
        elif scheduler is None and is_new:
            factor = 1.0
        else:
            return
        for group in groups:
            group["lr"] = self.learning_rate * factor

    def replace_in(self, checkpoint: dict[str, Any]) -> None:
        """Replace the schedule of a checkpoint by this one."""
        if checkpoint["seqlight"].get("schedule") == asdict(self) or "optimizer_states" not in checkpoint:
            return
        for state in checkpoint["optimizer_states"]:
            for group in state["param_groups"]:
                group["lr"] = group["initial_lr"] = self.learning_rate
        if self.lr_schedule == "cosine":
            # The rate itself is set when training starts.
            checkpoint["lr_schedulers"] = [lambda_schedule_state(checkpoint["global_step"], self.learning_rate)]


def _cosine(trainer: pl.Trainer, *, within_epoch: bool) -> float:
    """The factor of the learning rate: 1 at the start of the run, 0 at its end.

    It depends on the steps that are left, not on those that were made: a resumed run may have made steps with another
    batch size, accumulation or file.
    """
    total = trainer.estimated_stepping_batches
    if total == -1:  # a loader without a length
        raise MisconfigurationException(_NEEDS_END)
    return (1 + math.cos(math.pi * (total - _steps_left(trainer, within_epoch)) / total)) / 2


def _steps_left(trainer: pl.Trainer, within_epoch: bool) -> float:
    """The optimizer's steps until the end of the run, with the present settings."""
    left = math.inf if trainer.max_steps == -1 else trainer.max_steps - trainer.global_step
    batches, accumulated = trainer.num_training_batches, trainer.accumulate_grad_batches
    if trainer.max_epochs == -1 or batches == math.inf:
        return left
    assert trainer.max_epochs is not None
    batch_progress: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    done = batch_progress.processed if within_epoch else 0
    per_epoch = math.ceil(batches / accumulated)
    this_epoch = per_epoch - done // accumulated if done < batches else 0
    return min(left, this_epoch + per_epoch * (trainer.max_epochs - trainer.current_epoch - 1))


def keep_patience(trainer: pl.Trainer, checkpoint: dict[str, Any]) -> None:
    """Keep this run's early-stopping patience; otherwise the Trainer restores the checkpoint's."""
    for callback in trainer.early_stopping_callbacks:
        state = checkpoint["callbacks"].get(callback.state_key)
        if state is not None:
            state["patience"] = callback.patience
