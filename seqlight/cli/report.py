"""What a run says in the terminal."""

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
from seqlight.training.classifier import SequenceClassifier
from seqlight.training.length_accuracy import LengthBucket


def say(trainer: Trainer, *parts: str) -> None:
    """Print, in the first of a run's processes."""
    if trainer.is_global_zero:
        print(*parts, sep="\n\n")


def run_line(trainer: Trainer, model: SequenceClassifier, seed: int | bool) -> str:
    """Before training: the size of the model, where it runs, and where its results go."""
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    device = trainer.strategy.root_device
    threads = f", threads: {torch.get_num_threads()}" if device.type == "cpu" else ""
    where = (trainer.log_dir if trainer.loggers else None) or "no folder, for there is no logger"
    return f"{num_parameters} parameters on {device}{threads}; seed {seed}; to {where}"


def metrics_table(metrics: Mapping[str, Tensor | float], splits: tuple[str, ...]) -> str:
    """Loss and accuracy, one row a split; of a single split AUROC and F1 too."""
    columns = ("loss", "accuracy") if len(splits) > 1 else ("loss", "accuracy", "auroc", "f1")
    header = f"{'':8}" + "".join(f"{column:>10}" for column in columns)
    rows = [
        f"{split:8}" + "".join(_cell(metrics.get(f"{split}/{column}")) for column in columns)
        for split in splits
        if any(f"{split}/{column}" in metrics for column in columns)
    ]
    return "\n".join([header, *rows])


def _cell(value: Tensor | float | None) -> str:
    """A subclass of the classifier may leave a metric out."""
    return f"{'-':>10}" if value is None else f"{value:10.4f}"


def length_tables(trainer: Trainer) -> list[str]:
    """Of a test's accuracy by length, if lengths differ."""
    found = [each for each in trainer.callbacks if isinstance(each, AccuracyByLength)]  # type: ignore[attr-defined]
    return [length_table(callback.buckets) for callback in found if callback.buckets]


def length_table(buckets: Sequence[LengthBucket]) -> str:
    """Accuracy by length, one row a bucket."""
    rows = [f"{each.name:12}{each.num_sequences:>10}{each.accuracy:10.4f}" for each in buckets]
    return "\n".join([f"{'length':12}{'sequences':>10}{'accuracy':>10}", *rows])


def places(trainer: Trainer, last: Path | None) -> str:
    """After training: the best checkpoint, and the command that shows the curves."""
    lines = []
    best = trainer.checkpoint_callback
    if isinstance(best, ModelCheckpoint) and best.best_model_path:
        lines.append(f"best checkpoint  {os.path.relpath(best.best_model_path)}")
    elif last is not None and last.is_file():  # without validation there is no best one
        lines.append(f"last checkpoint  {os.path.relpath(last)}")
    if isinstance(trainer.logger, TensorBoardLogger):
        lines.append(f"curves           tensorboard --logdir {shlex.quote(str(trainer.logger.save_dir))}")
    return "\n".join(lines)
