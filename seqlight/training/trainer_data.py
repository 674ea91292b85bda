"""The data module that a Trainer runs on, and what it says of the data."""

from typing import Any

import lightning.pytorch as pl

import seqlight
from seqlight.common.description import describe
from seqlight.data.datamodule import SequenceDataModule
from seqlight.tasks.task import Target


def datamodule_of(trainer: pl.Trainer | None) -> SequenceDataModule | None:
    """The Trainer's data module; None if it has none, or one that is not of seqlight."""
    datamodule = getattr(trainer, "datamodule", None)
    return datamodule if isinstance(datamodule, SequenceDataModule) else None


def class_names(trainer: pl.Trainer, target: Target, num_outputs: int) -> list[str]:
    """What the data call their classes or labels, two for binary; else numbers.

    Raises:
        ValueError: if the data have another number of names.
    """
    datamodule = datamodule_of(trainer)
    names = datamodule.class_names if datamodule is not None else None
    size = 2 if target == "binary" else num_outputs
    if names is not None and len(names) != size:
        raise ValueError(f"class_names must be {size} names for this {target} target, got {list(names)}")
    return list(names or map(str, range(size)))


def describe_with_data(model: pl.LightningModule) -> dict[str, Any]:
    """Version, model and data, if there are any, as plain data.

    Raises:
        TypeError: if a hyperparameter has no plain form.
    """
    datamodule = datamodule_of(model._trainer)
    return {"version": seqlight.__version__, "model": describe(model), "data": datamodule and describe(datamodule)}
