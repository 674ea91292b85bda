"""The optimizer, and its learning rate over a run that may be resumed."""

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from seqlight.checkpoints.entries import check_entry
from seqlight.common.description import to_plain
from seqlight.common.errors import state_of_checkpoint
from seqlight.common.private_lightning import lambda_schedule_state
from seqlight.common.validation import check_at_least, check_choice
from seqlight.training.optimizer import MakeOptimizer, make_optimizer, moved_state
from seqlight.training.recovery import Recovery

ScheduleKind = Literal["cosine", "constant"]
_NEEDS_END = (
    'a cosine needs the end of the run: set the Trainer\'s max_epochs or max_steps, or `lr_schedule="constant"`'
)


@dataclass(frozen=True)
class Schedule:
    """An optimizer, with a learning rate that rises to its value, then stays there or falls to 0 along a cosine.

    Attributes:
        learning_rate: the highest rate.
        lr_schedule: "cosine" or "constant".
        warmup_steps: the number of steps in which the rate rises, in equal parts.
        optimizer: makes the optimizer, as for `make_optimizer`.

    Raises:
        ValueError: if `lr_schedule` is neither, `learning_rate` is not finite and greater than 0, or `warmup_steps` is
            negative.
        TypeError, ValueError: as `check_optimizer`.
    """

    learning_rate: float
    lr_schedule: ScheduleKind
    warmup_steps: int = 0
    optimizer: MakeOptimizer = torch.optim.Adam

    def __post_init__(self) -> None:
        check_choice("lr_schedule", self.lr_schedule, ("cosine", "constant"))
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be greater than 0 and finite, got {self.learning_rate}")
        check_at_least("warmup_steps", self.warmup_steps, 0)

    def to_plain(self) -> dict[str, Any]:
        """The attributes as plain data."""
        return {field.name: to_plain(getattr(self, field.name)) for field in fields(self)}

    def configure(self, module: pl.LightningModule, recovery: Recovery) -> Any:
        """The return value of `configure_optimizers`; the rates have the recovery's factor."""
        optimizer = self._make_optimizer(module)
        if self.lr_schedule == "constant" and not self.warmup_steps and not recovery.is_on:
            return optimizer
        # A plain function is not part of the scheduler's state. A bound method would be, and with it the model. Step 0
        # does not need the loader: before training runs, it is too early for Lightning to restore its position.
        first = 1 / max(1, self.warmup_steps)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: self._next_factor(module.trainer, recovery) if step else first
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _make_optimizer(self, module: pl.LightningModule) -> torch.optim.Optimizer:
        # The fused step unscales float16 gradients itself, after clipping would have used them.
        fused = module.trainer.precision != "16-mixed"
        return make_optimizer(self.optimizer, module, self.learning_rate, fused=fused)

    def check(self, trainer: pl.Trainer) -> None:
        """Raise MisconfigurationException if the run has no end, which a cosine needs."""
        if self.lr_schedule == "cosine" and trainer.max_epochs == -1 and trainer.max_steps == -1:
            raise MisconfigurationException(_NEEDS_END)

    def begin(self, trainer: pl.Trainer, recovery: Recovery, *, is_new: bool, is_search: bool) -> None:
        """Set the learning rate of the first step of this training.

        A resumed run may have had other settings.

        Args:
            trainer: the Trainer.
            recovery: its factor is that of all rates.
            is_new: whether the rate differs from that at `configure`, as after Lightning's `LearningRateFinder`.
            is_search: whether this is one of the short trainings of Lightning's finders.

        Raises:
            MisconfigurationException: if the run is shorter than `warmup_steps`, unless it is a test of the code.
        """
        scheduler: Any = next((config.scheduler for config in trainer.lr_scheduler_configs), None)
        groups = trainer.optimizers[0].param_groups
        if isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR):  # else the finder is at work, with its own
            total = trainer.estimated_stepping_batches
            if 0 <= total < self.warmup_steps and not (is_search or trainer.fast_dev_run):  # type: ignore[attr-defined]
                raise MisconfigurationException(
                    f"`warmup_steps={self.warmup_steps}` is longer than the run, which has {total} steps"
                )
            epochs: Any = trainer.fit_loop.epoch_progress.current
            factor = recovery.factor * self._factor(trainer, within_epoch=epochs.started > epochs.processed)
            scheduler.base_lrs = [self.learning_rate for _ in groups]
        elif scheduler is None and is_new:
            factor = 1.0
        else:
            return
        for group in groups:
            group["lr"] = self.learning_rate * factor

    def replace_in(self, checkpoint: dict[str, Any], module: pl.LightningModule) -> bool:
        """Replace the schedule of a checkpoint, and the optimizer's arguments, by these; return whether they differ.

        An optimizer of another class begins without state.
        """
        before, now = checkpoint["seqlight"].get("schedule"), self.to_plain()
        before = {**_BEFORE_0_2, **before} if isinstance(before, dict) else {}
        if before == now or "optimizer_states" not in checkpoint:
            return False
        with state_of_checkpoint():
            if before.get("optimizer", now["optimizer"]) != now["optimizer"]:
                check_entry(before["optimizer"], {"class_path": ""}, "seqlight", "schedule", "optimizer")
                optimizer = self._make_optimizer(module)
                if before["optimizer"].get("class_path") == now["optimizer"]["class_path"]:
                    states = [moved_state(state, optimizer, module) for state in checkpoint["optimizer_states"]]
                else:
                    states = [optimizer.state_dict() for _ in checkpoint["optimizer_states"]]
                checkpoint["optimizer_states"] = states
        num_groups = 1
        for state in checkpoint["optimizer_states"]:
            num_groups = len(state["param_groups"])
            for group in state["param_groups"]:
                group["lr"] = group["initial_lr"] = self.learning_rate
        if self.lr_schedule == "cosine" or self.warmup_steps:
            # The rate itself is set when training starts.
            rates = [self.learning_rate] * num_groups
            checkpoint["lr_schedulers"] = [lambda_schedule_state(checkpoint["global_step"], rates)]
        return True

    def _next_factor(self, trainer: pl.Trainer, recovery: Recovery) -> float:
        return recovery.factor * self._factor(trainer, within_epoch=True)

    def _factor(self, trainer: pl.Trainer, *, within_epoch: bool) -> float:
        """The factor of the next step's learning rate: a line to 1, then 1 or a cosine to 0 at the end of the run.

        The cosine depends on the steps that are left, not on those that were made: a resumed run may have made steps
        with another batch size, accumulation or file.
        """
        total = trainer.estimated_stepping_batches
        if self.lr_schedule == "cosine" and total == -1:  # a loader without a length
            raise MisconfigurationException(_NEEDS_END)
        if trainer.global_step < self.warmup_steps:
            return (trainer.global_step + 1) / self.warmup_steps
        span = total - self.warmup_steps
        if self.lr_schedule == "constant" or span <= 0:
            return 1.0
        # A resumed run can have more steps left than it would have after its warm-up.
        return (1 + math.cos(math.pi * max(0, span - _steps_left(trainer, within_epoch)) / span)) / 2


# The attributes that version 0.1.0 did not have.
_BEFORE_0_2 = {"warmup_steps": 0, "optimizer": to_plain(torch.optim.Adam)}


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
