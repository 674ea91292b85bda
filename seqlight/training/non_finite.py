"""Checks that stop training at NaN or infinity, before it reaches a weight or a checkpoint."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import lightning.pytorch as pl
import torch
from jaxtyping import Float
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, distributed

from seqlight.data.datamodule import SequenceDataModule
from seqlight.data.loader import SequenceLoader
from seqlight.recurrent.lengths import step_mask

OnNonFinite = Literal["stop", "skip"]
MOST_NAMED = 10
# A GradScaler starts at 2^16 and halves its scale when a gradient overflows. Below this, the scale is not the cause.
_LEAST_SCALE = 2.0**-10


class NonFiniteError(ArithmeticError):
    """A loss, a gradient, a weight, a metric or a probability is NaN or infinite."""


class _Found(NamedTuple):
    """The non-finite values of a step, in one process."""

    losses: list[float]  # the non-finite losses
    batches: list[int]  # the batches with a non-finite loss, else all batches of the step
    samples: list[str]  # the samples of these batches
    non_finite_samples: list[str]  # the samples with non-finite inputs or targets


class FiniteCheck:
    """Check, before each step of the optimizer, that losses and gradients are finite.

    A loss counts even if its gradients are finite. A GradScaler handles infinite gradients itself: it uses them to
    choose its scale.

    Args:
        on_non_finite: "stop" raises NonFiniteError, "skip" skips the step and counts its batches.

    Attributes:
        skipped: the number of batches skipped in this run.
    """

    def __init__(self, on_non_finite: OnNonFinite) -> None:
        self.skips = on_non_finite == "skip"
        self.skipped = self._skipped_in_epoch = 0
        self._losses: list[float | Tensor] = []
        self._is_shared = False
        # In manual optimization, a batch can have several steps, and a step several losses.
        self._has_stepped = self._has_skipped = self._has_taken_steps = False

    def begin(self, trainer: pl.Trainer) -> None:
        """Begin a training; a resumed run keeps its counts."""
        self._is_shared = trainer.world_size > 1
        self._losses.clear()
        if trainer.global_step == 0:
            self.skipped = self._skipped_in_epoch = 0

    def begin_epoch(self) -> None:
        """Begin to count the epoch's batches."""
        self._losses.clear()
        self._skipped_in_epoch = 0
        self._has_taken_steps = False

    def end_batch(self) -> None:
        """Forget the losses of steps in manual optimization."""
        if self._has_stepped:
            self._losses = []
            self._has_stepped = self._has_skipped = False

    def state(self) -> list[int]:
        """The counts, for a resumed run."""
        return [self.skipped, self._skipped_in_epoch]

    def load_state(self, state: list[int]) -> None:
        """Restore the counts."""
        self.skipped, self._skipped_in_epoch = state

    def watch(self, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Keep a loss of the next step; returns the tensor to call `backward` on."""
        self._losses.append(loss.item() if loss.is_cpu else loss.detach())
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
        losses = self._losses
        if module.automatic_optimization:
            self._losses = []
        else:
            self._has_stepped = True  # the batch's next step is checked with these losses, too
        accepted = _are_finite(total, losses) or self._judge(module, parameters, losses)
        self._has_taken_steps |= accepted
        return accepted

    def _judge(self, module: pl.LightningModule, parameters: Sequence[Tensor], losses: list[float | Tensor]) -> bool:
        """Find the non-finite values; accept the step, skip it, or raise NonFiniteError."""
        trainer = module.trainer
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        gradients = [
            names.get(id(parameter), "a parameter")
            for parameter in parameters
            if parameter.grad is not None and not parameter.grad.isfinite().all()
        ]
        finite = [math.isfinite(loss) for loss in losses]
        bad_losses = [float(loss) for loss, is_finite in zip(losses, finite, strict=True) if not is_finite]
        if not (gradients or bad_losses):
            return True  # all gradients are finite, and only their sum overflowed
        # In manual optimization one batch can have several losses.
        num_batches = max(1, len(losses)) if module.automatic_optimization else 1
        last = trainer.fit_loop.epoch_loop.batch_idx
        step_batches = list(range(last + 1 - num_batches, last + 1))
        bad = [batch for batch, is_finite in zip(step_batches, finite, strict=False) if not is_finite]
        batches = bad or step_batches
        found = [_Found(bad_losses, batches, *_samples(trainer, batches))]
        if gradients:
            found = _from_all_processes(found[0])
        bad_losses = [loss for each in found for loss in each.losses]
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is not None and not bad_losses and scaler.get_scale() > _LEAST_SCALE:
            return True  # the scaler skips the step itself
        weights = _non_finite_parameters(module)
        if not self.skips or weights or self._all_steps_skipped(trainer, num_batches):
            raise NonFiniteError(self._message(trainer, weights, bad_losses, gradients, found))
        if not self._has_skipped:
            self.skipped += num_batches
            self._skipped_in_epoch += num_batches
        self._has_skipped = not module.automatic_optimization
        if scaler is None or not gradients:
            for parameter in parameters:
                parameter.grad = None
        return False

    def _all_steps_skipped(self, trainer: pl.Trainer, num_batches: int) -> bool:
        """Whether the epoch or the run ends now, and all its steps were skipped."""
        if self._has_taken_steps:
            return False
        num_batches = 0 if self._has_skipped else num_batches
        done = trainer.fit_loop.epoch_loop.batch_progress
        epoch = trainer.is_last_batch and self._skipped_in_epoch + num_batches >= done.current.ready
        ends = 0 <= trainer.max_steps <= trainer.global_step + 1
        return epoch or (ends and self.skipped + num_batches >= done.total.ready)

    def _message(
        self,
        trainer: pl.Trainer,
        weights: list[str],
        losses: list[float],
        gradients: list[str],
        found: list[_Found],
    ) -> str:
        # Only processes with a non-finite loss matter, if there are any.
        found = [each for each in found if each.losses] or found
        batches = sorted({batch for each in found for batch in each.batches})
        place = f"step {trainer.global_step + 1} (epoch {trainer.current_epoch}, batch {listed(batches)})"
        what = f"the loss is {losses[0]}" if losses else f"the gradient of {listed(gradients, 3)} is not finite"
        if weights:
            what = f"the weights of {listed(weights, 3)} are not finite: try a smaller learning_rate"
        lines = [f"{place}: {what}"]
        samples = [sample for each in found for sample in each.samples]
        if samples and not weights:
            bad_samples = [sample for each in found for sample in each.non_finite_samples]
            more = f"; non-finite inputs or targets in {listed(bad_samples)}" if bad_samples else ""
            lines.append(f"training samples: {listed(samples)}{more}")
        if self.skips and not weights:
            lines.append(f"no step of the epoch or run would be taken; skipped so far: {self.skipped} batches")
        lines.append("the step was not taken and nothing was saved; earlier checkpoints are unchanged")
        if not self.skips and not weights:
            lines.append('to skip such batches: `non_finite="skip"`')
        return "\n".join(lines)


def check_metrics(trainer: pl.Trainer, names: Iterable[str] = ()) -> None:
    """Check, in training, that these metrics and all monitored ones are finite.

    Raises:
        NonFiniteError: if one is not; it names the step and the metric.
    """
    if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
        return
    watching = [*trainer.checkpoint_callbacks, *trainer.early_stopping_callbacks, *trainer.lr_scheduler_configs]
    monitored = [getattr(each, "monitor", None) for each in watching]
    for name in dict.fromkeys([*names, *filter(None, monitored)]):
        check_metric(trainer, name, trainer.callback_metrics.get(name))


def check_metric(trainer: pl.Trainer, name: str, value: Tensor | None) -> None:
    """Raise NonFiniteError if a metric is not finite; None is accepted."""
    if value is not None and not math.isfinite(value):
        raise NonFiniteError(
            f"after step {trainer.global_step} (epoch {trainer.current_epoch}): {name} is {float(value)}\n"
            "nothing was saved; earlier checkpoints are unchanged"
        )


def check_weights(module: pl.LightningModule) -> None:
    """Raise NonFiniteError if a weight is not finite, or a buffer is NaN. The last step of a run can cause both."""
    buffers = [name for name, buffer in module.named_buffers() if buffer.is_floating_point() and buffer.isnan().any()]
    if buffers:
        raise NonFiniteError(
            f"after step {module.global_step}: {listed(buffers, 3)} is NaN\n"
            "nothing was saved; earlier checkpoints are unchanged"
        )
    if weights := _non_finite_parameters(module):
        raise NonFiniteError(
            f"after step {module.global_step}: the weights of {listed(weights, 3)} are not finite: try a "
            "smaller learning_rate\nnothing was saved; earlier checkpoints are unchanged"
        )


def _are_finite(total: float | Tensor, losses: Sequence[float | Tensor]) -> bool:
    if isinstance(total, float) or total.is_cpu:
        return math.isfinite(total) and all(map(math.isfinite, losses))
    values = [total, *(torch.as_tensor(loss, device=total.device) for loss in losses)]
    return bool(torch.stack(values).isfinite().all())  # waits for the device once


def _non_finite_parameters(module: pl.LightningModule) -> list[str]:
    return [
        name
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and not parameter.isfinite().all()
    ]


def _samples(trainer: pl.Trainer, batches: Sequence[int]) -> tuple[list[str], list[str]]:
    """The samples of this epoch's batches, if the loader is seqlight's, and those with non-finite values."""
    loader = trainer.train_dataloader
    if not isinstance(loader, SequenceLoader):
        return [], []
    datamodule: Any = getattr(trainer, "datamodule", None)
    ids = datamodule.sample_ids("train") if isinstance(datamodule, SequenceDataModule) else None
    samples, unsound = [], []
    for batch in batches:
        rows = loader.rows(batch)
        names = [sample_name(row, ids) for row in rows]
        index = torch.from_numpy(rows)
        inputs, targets, lengths = loader.data.take(index, index.to(loader.data.targets.device))
        padding = ~step_mask(lengths, inputs.shape[1], inputs.device)
        inputs = inputs.masked_fill(padding if inputs.ndim == 2 else padding[..., None], 0)
        sound = inputs.isfinite().flatten(1).all(1) & targets.isfinite().reshape(len(rows), -1).all(1)
        samples += names
        unsound += [name for name, is_sound in zip(names, sound.tolist(), strict=True) if not is_sound]
    return samples, unsound


def sample_name(row: int, ids: Sequence[str | int] | None) -> str:
    """The index of a sample in its split, with its id if that is another."""
    return str(row) if ids is None or ids[row] == row else f"{row} (id {ids[row]})"


def _from_all_processes(found: _Found) -> list[_Found]:
    if not (distributed.is_available() and distributed.is_initialized()):
        return [found]
    parts: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, found)
    return parts


def listed(names: Sequence[str | int], most: int = MOST_NAMED) -> str:
    """The first names with commas."""
    return ", ".join(map(str, names[:most])) + (", ..." if len(names) > most else "")
