"""Defaults of `seqlight fit`: for own files, which are fewer and harder than a task's samples, they differ."""

import math
from typing import Any

from lightning.pytorch import LightningDataModule, Trainer

from seqlight.cli.arguments import GivenArguments
from seqlight.cli.options import TRAINER_DEFAULTS
from seqlight.data.files import SequenceFiles
from seqlight.data.loader import num_batches

_MODEL: dict[str, Any] = {
    "class_path": "seqlight.SequenceClassifier",
    "init_args": {
        "cell": {"class_path": "seqlight.GRUCell", "init_args": {"hidden_size": 64}},
        "bidirectional": True,
        "readout": "last_mean_max",
        "recover": True,
    },
}
_FILES = ("SequenceFiles", "seqlight.SequenceFiles", "seqlight.data.files.SequenceFiles")
# Chosen on PLAID (428 sequences in 11 classes): test accuracy .37 after 500 steps, .49 and .51 after 50 epochs. Sets of
# 30 to 160 sequences get the same 500 steps as before; with 1000, they were no better.
EPOCHS, MIN_EPOCHS, MIN_STEPS, MAX_STEPS = 50, 10, 500, 2000


def fit_defaults(given: GivenArguments, from_checkpoint: dict[str, Any] | None) -> dict[str, Any]:
    """The parser's defaults that depend on the kind of data, by flag.

    Args:
        given: the command line.
        from_checkpoint: model and data of the checkpoint whose training continues; they keep their arguments.
    """
    described = (from_checkpoint or {}).get("data", {}).get("class_path")
    if (given.data_class or described) not in _FILES:
        return {"trainer.max_epochs": given.max_epochs(TRAINER_DEFAULTS["max_epochs"])}
    model = {} if from_checkpoint is not None else {"model": _model_for(given)}
    return {**model, "trainer.max_epochs": given.max_epochs(None)}


def _model_for(given: GivenArguments) -> dict[str, Any]:
    """The default model. One that classifies each step by its own output has no readout."""
    if given.data_argument("label_per") != "step":
        return _MODEL
    return {**_MODEL, "init_args": {name: value for name, value in _MODEL["init_args"].items() if name != "readout"}}


def data_choose_length(max_epochs: int | None, data: LightningDataModule) -> bool:
    """Whether the number of epochs depends on the data: it is not given, nor has the run another limit."""
    return max_epochs is None and isinstance(data, SequenceFiles)


def choose_length(trainer: Trainer, data: SequenceFiles, config: Any) -> str:
    """Set the Trainer's number of epochs by the number of training sequences; return a line about it.

    Args:
        trainer: the Trainer, before `fit`.
        data: the data.
        config: the arguments of the Trainer; its `max_epochs` is set, too.
    """
    if trainer.fast_dev_run:  # type: ignore[attr-defined] # set by its connector
        return ""
    num_sequences = len(data.split("train").lengths)
    batches = num_batches(num_sequences, data.batch_size, trainer.world_size)
    limit = trainer.limit_train_batches
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    per_epoch = max(1, math.ceil(batches / trainer.accumulate_grad_batches))
    epochs = max(num_epochs(per_epoch), trainer.min_epochs or 0)
    trainer.fit_loop.max_epochs = config.max_epochs = epochs
    return (
        f"{epochs * per_epoch} steps, {epochs} epochs of {per_epoch}: {EPOCHS} epochs, but {MIN_STEPS} to {MAX_STEPS} "
        f"steps, and at least {MIN_EPOCHS} epochs; --trainer.max_steps changes that"
    )


def num_epochs(steps: int) -> int:
    """The number of epochs of this many steps: 50, but so many that they have 500 to 2000 steps, and at least 10."""
    return max(MIN_EPOCHS, math.ceil(MIN_STEPS / steps), min(EPOCHS, MAX_STEPS // steps))
