"""Baselines beside a network's result, and what to try if it does not beat them."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from seqlight.cli.flags_in_messages import with_flags
from seqlight.common.batch import Batch
from seqlight.common.private_torch import tree_leaves
from seqlight.common.text import one_line
from seqlight.data.baselines import MeasuredBaselines, measure_baselines, rows_of
from seqlight.data.datamodule import SequenceDataModule, Split
from seqlight.data.loader import SequenceLoader
from seqlight.data.regression_baselines import MeasuredErrors, measure_errors
from seqlight.data.sequences import Sequences
from seqlight.data.synthetic import SyntheticSequences
from seqlight.training.trainer_data import datamodule_of

WIDTH = 80
_NAMES = {"sequence": ("last step", "bag of steps"), "step": ("step alone", "bag of steps so far")}  # linear models


def baselines_text(trainer: Trainer, metrics: Mapping[str, Tensor | float], split: Split, *, weighted: bool) -> str:
    """The baselines of a split after a run, and advice if the network does not beat them.

    Empty in all processes but the first, for runs that only try the code, and for data modules of other libraries.

    Args:
        trainer: the Trainer after the run.
        metrics: the metrics by name; without an accuracy there is no advice.
        split: "train", "val" or "test".
        weighted: whether the loss has class weights. Then training does not aim at accuracy, and there is no advice.
    """
    data = datamodule_of(trainer)
    tries_code = trainer.fast_dev_run or trainer.overfit_batches  # type: ignore[attr-defined]
    if data is None or tries_code or not trainer.is_global_zero:
        return ""
    try:
        train, evaluated = _splits(trainer, data, split)
        if data.target == "regression":
            return regression_text(measured_errors(train, evaluated, data), metrics, data, split)
        found = measure_baselines(
            train,
            evaluated,
            target=data.target,
            num_outputs=data.num_outputs,
            vocab_size=data.vocab_size,
            label_per=data.label_per,
        )
    except Exception as error:  # the training data can be gone, or the user's: the network's result stands without it
        reason = with_flags(str(error).partition("\n")[0])
        return _wrapped(f"baselines ({split}): not measured, because the data can't be used: {reason}")
    lines = [_wrapped(describe(found, split))]
    accuracy = float(metrics.get(f"{split}/accuracy", math.nan))
    if not weighted and math.isfinite(accuracy):
        lines += [_wrapped(line) for line in judge(accuracy, found, data)]
    return "\n".join(lines)


def describe(found: MeasuredBaselines, split: Split) -> str:
    """The line of accuracies."""
    known = found.baselines
    last, bag = _NAMES[found.label_per]
    accuracies = {"majority": known.majority, last: known.last_symbol, bag: known.bag_of_symbols}
    text = f"baselines ({split}): " + ", ".join(f"{name} {value:.4f}" for name, value in accuracies.items())
    return text + _counts(found)


def _counts(found: MeasuredBaselines | MeasuredErrors) -> str:
    """The end of the line, if parts of large splits represent them."""
    parts = []
    if found.num_fitted < found.num_train:
        parts.append(f"fitted to {found.num_fitted} of the training {found.label_per}s")
    if found.num_evaluated < found.num_split:
        parts.append(f"measured on {found.num_evaluated} {found.label_per}s")
    return f" ({', '.join(parts)})" if parts else ""


def measured_errors(train: Batch | Sequences, evaluated: Batch | Sequences, data: SequenceDataModule) -> MeasuredErrors:
    """The errors of simple models of a data module's numbers."""
    scale = data.target_scale or (1.0,) * data.num_outputs
    return measure_errors(train, evaluated, scale=scale, vocab_size=data.vocab_size, label_per=data.label_per)


def regression_text(
    found: MeasuredErrors, metrics: Mapping[str, Tensor | float], data: SequenceDataModule, split: Split
) -> str:
    """The line of errors, and advice if the network does not beat them."""
    last, bag = _NAMES[found.label_per]
    models = {"mean": found.mean, last: found.last_step, bag: found.bag_of_steps}
    parts = ", ".join(f"{name} {errors.rmse:.4g} ({errors.mae:.4g})" for name, errors in models.items())
    lines = [_wrapped(f"baselines ({split}), RMSE (MAE): {parts}{_counts(found)}")]
    rmse = float(metrics.get(f"{split}/rmse", math.nan))
    name, best = min(models.items(), key=lambda each: each[1].rmse)
    # Two standard errors of an RMSE, if errors are normal.
    if rmse > best.rmse * (1 - math.sqrt(2 / found.num_evaluated)):
        model = "the mean of the training data" if name == "mean" else f"a linear model of the {name}"
        lines.append(_wrapped(f"not clearly better than {model}: {_advice(data)}"))
    return "\n".join(lines)


