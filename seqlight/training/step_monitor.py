"""The part of a training step between the loss and the optimizer, and the training curves."""

import math
from typing import Any

import lightning.pytorch as pl
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

from seqlight.common.errors import state_of_checkpoint
from seqlight.tasks.task import Target
from seqlight.training.curves import TrainingCurves
from seqlight.training.finite_check import FiniteCheck, OnNonFinite
from seqlight.training.gradients import (
    clip_by_norm,
    device_norms,
    gradient_norm,
    gradient_total,
    parameters_of,
    total_norm,
)
from seqlight.training.non_finite import NonFiniteError
from seqlight.training.optimizer_state import check_optimizers
from seqlight.training.recovery import Recovery
from seqlight.training.regression import Units


class StepMonitor:
    """Check the numbers of each training step, clip its gradients, and record the training curves.

    In each step, `TrainingHooks` calls `add`, `watch`, `check_and_clip` and `end_batch`, in this order.

    Args:
        target: "binary", "multiclass", "multilabel" or "regression".
        units: as for `TrainingCurves`.
        on_non_finite: as for `FiniteCheck`.
        recovery: what is done when training diverges.
    """

    def __init__(
        self, target: Target, on_non_finite: OnNonFinite, recovery: Recovery, units: Units | None = None
    ) -> None:
        self._curves = TrainingCurves(target, units)
        self._check = FiniteCheck(on_non_finite)
        self._recovery = recovery
        self._norms: list[Tensor] = []  # of the steps in this batch
        self._restored: dict[str, Any] | None = None

    @property
    def skipped(self) -> int:
        """The number of batches skipped for non-finite values."""
        return self._check.skipped

    def add(self, loss: Float[Tensor, ""], logits: Tensor, targets: Tensor) -> None:
        """Record a batch's mean loss, logits and targets."""
        self._curves.add(loss, logits, targets)
        self._recovery.add(loss)

    def watch(self, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Keep a loss for the check; returns the tensor to call `backward` on."""
        return self._check.watch(loss)

    def check_and_clip(
        self, module: pl.LightningModule, optimizer: Optimizer, clip_value: float | None, algorithm: str | None
    ) -> None:
        """Check losses and gradients, then clip the gradients.

        The norm of the gradients serves all three: it is finite only if they are, and clipping and curves need it. If
        neither does, a faster pass checks the gradients.

        Args:
            module: the module that is trained.
            optimizer: the optimizer that is about to step.
            clip_value: the Trainer's `gradient_clip_val`.
            algorithm: the Trainer's `gradient_clip_algorithm`.

        Raises:
            NonFiniteError: as `FiniteCheck.accepts`.
        """
        parameters = parameters_of(optimizer)
        norm: Tensor | None
        # To go back, a step must be known to be bad before the next one.
        if not self._recovery.is_active and self._check.can_defer(module, optimizer, parameters):
            norms = device_norms(parameters)
            norm = total_norm(norms)
            self._clip(module, optimizer, norm, clip_value, algorithm)
            is_finite = self._check.defer(module, optimizer, parameters, norms)
            self._curves.close_step(None)
            self._norms.append(norm.where(is_finite, math.nan))
            return
        next_step = module.global_step + 1  # the optimizer counts the step after this
        needs_norm = (
            bool(clip_value and algorithm != "value")
            or self._curves.point_is_due(module.trainer, next_step)
            or not module.automatic_optimization  # a point can be due after further steps in this batch
        )
        norm = gradient_norm(parameters) if needs_norm else None
        total = gradient_total(parameters) if norm is None else norm
        try:
            accepted = self._check.accepts(module, parameters, total)
        except NonFiniteError:
            if not self._recovery.go_back(module):
                raise
            accepted = False
            for parameter in parameters:  # so that the optimizer changes nothing
                parameter.grad = None
        self._curves.close_step(accepted)
        if accepted and norm is not None:
            self._norms.append(norm)
        if accepted:
            self._clip(module, optimizer, norm, clip_value, algorithm)

    def _clip(
        self,
        module: pl.LightningModule,
        optimizer: Optimizer,
        norm: Tensor | None,
        clip_value: float | None,
        algorithm: str | None,
    ) -> None:
        if clip_value and algorithm == "value":
            module.clip_gradients(optimizer, clip_value, algorithm)
        elif clip_value and norm is not None:
            clip_by_norm(parameters_of(optimizer), clip_value, norm)

    def settle(self, module: pl.LightningModule) -> None:
        """Read the checks of steps that were left to a device.

        Raises:
            NonFiniteError: as `FiniteCheck.accepts`.
        """
        self._curves.settle(self._check.settle(module))

    def end_batch(self, module: pl.LightningModule) -> None:
        """Write a point of the training curves, if one is due."""
        norms, self._norms = self._norms, []
        self._check.end_batch()
        self._recovery.end_batch(module)
        is_due = self._curves.point_is_due(module.trainer, module.global_step)
        if is_due or self._curves.is_full:
            self.settle(module)
        if is_due:
            others: dict[str, Any] = {"skipped": self.skipped} if self._check.skips else {}
            if finite := [norm for norm in map(float, norms) if math.isfinite(norm)]:
                others["gradient_norm"] = math.hypot(*finite)
            self._curves.write_point(module, others)

    def begin(self, trainer: pl.Trainer, *, can_recover: bool) -> None:
        """Begin a training, or continue from the state given to `load_state_dict`.

        Args:
            trainer: the Trainer.
            can_recover: whether there is one optimizer, with the schedule of the module, and this is no search for a
                learning rate.
        """
        self._curves.begin(trainer)
        if self._restored is not None:
            with state_of_checkpoint():
                self._curves.load_state_dict(self._restored)
                check_optimizers([each for each in trainer.optimizers if each.defaults.get("fused")])
            self._restored = None
        self._check.begin(trainer)
        self._recovery.begin(trainer.lightning_module, can_act=can_recover)

    def begin_epoch(self, trainer: pl.Trainer) -> None:
        """Begin the totals of an epoch."""
        self._norms = []
        self._curves.begin_epoch(trainer)
        self._check.begin_epoch()

    def take_epoch(self, trainer: pl.Trainer) -> dict[str, Tensor]:
        """Loss and accuracy of the epoch; empty if no batches were recorded."""
        return self._curves.take_epoch(trainer)

    def state_dict(self, trainer: pl.Trainer) -> dict[str, Any]:
        """The state of curves and check, as plain data."""
        state = {"curves": self._curves.state_dict(trainer), "skipped": self._check.state()}
        recovery = self._recovery.state_dict()
        return {**state, "recovery": recovery} if recovery else state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Store a state, which `begin` restores. Missing parts start at zero."""
        self._restored = state.get("curves")
        self._check.load_state(state.get("skipped", [0, 0]))
        self._recovery.load_state_dict(state.get("recovery", {}))
