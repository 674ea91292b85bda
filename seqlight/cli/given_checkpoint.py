"""The checkpoint that a command line names: model and data come from it, as far as flags leave them."""

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

from jsonargparse import set_parsing_settings

from seqlight.checkpoints.load import check_sizes, epochs_trained, read
from seqlight.cli.arguments import GivenArguments
from seqlight.cli.usage import UsageError
from seqlight.cli.yaml import TooLargeError, check_texts
from seqlight.common.description import NotImportedError, differences, flatten
from seqlight.common.errors import CheckpointError
from seqlight.data.datamodule import SequenceDataModule, Split
from seqlight.data.load import description_of
from seqlight.training.classifier import SequenceClassifier


class GivenCheckpoint:
    """What a checkpoint says of model and data; from here on, no other module than those of `--import` is imported.

    Args:
        path: the file.
        given: the command line.

    Attributes:
        contents: what the file holds.
        defaults: what the parser takes for model and data where no flag says otherwise.

    Raises:
        UsageError: if there is no such file, or it says nothing of data and no flag does.
        CheckpointError: if it can't be used.
    """

    def __init__(self, path: str, given: GivenArguments) -> None:
        self.path = path
        self._given = given
        if "://" in path:
            raise UsageError(f"--ckpt_path {path}: expected a file on this machine, not a URL")
        try:
            self.contents = read(path)
            self.defaults: dict[str, Any] = description_of(
                path, self.contents, model_base=SequenceClassifier, data_base=SequenceDataModule
            )
            check_texts(self.defaults)
        except FileNotFoundError as error:
            raise UsageError(f"--ckpt_path: {error}") from error
        except TooLargeError as error:
            raise CheckpointError(f"{path} does not describe a model and its data: {error}") from error
        except NotImportedError as error:
            raise CheckpointError(
                f"{path}: {error}.\nIf you trust that module, add: --import {error.module}"
            ) from error
        if "data" not in self.defaults and not any(word.startswith("--data") for word in given.words):
            raise UsageError(f"{path} says nothing of the data it was trained on: name them with --data.task or --data")
        # Class paths within the checkpoint's arguments are known classes; nothing else may be imported by name.
        modules = [module.partition(".")[0] for module in given.values_of("--import")]
        set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=["seqlight", "lightning", *modules])
        if "data" in self.defaults:
            self.defaults["data"] = given.data_of_chosen_task(self.defaults["data"])
        # Not through the parser, which takes a minute for a large vocabulary.
        self._encoding = self.defaults.get("data", {}).get("init_args", {}).pop("encoding", None)

    def encoding_of(self, class_path: str) -> dict[str, Any] | None:
        """What it says of classes, vocabulary and scale, if the data module is still of this class."""
        return self._encoding if self.defaults.get("data", {}).get("class_path") == class_path else None

    def changes(self, chosen: dict[str, Any]) -> list[str]:
        """What flags say otherwise, of all but the files to read."""
        passed_over = tuple(f"data.{name}." for name in ("encoding", *get_args(Split)))
        changes = []
        for key, part in self.defaults.items():
            before = {
                name: value for name, value in flatten(key, part).items() if not f"{name}.".startswith(passed_over)
            }
            changes += differences(before, flatten(key, chosen[key]))
        return changes

    def make_model(self, cls: type[SequenceClassifier], **arguments: Any) -> SequenceClassifier:
        """A model of the size of the weights.

        Raises:
            CheckpointError, UsageError: if they are of another one, by whoever is to blame.
        """
        self._blame(partial(check_sizes, lambda: cls(**arguments), self.contents["state_dict"]))
        return cls(**arguments)

    def check_weights(self, model: SequenceClassifier) -> None:
        """Whether they are the model's.

        Raises:
            CheckpointError, UsageError: if not, by whoever is to blame.
        """
        self._blame(partial(model.load_state_dict, self.contents["state_dict"]))

    def check_training(self, max_epochs: int | None) -> None:
        """Whether training can go on from here.

        Args:
            max_epochs: those to train in all; None or -1 for no end.

        Raises:
            CheckpointError: if it does not say how far it has been trained.
            UsageError: if it holds weights only, or no epoch is left.
        """
        if "optimizer_states" not in self.contents:
            raise UsageError(f"{self.path} holds weights only: training can't go on from there")
        epochs = epochs_trained(self.path, self.contents)
        if max_epochs is not None and 0 <= max_epochs <= epochs:
            raise UsageError(
                f"{self.path} has been trained for {epochs} epochs: expected --trainer.max_epochs above that, "
                f"got {max_epochs}"
            )

    def _blame(self, check: Callable[[], Any]) -> None:
        try:
            check()
        except RuntimeError as error:
            reason = str(error).splitlines()[:2][-1].strip()
            words = [word for word in self._given.words if not word.startswith(("--data.test", "--data.predict"))]
            if any(word.startswith(("--model", "--data", "--config")) for word in words):
                raise UsageError(f"flags and --ckpt_path {self.path} describe different models:\n{reason}") from error
            raise CheckpointError(f"{self.path}: its weights do not fit the model it describes:\n{reason}") from error
