"""The hooks of the LightningModule: checks of each step, training curves, checkpoint contents."""

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from seqlight.checkpoints.contents import check_finite
from seqlight.common.batch import Batch
from seqlight.common.private_lightning import FastHookName
from seqlight.common.validation import check_choice
from seqlight.data.streams import STREAMS, streams_of
from seqlight.tasks.task import Target
from seqlight.training.finite_check import OnNonFinite
from seqlight.training.gradients import parameters_of
from seqlight.training.non_finite import check_metrics, check_weights
from seqlight.training.optimizer import MakeOptimizer, check_optimizer, check_step, class_of
from seqlight.training.recovery import Recovery
from seqlight.training.regression import Units
from seqlight.training.restored_state import check_callbacks_and_loops, check_optimizers_and_schedules
from seqlight.training.schedule import Schedule, ScheduleKind, keep_patience
from seqlight.training.step_monitor import StepMonitor
from seqlight.training.trainer_data import datamodule_of, describe_with_data, fix_order, trainer_of
from seqlight.training.trainer_settings import check_callbacks, check_settings, check_strategy


class TrainingHooks(FastHookName, pl.LightningModule):
    """Base of `SequenceClassifier`: the hooks that Lightning calls around the model's steps.

    In automatic optimization, Lightning calls `optimizer.step(closure)`, and the closure runs a training step:

    1. `training_step` computes the loss, and `StepMonitor.add` records it;
    2. `backward` computes the gradients, and `StepMonitor.watch` keeps the loss for the check;
    3. `configure_gradient_clipping` calls `StepMonitor.check_and_clip`, also if there is nothing to clip. Lightning
       can't cancel the step any more. To skip it, the gradients are set to None, and the optimizer changes nothing;
    4. the optimizer updates the weights;
    5. `on_train_batch_end` writes a point of the curves, if one is due.

    The hooks of a step are in this order below; those of checkpoints come last.

    In manual optimization, a subclass's `training_step` calls `manual_backward`, and `step` of its optimizers. Each
    step is checked, with all losses since the last batch with a step. The subclass clips gradients itself.

    Args:
        target: "binary", "multiclass", "multilabel" or "regression".
        learning_rate, lr_schedule, warmup_steps, optimizer, non_finite: as for `SequenceClassifier`.
        recovery: what is done when training diverges.
        units: as for `TrainingCurves`.

    Raises:
        TypeError, ValueError: if an argument is out of its range, naming it.
    """

    def __init__(
        self,
        target: Target,
        learning_rate: float,
        lr_schedule: ScheduleKind,
        warmup_steps: int,
        optimizer: MakeOptimizer,
        non_finite: OnNonFinite,
        recovery: Recovery,
        units: Units | None = None,
    ) -> None:
        super().__init__()
        Schedule(learning_rate, lr_schedule, warmup_steps)  # checks them
        check_optimizer(optimizer)
        check_choice("non_finite", non_finite, ("stop", "skip"))
        self.learning_rate = learning_rate
        self.lr_schedule: ScheduleKind = lr_schedule
        self.warmup_steps = warmup_steps
        self._make_optimizer = optimizer
        self._is_search = False
        self._recovery = recovery
        self._monitor = StepMonitor(target, non_finite, self._recovery, units)
        self._loaded: dict[str, Any] | None = None  # the checkpoint, until optimizers are there to compare it with

    @property
    def skipped_batches(self) -> int:
        """The number of batches that training has skipped, with `non_finite="skip"`."""
        return self._monitor.skipped

    @property
    def recoveries(self) -> list[int]:
        """The steps after which training went back to its best weights, with `recover=True`."""
        return self._recovery.steps

    def configure_optimizers(self) -> Any:
        """The optimizer with the learning rate schedule."""
        self._configured_rate = self.learning_rate
        return self._schedule.configure(self, self._recovery)

    @property
    def _schedule(self) -> Schedule:
        """The schedule, made on each access: the attributes can change after `__init__`."""
        return Schedule(self.learning_rate, self.lr_schedule, self.warmup_steps, self._make_optimizer)

    @property
    def optimizer_class(self) -> type[torch.optim.Optimizer]:
        """The class of the optimizer that `configure_optimizers` makes."""
        return class_of(self._make_optimizer)

    def check_optimizer(self, device: torch.device) -> None:
        """Raise ValueError if the optimizer can't take a step on a device, as with arguments that are out of range."""
        if not self._has_own_optimizer:
            check_step(self._make_optimizer, device)

    @property
    def _has_own_optimizer(self) -> bool:
        """Whether a subclass overrides `configure_optimizers`."""
        return type(self).configure_optimizers is not TrainingHooks.configure_optimizers

    def setup(self, stage: str) -> None:
        """Refuse settings that training does not support. Raises MisconfigurationException, or ValueError."""
        check_strategy(self.trainer.strategy)
        if stage == "fit":
            self.check_optimizer(self.trainer.strategy.root_device)
        self._is_search = True  # until `on_fit_start`: Lightning's finders train before it

    def on_fit_start(self) -> None:
        """Check, before the first step, that a checkpoint can be written and that the schedule has an end."""
        self._is_search = False
        self.describe()
        if self._loaded is not None:
            check_optimizers_and_schedules(self.trainer, self._loaded)
            self._loaded = None
        check_settings(self.trainer)
        self._schedule.check(self.trainer)

    def on_train_start(self) -> None:
        """Begin or restore the curves, and set the learning rate of this step."""
        fix_order(self.trainer)
        has_schedule = not self._has_own_optimizer and self.automatic_optimization
        self._monitor.begin(self.trainer, can_recover=has_schedule and not self._is_search)
        if has_schedule:
            is_new = self.learning_rate != self._configured_rate
            self._schedule.begin(self.trainer, self._recovery, is_new=is_new, is_search=self._is_search)

    def on_train_epoch_start(self) -> None:
        """Begin the epoch's totals."""
        self._monitor.begin_epoch(self.trainer)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute gradients; the loss is checked before the optimizer's step."""
        super().backward(self._monitor.watch(loss), *args, **kwargs)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Forget the gradients: as `zero_grad` does, which takes three times as long for a small model."""
        if type(optimizer).zero_grad is not torch.optim.Optimizer.zero_grad:
            optimizer.zero_grad()
            return
        for parameter in parameters_of(optimizer):
            parameter.grad = None

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """In manual optimization, check here: Lightning does not call `configure_gradient_clipping`."""
        if not self.automatic_optimization:
            self.configure_gradient_clipping(optimizer)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Check losses and gradients, then clip the gradients."""
        self._monitor.check_and_clip(self, optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Write a point of the training curves, if one is due."""
        self._monitor.end_batch(self)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means, for the progress bar, callbacks and the table at the end of a run."""
        self._monitor.settle(self)
        metrics = self._monitor.take_epoch(self.trainer)
        if metrics:  # none if a subclass's training_step logs its own
            self.log_dict(metrics, prog_bar=True, logger=False, sync_dist=True)
        check_metrics(self.trainer)

    def describe(self) -> dict[str, Any]:
        """The classes and arguments of model and data, as plain data, from which `seqlight.load` rebuilds them.

        Raises:
            TypeError: if a hyperparameter of a subclass has no plain form.
        """
        return describe_with_data(self)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the description and the state of the curves. Weights that are not finite raise NonFiniteError."""
        self._monitor.settle(self)
        check_weights(self)
        own = {
            "schedule": self._schedule.to_plain(),
            "steps": self._monitor.state_dict(self.trainer),
            "streams": getattr(datamodule_of(self.trainer), "streams", STREAMS),
        }
        checkpoint["seqlight"] = {**self.describe(), **own}
        checkpoint["hyper_parameters"] = checkpoint["seqlight"]["model"]["init_args"]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the curves and the random streams of the data.

        This run's learning rate, schedule, optimizer's arguments and patience replace those of the checkpoint. An
        optimizer of another class begins without state.

        Raises:
            CheckpointError: if the state of the training has other types than that of this Trainer, or weights are not
                finite.
        """
        trainer = trainer_of(self)
        if trainer is not None:
            if trainer.state.fn == TrainerFn.FITTING:
                check_callbacks(trainer)
            check_callbacks_and_loops(trainer, checkpoint, self._monitor.state_dict(trainer))
            check_finite(str(trainer.ckpt_path), checkpoint, self)
            self._loaded = checkpoint if trainer.state.fn == TrainerFn.FITTING else None
        self._monitor.load_state_dict(checkpoint["seqlight"].get("steps", {}))
        if trainer is not None and not self._has_own_optimizer and self._schedule.replace_in(checkpoint, self):
            self._recovery.load_state_dict({})  # it was about the other rates
        datamodule = datamodule_of(trainer)
        if datamodule is not None:
            datamodule.streams = streams_of(checkpoint["seqlight"])
        if trainer is not None:
            if trainer.precision == "64-true":
                self.double()  # before the weights are loaded, which would round them to float32
            keep_patience(trainer, checkpoint)
