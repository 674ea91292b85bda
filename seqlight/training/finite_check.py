"""The check of each training step, which stops NaN and infinity before they reach a weight.

On the CPU a step is checked at once (`accepts`). On other devices that would wait for the device in each step, so the
device itself leaves out a bad step (`defer`), and the results of several steps are read at once (`settle`).
"""

import math
from collections.abc import Sequence
from typing import Literal

import lightning.pytorch as pl
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.optim import Optimizer

from seqlight.common.private_torch import takes_found_inf
from seqlight.training.batch_samples import samples_of
from seqlight.training.non_finite import NonFiniteError, non_finite_parameters
from seqlight.training.non_finite_step import Found, Step, describe, from_all_processes, non_finite_gradients

OnNonFinite = Literal["stop", "skip"]
# A GradScaler starts at 2^16 and halves its scale when a gradient overflows. Below this, the scale is not the cause.
_LEAST_SCALE = 2.0**-10


class FiniteCheck:
    """Check, before each step of the optimizer, that losses and gradients are finite.

    A loss counts even if its gradients are finite. A GradScaler handles infinite gradients itself: it uses them to
    choose its scale.

    Args:
        on_non_finite: "stop" raises NonFiniteError, "skip" skips the step and counts its batches.

    Attributes:
        skipped: the number of batches skipped in this run.
        defers: whether `defer` is used; None for all devices except the CPU.
    """

    defers: bool | None = None

    def __init__(self, on_non_finite: OnNonFinite) -> None:
        self.skips = on_non_finite == "skip"
        self.skipped = self._skipped_in_epoch = 0
        self._losses: list[float | Tensor] = []
        self._is_shared = False
        # In manual optimization, a batch can have several steps, and a step several losses.
        self._has_stepped = self._has_taken_steps = False
        self._skipped_batches: set[int] = set()
        self._waiting: list[Step] = []
        self._all_finite: Tensor | None = None

    def begin(self, trainer: pl.Trainer) -> None:
        """Begin a training; a resumed run keeps its counts."""
        self._is_shared = trainer.world_size > 1
        self._losses.clear()
        self._waiting, self._all_finite = [], None
        if trainer.global_step == 0:
            self.skipped = self._skipped_in_epoch = 0

    def begin_epoch(self) -> None:
        """Begin to count the epoch's batches."""
        self._losses.clear()
        self._skipped_batches.clear()
        self._skipped_in_epoch = 0
        self._has_taken_steps = False

    def end_batch(self) -> None:
        """Forget the losses of steps in manual optimization."""
        if self._has_stepped:
            self._losses = []
            self._has_stepped = False

    def state(self) -> list[int]:
        """The counts, for a resumed run."""
        return [self.skipped, self._skipped_in_epoch]

    def load_state(self, state: list[int]) -> None:
        """Restore the counts."""
        self.skipped, self._skipped_in_epoch = state

    def watch(self, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Keep a loss of the next step; returns the tensor to call `backward` on."""
        self._losses.append(loss.item() if loss.is_cpu and not self.defers else loss.detach())
        # The factor is 1, or NaN if the loss is not finite. DDP spreads NaN gradients, so all processes decide alike.
        return loss * (1 + 0 * loss.detach()) if self._is_shared else loss

    def accepts(
        self, module: pl.LightningModule, parameters: Sequence[Tensor], total: float | Float[Tensor, ""]
    ) -> bool:
        """Whether the optimizer takes the step. If not, the gradients are set to None, and it changes nothing.

        Infinite gradients under a GradScaler are accepted: the scaler skips the step.

        Args:
            module: the module that is trained.
            parameters: the parameters that the optimizer is about to step.
            total: a number that is finite only if all their gradients are.

        Raises:
            NonFiniteError: if a value is not finite and steps are not skipped; it names the step, the loss or the
                parameters, and the samples.
        """
        step = self._next_step(module, parameters)
        accepted = _are_finite(total, step.losses) or self._judge(module, step)
        self._has_taken_steps |= accepted
        return accepted

    def can_defer(self, module: pl.LightningModule, optimizer: Optimizer, parameters: Sequence[Tensor]) -> bool:
        """Whether the next step of an optimizer can be checked on the device, and the result read later.

        A GradScaler reads its own check at once. To skip a step exactly, the optimizer must be able to do it itself.
        """
        device = parameters[0].device.type if parameters else "cpu"
        if not (device != "cpu" if self.defers is None else self.defers):
            return False
        has_scaler = getattr(module.trainer.precision_plugin, "scaler", None) is not None
        return not has_scaler and (not self.skips or _skips_on_device(optimizer, device))

    def defer(
        self, module: pl.LightningModule, optimizer: Optimizer, parameters: Sequence[Tensor], norms: Tensor
    ) -> Bool[Tensor, ""]:
        """Let the device leave out the step if a value is not finite; nothing waits for the device.

        Returns whether all values of this step are finite.

        With "stop", it leaves out all later steps too. An optimizer without `found_inf` gets gradients of 0 instead.

        Args:
            module: the module that is trained.
            optimizer: the optimizer that is about to step.
            parameters: its parameters, whose gradients have been clipped.
            norms: the norm of each of their gradients before.
        """
        step = self._next_step(module, parameters)
        # Few operations: on a GPU, the time of a small model's step is the time to launch them.
        # A value minus itself is 0 or NaN; the sum of the values themselves could overflow.
        losses = [torch.as_tensor(loss, device=norms.device) for loss in step.losses]
        is_finite = own = sum((loss - loss for loss in losses), (norms - norms).sum()) == 0
        has_gradient = [parameter for parameter in parameters if parameter.grad is not None]
        is_left_out = _skips_on_device(optimizer, norms.device.type)
        step = step._replace(parameters=has_gradient, norms=norms, is_finite=is_finite, is_left_out=is_left_out)
        self._waiting.append(step)
        if not self.skips:
            is_finite = is_finite if self._all_finite is None else is_finite & self._all_finite
            self._all_finite = is_finite
        if is_left_out:
            optimizer.found_inf = (~is_finite).float()  # type: ignore[attr-defined] # as a GradScaler sets it
        else:
            for gradient in [parameter.grad for parameter in has_gradient if parameter.grad is not None]:
                gradient.masked_fill_(~is_finite, 0)
        return own

    def settle(self, module: pl.LightningModule) -> list[bool]:
        """Read the results of the steps since the last call: whether each was taken. This waits for the device once.

        Raises:
            NonFiniteError: as `accepts`; it names the first of these steps with such a value.
        """
        steps, self._waiting = self._waiting, []
        if not steps:
            return []
        taken: list[bool] = torch.stack([step.is_finite for step in steps if step.is_finite is not None]).tolist()
        for step, is_finite in zip(steps, taken, strict=True):
            if not is_finite:
                self._judge(module, step)
            self._has_taken_steps |= is_finite
        return taken

    def _next_step(self, module: pl.LightningModule, parameters: Sequence[Tensor]) -> Step:
        losses = self._losses
        # In manual optimization one batch can have several losses.
        num_batches = max(1, len(losses)) if module.automatic_optimization else 1
        if module.automatic_optimization:
            self._losses = []
        else:
            self._has_stepped = True  # the batch's next step is checked with these losses, too
            losses = list(losses)
        last = module.trainer.fit_loop.epoch_loop.batch_idx
        return Step(module.global_step + 1, list(range(last + 1 - num_batches, last + 1)), losses, parameters)

    def _judge(self, module: pl.LightningModule, step: Step) -> bool:
        """Find the non-finite values; accept the step, skip it, or raise NonFiniteError."""
        trainer = module.trainer
        gradients = non_finite_gradients(module, step)
        losses = [float(loss) for loss in step.losses]
        bad_losses = [loss for loss in losses if not math.isfinite(loss)]
        if not (gradients or bad_losses):
            return True  # all gradients are finite, and only their sum overflowed
        bad = [batch for batch, loss in zip(step.batches, losses, strict=False) if not math.isfinite(loss)]
        batches = bad or step.batches
        found = [Found(bad_losses, batches, *samples_of(trainer, batches))]
        if gradients:
            found = from_all_processes(found[0])
        bad_losses = [loss for each in found for loss in each.losses]
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is not None and not bad_losses and scaler.get_scale() > _LEAST_SCALE:
            return True  # the scaler skips the step itself
        weights = non_finite_parameters(module)
        new = set(step.batches) - self._skipped_batches
        if not self.skips or weights or self._all_steps_skipped(trainer, step, len(new)):
            skipped = self.skipped if self.skips else None
            raise NonFiniteError(describe(trainer, step, weights, bad_losses, gradients, found, skipped))
        self._skipped_batches |= new
        self.skipped += len(new)
        self._skipped_in_epoch += len(new)
        if step.norms is None and (scaler is None or not gradients):
            for parameter in step.parameters:
                parameter.grad = None
        return False

    def _all_steps_skipped(self, trainer: pl.Trainer, step: Step, num_batches: int) -> bool:
        """Whether the epoch or the run ends with this step, and all its steps were skipped."""
        last = trainer.fit_loop.epoch_loop.batch_idx
        if self._has_taken_steps or step.batches[-1] < last:
            return False
        done = trainer.fit_loop.epoch_loop.batch_progress
        epoch = trainer.is_last_batch and self._skipped_in_epoch + num_batches >= done.current.ready
        ends = 0 <= trainer.max_steps <= step.number
        return epoch or (ends and self.skipped + num_batches >= done.total.ready)


def _are_finite(total: float | Tensor, losses: Sequence[float | Tensor]) -> bool:
    if isinstance(total, float) or total.is_cpu:
        return math.isfinite(total) and all(map(math.isfinite, losses))
    values = [total, *(torch.as_tensor(loss, device=total.device) for loss in losses)]
    return bool(torch.stack(values).isfinite().all())  # waits for the device once


def _skips_on_device(optimizer: Optimizer, device: str) -> bool:
    return takes_found_inf(optimizer) and device != "mps"
