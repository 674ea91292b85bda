"""What surrounds each step of training: it is looked at, clipped, and told of by the curves."""

import math
from typing import Any

import lightning.pytorch as pl
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

from seqlight.common.errors import state_of_checkpoint
from seqlight.tasks.task import Target
from seqlight.training.curves import TrainingCurves
from seqlight.training.gradients import clip_by_norm, gradient_norm, gradient_total, parameters_of
from seqlight.training.non_finite import OnNonFinite, StepCheck
from seqlight.training.optimizer_state import check_optimizers


class TrainingSteps:
    """The steps of one LightningModule.

    Args:
        target: "binary", "multiclass" or "multilabel".
        non_finite: as for `StepCheck`.
    """

    def __init__(self, target: Target, non_finite: OnNonFinite) -> None:
        self._curves = TrainingCurves(target)
        self._check = StepCheck(non_finite)
        self._norm: float | Tensor | None = None
        self._restored: dict[str, Any] | None = None

    @property
    def skipped(self) -> int:
        """Batches left out for what is not finite."""
        return self._check.skipped

    def begin(self, trainer: pl.Trainer) -> None:
        """Begin a training, or go on where `load_state_dict` says."""
        self._curves.begin(trainer)
        if self._restored is not None:
            with state_of_checkpoint():
                self._curves.load_state_dict(self._restored)
                check_optimizers([each for each in trainer.optimizers if each.defaults.get("fused")])
            self._restored = None
        self._check.begin(trainer)

    def begin_epoch(self, trainer: pl.Trainer) -> None:
        """Begin the epoch's totals."""
        self._curves.begin_epoch(trainer)
        self._check.begin_epoch()

    def add(self, loss: Float[Tensor, ""], logits: Tensor, targets: Tensor) -> None:
        """Keep a batch's mean loss, logits and targets."""
        self._curves.add(loss, logits, targets)

    def watch(self, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Keep what gradients are about to be taken of; gives what to take them of."""
        return self._check.watch(loss)

    def before_step(
        self, module: pl.LightningModule, optimizer: Optimizer, clip: float | None, algorithm: str | None
    ) -> None:
        """Look at loss and gradients; clip as a Trainer's `gradient_clip_val` and `_algorithm` say.

        Raises:
            NonFiniteError: as `StepCheck.passes`.
        """
        parameters = parameters_of(optimizer)
        largest = clip if clip and algorithm != "value" else None
        norm = None
        if largest is not None or self._curves.point_is_due(module.trainer, module.global_step + 1):
            norm = gradient_norm(parameters)
        taken = self._check.passes(module, parameters, gradient_total(parameters) if norm is None else norm)
        self._curves.close_step(taken)
        self._norm = norm if taken else None
        if taken and largest is not None:
            assert norm is not None
            clip_by_norm(parameters, largest, norm)
        elif taken and clip:
            module.clip_gradients(optimizer, clip, algorithm)

    def write_due_point(self, module: pl.LightningModule) -> None:
        """Write a point of the training curves if one is due that has not been written."""
        if self._curves.point_is_due(module.trainer, module.global_step):
            others: dict[str, Any] = {"skipped": self.skipped} if self._check.skips else {}
            if self._norm is not None and math.isfinite(self._norm):
                others["gradient_norm"] = self._norm
            self._curves.write_point(module, others)

    def take_epoch(self, trainer: pl.Trainer) -> dict[str, Tensor]:
        """Loss and accuracy of the epoch; nothing if no batches were added."""
        return self._curves.take_epoch(trainer)

    def state_dict(self, trainer: pl.Trainer) -> dict[str, Any]:
        """Where the training is, as plain data."""
        return {"curves": self._curves.state_dict(trainer), "skipped": self._check.state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there at the next `begin`; what is not there starts anew."""
        self._restored = state.get("curves")
        self._check.load_state(state.get("skipped", [0, 0]))
