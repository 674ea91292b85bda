"""The optimizer, and its learning rate over a run that may be resumed."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from seqlight.common.private_api import lambda_schedule_state
from seqlight.common.validation import check_choice

ScheduleKind = Literal["cosine", "constant"]


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
        # A plain function is not part of the scheduler's state. A bound method would be, and with it the model.
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _cosine(step, module.trainer))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def check(self, trainer: pl.Trainer) -> None:
        """Raise MisconfigurationException if the run has no end, which a cosine needs."""
        if self.lr_schedule == "cosine" and trainer.max_epochs == -1 and trainer.max_steps == -1:
            raise MisconfigurationException(
                "a cosine needs the end of the run: set the Trainer's max_epochs or max_steps, or "
                '`lr_schedule="constant"`'
            )

    def begin(self, trainer: pl.Trainer) -> None:
        """Set the learning rate of the first step of this training; a resumed run may have had other settings."""
        if self.lr_schedule == "cosine":
            for group in trainer.optimizers[0].param_groups:
                group["lr"] = self.learning_rate * _cosine(trainer.global_step, trainer)

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


def check_settings(trainer: pl.Trainer) -> None:
    """Raise MisconfigurationException for settings that Lightning accepts, but does not train with."""
    if not (trainer.gradient_clip_val or 0) >= 0:
        raise MisconfigurationException(f"gradient_clip_val must be at least 0, got {trainer.gradient_clip_val}")
    if not trainer.accumulate_grad_batches >= 1:
        raise MisconfigurationException(
            f"accumulate_grad_batches must be at least 1, got {trainer.accumulate_grad_batches}"
        )


def _cosine(step: int, trainer: pl.Trainer) -> float:
    """The factor of the learning rate at a step: 1 at the first, 0 at the end of the run."""
    # `estimated_stepping_batches` makes the loader. Before training runs, that is too early for Lightning to restore
    # the loader's position in an epoch. So step 0 does not read it.
    return 1.0 if step == 0 else (1 + math.cos(math.pi * step / trainer.estimated_stepping_batches)) / 2


def keep_patience(trainer: pl.Trainer, checkpoint: dict[str, Any]) -> None:
    """Keep this run's early-stopping patience; otherwise the Trainer restores the checkpoint's."""
    for callback in trainer.early_stopping_callbacks:
        state = checkpoint["callbacks"].get(callback.state_key)
        if state is not None:
            state["patience"] = callback.patience
