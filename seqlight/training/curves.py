"""Training curves and epoch means of loss and accuracy."""

from typing import Any

import lightning.pytorch as pl
import torch
from jaxtyping import Float
from torch import Tensor

from seqlight.common.private_lightning import show_in_progress_bar
from seqlight.tasks.task import Target
from seqlight.training.metrics import count_correct, to_float64
from seqlight.training.regression import Units


class TrainingCurves:
    """Loss and accuracy of training steps, over all processes.

    A point is due every `log_every_n_steps` steps, and at the end of an epoch without any. It is the mean over the
    steps since the last point.

    Args:
        target: "binary", "multiclass", "multilabel" or "regression".
        units: for regression, whose mean absolute error takes the place of the accuracy.
    """

    def __init__(self, target: Target, units: Units | None = None) -> None:
        self._steps = StepTotals(target, units)
        self._score = "accuracy" if units is None else "mae"
        self._last_point = self._first_step = 0
        # Sums of losses, correct predictions and sequences. In float32 they would stop growing at 2^24 sequences.
        self._point = self._epoch = torch.zeros(3, dtype=torch.float64)

    def begin(self, trainer: pl.Trainer) -> None:
        """Begin a training with empty totals."""
        self._steps.take()
        self._last_point = trainer.global_step
        self._point = to_float64(torch.zeros(3, device=trainer.strategy.root_device))
        # A run that resumes within an epoch does not start that epoch.
        self.begin_epoch(trainer)

    def state_dict(self, trainer: pl.Trainer) -> dict[str, Any]:
        """The totals and the steps of the last point, as plain data."""
        if trainer.world_size > 1:
            self._add_up(trainer)  # each process has its own steps
        totals = {"point": self._point, "epoch": self._epoch}
        steps = {"last_point": self._last_point, "first_step": self._first_step}
        return {**totals, **steps, "steps": self._steps.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state, after `begin`."""
        # An earlier version saved float32.
        self._point, self._epoch = (state[name].double().to(self._point.device) for name in ("point", "epoch"))
        self._last_point, self._first_step = state["last_point"], state["first_step"]
        self._steps.load_state_dict(state["steps"], self._point.device)

    def begin_epoch(self, trainer: pl.Trainer) -> None:
        """Begin the epoch's means."""
        self._first_step = trainer.global_step
        self._epoch = to_float64(torch.zeros(3, device=trainer.strategy.root_device))

    def add(self, loss: Float[Tensor, ""], logits: Tensor, targets: Tensor) -> None:
        """Add a batch's mean loss, logits and targets."""
        self._steps.add(loss, logits, targets)

    def close_step(self, taken: bool | None) -> None:
        """Count the batches added since the last call if the optimizer took the step; else discard them.

        None if that is not known before `settle`.
        """
        self._steps.close(taken)

    def settle(self, taken: list[bool]) -> None:
        """Count or discard the batches of the steps that were closed with None, in their order."""
        self._steps.settle(taken)

    @property
    def is_full(self) -> bool:
        """Whether `settle` is due, to limit memory."""
        return self._steps.is_full

    def point_is_due(self, trainer: pl.Trainer, step: int) -> bool:
        """Whether a point is due after `step`."""
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined] # set by its logger connector
        if every == 0 or step <= self._last_point:
            return False
        ends = trainer.is_last_batch or 0 <= trainer.max_steps <= step
        # In manual optimization, several optimizers can step in a batch.
        return step // every > self._last_point // every or (ends and self._last_point <= self._first_step)

    def take_point(self, trainer: pl.Trainer) -> dict[str, Tensor]:
        """Loss and accuracy since the last point; empty if no batches were added."""
        self._last_point = trainer.global_step
        self._add_up(trainer)
        point, self._point = self._point, torch.zeros_like(self._point)
        return _means(point, self._score)

    def write_point(self, module: pl.LightningModule, others: dict[str, Any]) -> None:
        """Write a point, and other values of its step, to the loggers and the progress bar."""
        trainer = module.trainer
        metrics = self.take_point(trainer)
        rates = [optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers]
        names = ["learning_rate"] if len(rates) == 1 else [f"learning_rate_{index}" for index in range(len(rates))]
        others = {**dict(zip(names, rates, strict=True)), **others}
        write_scalars(module, {**metrics, **{f"train/{name}": value for name, value in others.items()}})
        show_in_progress_bar(trainer, {name: float(value) for name, value in metrics.items()})

    def take_epoch(self, trainer: pl.Trainer) -> dict[str, Tensor]:
        """Loss and accuracy of the epoch; empty if no batches were added."""
        self._add_up(trainer)
        return _means(self._epoch, self._score)

    def _add_up(self, trainer: pl.Trainer) -> None:
        totals = self._steps.take()
        if totals is not None:
            totals = trainer.strategy.reduce(totals, reduce_op="sum")
            self._point += totals
            self._epoch += totals


