"""Text that a run prints in the terminal."""

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from seqlight.callbacks.length_accuracy import AccuracyByLength
from seqlight.common.label_per import LabelPer
from seqlight.common.text import one_line, show
from seqlight.training.classifier import SequenceClassifier
from seqlight.training.length_accuracy import LengthBucket


def say(trainer: Trainer, *parts: str) -> None:
    """Print the parts, in the first process of a run only."""
    if trainer.is_global_zero:
        show(*parts)


def run_line(trainer: Trainer, model: SequenceClassifier, seed: int | bool) -> str:
    """The line before training: number of parameters, device, threads, seed and results folder."""
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    device = trainer.strategy.root_device
    threads = f", threads: {torch.get_num_threads()}" if device.type == "cpu" else ""
    folder = trainer.log_dir if trainer.loggers else None
    results = one_line(f"results in {folder}") if folder else "no results folder, since there is no logger"
    return f"{num_parameters} parameters on {device}{threads}; seed {seed}; {results}"


def events(trainer: Trainer, model: SequenceClassifier) -> list[str]:
    """The lines about what happened in training; empty strings for what did not."""
    return [_skipped_batches(model), _recoveries(model), _early_end(trainer)]


def _skipped_batches(model: SequenceClassifier) -> str:
    """A line about the batches that training skipped; empty if there are none."""
    skipped = model.skipped_batches
    return f"batches skipped because of a non-finite loss or gradient: {skipped}" if skipped else ""


def _recoveries(model: SequenceClassifier) -> str:
    """A line about the steps at which training diverged and went back; empty if there are none."""
    steps = model.recoveries
    if not steps:
        return ""
    rate = f"{model.learning_rate:g} to {model.learning_rate / 2 ** len(steps):g}"
    at = f"{'step' if len(steps) == 1 else 'steps'} {', '.join(map(str, steps))}"
    return f"diverged at {at}: went back to the best weights, and the learning rate from {rate}; --model.recover false"


def _early_end(trainer: Trainer) -> str:
    """A line about a run that ended before the number of steps that was asked for; empty if it did not."""
    steps = max(trainer.max_steps, trainer.min_steps or 0)
    if trainer.global_step >= steps:
        return ""
    return f"the run ended after {trainer.current_epoch} epochs, at step {trainer.global_step} of {steps}"


def metrics_table(metrics: Mapping[str, Tensor | float], splits: tuple[str, ...]) -> str:
    """A table of loss and accuracy (for regression, MAE and RMSE), one row per split; a single split has more."""
    regression = any(f"{split}/mae" in metrics for split in splits)
    columns: tuple[str, ...] = ("loss", "mae", "rmse", "r2") if regression else ("loss", "accuracy", "auroc", "f1")
    if len(splits) > 1:
        columns = columns[: 3 if regression else 2]
    header = f"{'':8}" + "".join(f"{column:>10}" for column in columns)
    rows = [
        f"{split:8}" + "".join(_cell(metrics.get(f"{split}/{column}")) for column in columns)
        for split in splits
        if any(f"{split}/{column}" in metrics for column in columns)
    ]
    if len(splits) == 1 and {f"{splits[0]}/accuracy", f"{splits[0]}/mae"} & metrics.keys():
        undefined = [column for column in columns if f"{splits[0]}/{column}" not in metrics]
        rows += [f"{' and '.join(undefined)}: not defined for these sequences"] if undefined else []
    return "\n".join([header, *rows]) if rows else f"no metrics of {' or '.join(splits)} were logged"


def _cell(value: Tensor | float | None) -> str:
    """A metric as text; None if a subclass of the classifier does not compute it."""
    return f"{'-':>10}" if value is None else f"{value:10.4f}"


def length_tables(trainer: Trainer) -> list[str]:
    """The tables of accuracy by length of a test; none if all sequences have the same length."""
    found = [each for each in trainer.callbacks if isinstance(each, AccuracyByLength)]  # type: ignore[attr-defined]
    return [length_table(each.buckets, each.label_per) for each in found if each.buckets]


def length_table(buckets: Sequence[LengthBucket], label_per: LabelPer = "sequence") -> str:
    """A table of accuracy by length, or by position if steps have labels, one row per bucket."""
    by = "position" if label_per == "step" else "length"
    rows = [f"{each.name:12}{each.num_sequences:>10}{each.accuracy:10.4f}" for each in buckets]
    return "\n".join([f"{by:12}{f'{label_per}s':>10}{'accuracy':>10}", *rows])


def result_paths(trainer: Trainer, last: Path | None, few_validation: int | None) -> str:
    """The lines after training: the path of the checkpoint to use, and the command that shows the curves.

    Args:
        trainer: the Trainer.
        last: the last checkpoint; None in a run that does not save it.
        few_validation: the number of validation sequences if they are too few to choose the best checkpoint.
    """
    lines = []
    best = trainer.checkpoint_callback
    if few_validation is not None and last is not None and last.is_file():
        lines.append(f"last checkpoint  {os.path.relpath(last)}")
        lines.append(f"{'':17}chosen over best.ckpt: validation has only {few_validation} sequences")
    elif isinstance(best, ModelCheckpoint) and best.best_model_path:
        kind = "best" if best.monitor else "last"  # without a metric it is the latest that was saved
        lines.append(f"{kind} checkpoint  {os.path.relpath(best.best_model_path)}")
    elif last is not None and last.is_file():  # without validation there is no best checkpoint
        lines.append(f"last checkpoint  {os.path.relpath(last)}")
    if isinstance(trainer.logger, TensorBoardLogger):
        lines.append(f"curves           tensorboard --logdir {shlex.quote(str(trainer.logger.save_dir))}")
    return "\n".join(map(one_line, lines))
