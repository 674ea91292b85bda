"""The Trainer of a module, and the data module that it trains on."""

import importlib.metadata
from typing import Any

import lightning.pytorch as pl

from seqlight.common.description import describe
from seqlight.common.private_torch import tree_leaves
from seqlight.common.text import encodable
from seqlight.data.datamodule import SequenceDataModule
from seqlight.data.loader import SequenceLoader
from seqlight.tasks.task import Target

_VERSION = importlib.metadata.version("seqlight")


def trainer_of(module: pl.LightningModule) -> pl.Trainer | None:
    """The module's Trainer; None if it has none."""
    try:
        return module.trainer
    except RuntimeError:
        return None


def datamodule_of(trainer: pl.Trainer | None) -> SequenceDataModule | None:
    """The Trainer's data module; None if it has none, or one of another class than seqlight's."""
    datamodule = getattr(trainer, "datamodule", None)
    return datamodule if isinstance(datamodule, SequenceDataModule) else None


def fix_order(trainer: pl.Trainer) -> None:
    """With `overfit_batches`, let all epochs train the same batches, as Lightning does for a `DataLoader`."""
    for loader in tree_leaves(trainer.train_dataloader):
        if isinstance(loader, SequenceLoader):
            loader.fixed_order = trainer.overfit_batches > 0  # type: ignore[attr-defined]


def class_names(trainer: pl.Trainer, target: Target, num_outputs: int) -> list[str]:
    """The data's names of the classes or labels, two for binary; numbers if the data have none.

    A lone surrogate, which no font or encoding has, is written as an escape.

    Raises:
        ValueError: if the data have another number of names.
    """
    datamodule = datamodule_of(trainer)
    names = datamodule.class_names if datamodule is not None else None
    size = 2 if target == "binary" else num_outputs
    if names is not None and len(names) != size:
        raise ValueError(f"class_names must be {size} names for this {target} target, got {list(names)}")
    return [encodable(name) for name in names or map(str, range(size))]


def describe_with_data(model: pl.LightningModule) -> dict[str, Any]:
    """The version, the model, and the data if there are any, as plain data.

    Raises:
        TypeError: if a hyperparameter has no plain form.
    """
    datamodule = datamodule_of(trainer_of(model))
    return {"version": _VERSION, "model": describe(model), "data": datamodule and describe(datamodule)}
