"""Defaults of `seqlight fit`: for own files, which are fewer and harder than a task's samples, they differ."""

import math
from typing import Any

from jsonargparse import ArgumentParser
from lightning.pytorch import LightningDataModule, Trainer

from seqlight.cli.arguments import GivenArguments
from seqlight.cli.options import TRAINER_DEFAULTS
from seqlight.data.files import SequenceFiles
from seqlight.data.loader import num_batches
from seqlight.training.classifier import SequenceClassifier

_MODEL: dict[str, Any] = {
    "class_path": "seqlight.SequenceClassifier",
    "init_args": {
        "cell": {"class_path": "seqlight.GRUCell", "init_args": {"hidden_size": 64}},
        "bidirectional": True,
        "readout": "last_mean_max",
        "convolution": "fcn",
        "learning_rate": 0.003,
        "recover": True,
    },
}
_OF_SEQUENCES = ("readout", "convolution", "learning_rate")
_FILES = ("SequenceFiles", "seqlight.SequenceFiles", "seqlight.data.files.SequenceFiles")
# Chosen on PLAID (428 sequences in 11 classes): test accuracy .37 after 500 steps, .49 and .51 after 50 epochs. Sets of
# 30 to 160 sequences get the same 500 steps as before; with 1000, they were no better.
EPOCHS, MIN_EPOCHS, MIN_STEPS, MAX_STEPS = 50, 10, 500, 2000
# The convolutional branch takes 1.6 million operations for a time step of a sequence, the recurrent layers a fifth of
# that. With this many, a run takes about 45 s on one core (2026).
MOST_TIME_STEPS = 3_500_000
RATE_WITHOUT_BRANCH = 0.01


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
    """The default model. One that classifies each step by its own output has neither readout nor branch."""
    if given.data_argument("label_per") != "step":
        return _MODEL
    arguments = {name: value for name, value in _MODEL["init_args"].items() if name not in _OF_SEQUENCES}
    return {**_MODEL, "init_args": arguments}


class BranchChoice:
    """Whether the default model for files has the convolutional branch, which depends on the data's size.

    It has, if the data are numbers, and the default number of epochs goes through at most `MOST_TIME_STEPS` time steps.
    Without it, the default learning rate is higher.

    Args:
        given: the command line of a new `fit`, whose values stay; None if there is nothing to choose.

    Attributes:
        line: the reason why the model has no branch; empty if it has, or if the user has chosen.
    """

    def __init__(self, given: GivenArguments | None = None) -> None:
        names = ("convolution", "learning_rate")
        self._free = {name for name in names if given is not None and not given.names_model_argument(name)}
        self._data: SequenceFiles | None = None
        self.line = ""

    def make_in(self, parser: ArgumentParser, config: Any) -> None:
        """Choose when the parser makes data and model.

        Args:
            parser: the parser.
            config: the parsed arguments; those of the model are set, too.
        """
        if not self._free:
            return

        def make_data(cls: type[SequenceFiles], **arguments: Any) -> SequenceFiles:
            self._data = cls(**arguments)
            return self._data

        def make_model(cls: type[SequenceClassifier], **arguments: Any) -> SequenceClassifier:
            for name, value in self._changes(cls, arguments).items():
                arguments[name] = config.model.init_args[name] = value
            return cls(**arguments)

        parser.add_instantiator(make_data, SequenceFiles, subclasses=True, prepend=True)
        parser.add_instantiator(make_model, SequenceClassifier, subclasses=True, prepend=True)

    def _changes(self, cls: type[SequenceClassifier], arguments: dict[str, Any]) -> dict[str, Any]:
        if self._data is None or cls is not SequenceClassifier:
            return {}
        changes: dict[str, Any] = {}
        if "convolution" in self._free and arguments["convolution"] is not None:
            self.line = self._reason(self._data)
            changes = {"convolution": None} if self.line else {}
        if "learning_rate" in self._free and {**arguments, **changes}["convolution"] is None:
            changes["learning_rate"] = RATE_WITHOUT_BRANCH
        return changes

    def _reason(self, data: SequenceFiles) -> str:
        if data.vocab_size is not None:
            return "no convolutional branch for tokens; --model.convolution fcn adds it"
        lengths = data.split("train").lengths
        time_steps = int(lengths.sum()) * num_epochs(num_batches(len(lengths), data.batch_size))
        if time_steps <= MOST_TIME_STEPS:
            return ""
        return (
            f"no convolutional branch: training goes through {time_steps / 1e6:.1f} million time steps, more than "
            f"{MOST_TIME_STEPS / 1e6}; --model.convolution fcn adds it"
        )


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