def judge(accuracy: float, found: MeasuredBaselines, data: SequenceDataModule) -> list[str]:
    """Remarks on a network's accuracy; none if it clearly beats all baselines."""
    known, task = found.baselines, getattr(data, "task", None)
    linear = max(known.last_symbol, known.bag_of_symbols)
    remarks = []
    if known.majority == 1:  # no network could beat it
        fact = f"the most frequent class is right for all {found.label_per}s"
        remarks = [f"{fact}: this split can't show what the network learned"]
    elif accuracy <= known.majority + _noise(known.majority, found):
        remarks = [f"not clearly better than the most frequent class: {_advice(data)}"]
    elif not getattr(task, "solved_by_bag", False) and accuracy <= linear + _noise(linear, found):
        last, bag = _NAMES[found.label_per]
        name, fact = last, "earlier steps do" if found.label_per == "sequence" else "other steps do"
        if known.bag_of_symbols >= known.last_symbol:
            name, fact = bag, "the order of steps does"
        if accuracy < linear - _noise(linear, found):
            remarks = [f"worse than a linear model of the {name}: {_advice(data)}"]
        else:
            remarks = [
                f"not clearly better than a linear model of the {name}: {fact} not matter here, or {_advice(data)}"
            ]
    if getattr(task, "solved_by_bag", False):
        fact = "the order of steps does not matter"
        if not remarks and accuracy < known.bag_of_symbols - _noise(known.bag_of_symbols, found):
            fact = "no network beats the bag of steps; more epochs (--trainer.max_epochs) or more data come closer"
        remarks.append(f"{type(task).__name__} is solved by adding up: {fact}")
    return remarks


def _noise(accuracy: float, found: MeasuredBaselines) -> float:
    """Two standard errors of a measured accuracy."""
    number = found.num_evaluated
    return 2 * math.sqrt(max(accuracy * (1 - accuracy), 1 / number) / number)


def _advice(data: SequenceDataModule) -> str:
    task = getattr(data, "task", None)
    more = "more data (--data.num_train)" if isinstance(data, SyntheticSequences) else "more data"
    shorter = "shorter sequences first"
    if hasattr(task, "max_length"):
        shorter += (
            " (--data.task.min_length, .max_length)" if hasattr(task, "min_length") else " (--data.task.max_length)"
        )
    advice = f"try {more}, more epochs (--trainer.max_epochs), {shorter} or another cell (--model.cell)"
    if getattr(task, "example", None) is not None:
        advice += f"; `seqlight tasks` has a command that learns {type(task).__name__}"
    return advice


def _splits(trainer: Trainer, data: SequenceDataModule, split: Split) -> tuple[Batch | Sequences, Batch | Sequences]:
    """The samples for training and those of a split that the Trainer's loaders hold, or else the data module."""
    train = _samples(trainer.train_dataloader, data, "train")
    evaluated = train
    if split == "val":
        evaluated = _samples(trainer.val_dataloaders, data, split, trainer.num_val_batches)
    elif split == "test":
        evaluated = _samples(trainer.test_dataloaders, data, split, trainer.num_test_batches)
    return train, evaluated


def _samples(
    loaders: Any, data: SequenceDataModule, split: Split, num_batches: Sequence[float] = ()
) -> Batch | Sequences:
    """The samples of the batches that the Trainer used; all by default."""
    held = tree_leaves(loaders)
    if len(held) != 1 or not isinstance(held[0], SequenceLoader):
        return data.split(split)
    loader: SequenceLoader = held[0]
    used = (sum(num_batches) or math.inf) * loader.batch_size * loader.world_size
    if used >= len(loader.data.lengths):
        return loader.data
    return rows_of(loader.data, torch.arange(int(used)))


def _wrapped(text: str) -> str:
    return textwrap.fill(one_line(text), WIDTH, break_long_words=False, break_on_hyphens=False)