def _means(totals: Float[Tensor, "3"], name: str) -> dict[str, Tensor]:
    loss, score, count = totals
    return {"train/loss": (loss / count).float(), f"train/{name}": (score / count).float()} if count > 0 else {}


class StepTotals:
    """Loss and accuracy of training steps, summed when they are read.

    For a small model, a sum in each step would take as long as the step itself. So results are kept, on their device,
    until `take`.
    """

    _MOST_KEPT = 64  # limits the memory of kept logits

    def __init__(self, target: Target, units: Units | None = None) -> None:
        self._target, self._units = target, units
        self._kept: list[tuple[Tensor, Tensor, Tensor]] = []
        self._closed = 0
        self._unsettled: list[int] = []  # where the steps end that were closed with None
        self._totals: Tensor | None = None

    def add(self, loss: Float[Tensor, ""], logits: Tensor, targets: Tensor) -> None:
        """Add a batch's mean loss, logits and targets."""
        self._kept.append((loss.detach(), logits.detach(), targets))

    @property
    def is_full(self) -> bool:
        """Whether steps that are not settled keep as much as is allowed."""
        return bool(self._unsettled) and max(len(self._kept), len(self._unsettled)) >= self._MOST_KEPT

    def settle(self, taken: list[bool]) -> None:
        """Keep or discard the steps that were closed with None."""
        start, kept = self._closed, self._kept[: self._closed]
        for end, is_taken in zip(self._unsettled, taken, strict=True):
            kept += self._kept[start:end] if is_taken else []
            start = end
        self._closed, self._kept, self._unsettled = len(kept), kept + self._kept[start:], []
        if len(kept) >= self._MOST_KEPT and len(self._kept) == len(kept):
            self._add_up()

    def close(self, taken: bool | None) -> None:
        """Keep what was added since the last call if the step was taken, else discard it; None: see `settle`."""
        if taken is None:
            self._unsettled.append(len(self._kept))
            return
        if not taken:
            del self._kept[self._closed :]
        elif len(self._kept) >= self._MOST_KEPT:
            self._add_up()
        self._closed = len(self._kept)

    def take(self) -> Float[Tensor, "3"] | None:
        """Sums of losses, correct predictions and sequences since the last call; None if there were none."""
        if self._kept:
            self._add_up()
        totals, self._totals = self._totals, None
        return totals

    def state_dict(self) -> dict[str, Any]:
        """The results since the last call of `take`, not summed: a sum in two parts would round differently."""
        return {"kept": list(self._kept), "totals": self._totals}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Restore the state."""
        self._kept = [
            (loss.to(device), logits.to(device), targets.to(device)) for loss, logits, targets in state["kept"]
        ]
        self._closed = len(self._kept)
        self._totals = None if state["totals"] is None else to_float64(state["totals"].to(device))

    def _add_up(self) -> None:
        losses, logits, targets = zip(*self._kept, strict=True)
        self._kept.clear()
        self._closed = 0
        means = to_float64(torch.stack(losses))
        sizes = torch.tensor([float(len(part)) for part in targets], dtype=torch.float64)
        sizes = sizes.to(means.device, non_blocking=True)
        answers, truth = torch.cat(logits), torch.cat(targets)
        units = self._units
        score = count_correct(answers, truth, self._target) if units is None else units.total_error(answers, truth)
        totals = torch.stack(((means * sizes).sum(), score, sizes.sum()))
        self._totals = totals if self._totals is None else self._totals + totals


def write_scalars(module: pl.LightningModule, values: dict[str, Any]) -> None:
    """Write scalars to the loggers at this step.

    `module.log` is not used: it takes time in every step, drops the curves of runs shorter than `log_every_n_steps`,
    and adds a curve of the epoch number.
    """
    values = {name: float(value) for name, value in values.items()}
    for logger in module.loggers:
        logger.log_metrics(values, step=module.global_step)
