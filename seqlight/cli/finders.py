"""The values that Lightning's `LearningRateFinder` and `BatchSizeFinder` found."""

from typing import Any

from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder

from seqlight.common.description import differences
from seqlight.common.errors import state_of_checkpoint
from seqlight.data.datamodule import SequenceDataModule
from seqlight.training.classifier import SequenceClassifier


def keep_found(
    contents: dict[str, Any], model: SequenceClassifier, datamodule: SequenceDataModule, callbacks: list[Any]
) -> list[Any]:
    """Keep the values that Lightning's finders found before a run was interrupted.

    Args:
        contents: the contents of the checkpoint from which the run continues.
        model: its `learning_rate` is set, if a callback has found it.
        datamodule: its `batch_size` is set, if a callback has found it.
        callbacks: the user's callbacks.

    Returns:
        The callbacks without the finders: they would search again, from other weights.
    """
    found: dict[str, Any] = {"learning_rate": (LearningRateFinder, model), "batch_size": (BatchSizeFinder, datamodule)}
    for (name, (finder, owner)), part in zip(found.items(), ("model", "data"), strict=True):
        if any(isinstance(each, finder) for each in callbacks):
            with state_of_checkpoint():
                value = contents["seqlight"][part]["init_args"][name]
            setattr(owner, name, value)
            owner.hparams[name] = value
    return [each for each in callbacks if not isinstance(each, LearningRateFinder | BatchSizeFinder)]


def describe_found(model: SequenceClassifier, datamodule: SequenceDataModule, arguments: dict[str, Any]) -> str:
    """A line about a learning rate or batch size that a callback has changed; empty if none has.

    Args:
        model: the model; its `hparams` have the rate in use.
        datamodule: the data; its `hparams` have the batch size in use.
        arguments: the parsed arguments, nested.
    """
    before: dict[str, Any] = {}
    now: dict[str, Any] = {}
    for name, part, owner in (("learning_rate", "model", model), ("batch_size", "data", datamodule)):
        given = arguments[part].get("init_args", {})
        if name in given and name in owner.hparams:
            before[f"{part}.{name}"], now[f"{part}.{name}"] = given[name], owner.hparams[name]
    changes = differences(before, now)
    return f"a callback changed {', '.join(changes)}; the checkpoints have the new value" if changes else ""
