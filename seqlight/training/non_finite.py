"""NaN and infinity in metrics and weights stop training before they reach a checkpoint.

`finite_check.py` checks each step.
"""

import math
from collections.abc import Iterable, Sequence

import lightning.pytorch as pl
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from seqlight.common.errors import ShownError

MOST_NAMED = 10


class NonFiniteError(ArithmeticError):
    """A loss, a gradient, a weight, a metric or a probability is NaN or infinite."""


class UndefinedMetricError(ShownError, ValueError):
    """A monitored metric that is undefined for the validation data."""


def check_metrics(trainer: pl.Trainer, names: Iterable[str] = ()) -> None:
    """Check, in training, that these metrics and all monitored ones are finite.

    Raises:
        NonFiniteError: if one is not; it names the step and the metric.
    """
    if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
        return
    for name in dict.fromkeys([*names, *_monitored(trainer)]):
        check_metric(trainer, name, trainer.callback_metrics.get(name))


def check_defined(trainer: pl.Trainer, undefined: Sequence[str]) -> None:
    """Raise UndefinedMetricError, in training, if one of these metrics is monitored; `fast_dev_run` uses none."""
    if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or trainer.fast_dev_run:  # type: ignore[attr-defined]
        return
    for name in _monitored(trainer):
        if name in undefined:
            raise UndefinedMetricError(
                f"after step {trainer.global_step} (epoch {trainer.current_epoch}): {name} is monitored, but undefined "
                "for this validation data",
                "the classes that it compares do not occur there: validate on sequences of all classes, or monitor "
                "val/loss or val/accuracy",
            )


def _monitored(trainer: pl.Trainer) -> list[str]:
    """The names of the metrics that checkpoints, early stopping and schedulers use."""
    watching = [*trainer.checkpoint_callbacks, *trainer.early_stopping_callbacks, *trainer.lr_scheduler_configs]
    return [name for each in watching if (name := getattr(each, "monitor", None))]


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
    if weights := non_finite_parameters(module):
        raise NonFiniteError(
            f"after step {module.global_step}: the weights of {listed(weights, 3)} are not finite: try a "
            "smaller learning_rate\nnothing was saved; earlier checkpoints are unchanged"
        )


def non_finite_parameters(module: pl.LightningModule) -> list[str]:
    """The names of the parameters that are trained and not finite."""
    return [
        name
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and not parameter.isfinite().all()
    ]


def listed(names: Sequence[str | int], most: int = MOST_NAMED) -> str:
    """The first names with commas."""
    return ", ".join(map(str, names[:most])) + (", ..." if len(names) > most else "")
