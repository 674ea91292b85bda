"""The checkpoint given by `--ckpt_path`: the source of model and data, unless flags override them."""

import difflib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

from seqlight.checkpoints.contents import check_finite, epochs_trained, read
from seqlight.checkpoints.load import check_sizes
from seqlight.checkpoints.run_search import checkpoint_in
from seqlight.cli.arguments import GivenArguments
from seqlight.cli.flag_errors import UsageError
from seqlight.cli.yaml import TooLargeError, check_texts
from seqlight.common.description import NotImportedError, class_path, differences, flatten, resolve, takes_memory
from seqlight.common.errors import CheckpointError
from seqlight.common.unused import rebuilding
from seqlight.data.datamodule import SequenceDataModule, Split
from seqlight.data.encoded import EncodedSequences
from seqlight.data.files import SequenceFiles
from seqlight.data.from_checkpoint import description_of, taken_over
from seqlight.training.classifier import SequenceClassifier
from seqlight.training.ensemble import SequenceEnsemble


class GivenCheckpoint:
    """Model and data as a checkpoint describes them.

    Args:
        path: the checkpoint file.
        given: the command line.

    Attributes:
        path: the checkpoint file.
        contents: its contents.
        defaults: model and data for the parser, unless flags override them.
        modules: all modules whose classes parsed values may name: class paths in the checkpoint are checked already.

    Raises:
        UsageError: if the file does not exist, or neither the checkpoint nor a flag names the data.
        CheckpointError: if the checkpoint can't be used.
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
            if os.path.isdir(path):
                raise UsageError(f"--ckpt_path {path}: {_advice(Path(path))}") from error
            known = [each for each in sorted(Path(path).parent.glob("*")) if checkpoint_in(each)]
            near = difflib.get_close_matches(path, map(str, known), n=1)
            raise UsageError(f"--ckpt_path: {error}{f'; did you mean {near[0]}?' if near else ''}") from error
        except TooLargeError as error:
            raise CheckpointError(f"{path} does not describe a model and its data: {error}") from error
        except NotImportedError as error:
            raise CheckpointError(
                f"{path}: {error}.", f"If you trust that module, add: --import {error.module}"
            ) from error
        self._take_files_for_memory()
        if "data" not in self.defaults and not any(word.startswith("--data") for word in given.words):
            raise UsageError(f"{path} does not name its training data: name the data with --data.task or --data")
        self.modules = [
            "seqlight",
            "lightning",
            "torch.optim",
            *(name.partition(".")[0] for name in given.values_of("--import")),
        ]
        # Kept from the parser, which would take a minute for a large vocabulary.
        self._encoding = self.defaults.get("data", {}).get("init_args", {}).pop("encoding", None)

    def _take_files_for_memory(self) -> None:
        """Let a model that was trained on data in memory take files: there is nothing else on the command line."""
        data = self.defaults.get("data")
        cls: Any = data and resolve(data["class_path"], SequenceDataModule)
        if data and takes_memory(cls) and issubclass(cls, EncodedSequences):
            _, arguments = taken_over(EncodedSequences, SequenceFiles, cls, data["init_args"])
            self.defaults["data"] = {"class_path": class_path(SequenceFiles), "init_args": arguments}

    def encoding_of(self, class_path: str) -> dict[str, Any] | None:
        """Classes, vocabulary and scale from the checkpoint; None if its data module is of another class."""
        return self._encoding if self.defaults.get("data", {}).get("class_path") == class_path else None

    def changes(self, chosen: dict[str, Any]) -> list[str]:
        """The arguments that flags override, except for the files to read."""
        ignored = tuple(f"data.{name}." for name in ("encoding", *get_args(Split)))
        changes = []
        for key, part in self.defaults.items():
            before = {name: value for name, value in flatten(key, part).items() if not f"{name}.".startswith(ignored)}
            changes += differences(before, flatten(key, chosen[key]))
        return changes

    def make_model(self, cls: type[SequenceClassifier], **arguments: Any) -> SequenceClassifier:
        """Build the model, if the weights in the checkpoint have its size, or a member of an ensemble.

        Raises:
            UsageError: if the size differs, and a flag can be the cause.
            CheckpointError: if it differs, and no flag is the cause.
        """
        is_member = self.defaults["model"]["class_path"] == class_path(SequenceEnsemble) and cls is not SequenceEnsemble
        if not is_member:
            self._check_fit(partial(check_sizes, lambda: cls(**arguments), self.contents["state_dict"]))
        with rebuilding():
            return cls(**arguments)

    def check_weights(self, model: SequenceClassifier) -> None:
        """Check that the weights fit the model and are finite.

        Raises:
            UsageError, CheckpointError: as `make_model`.
        """
        self._check_fit(partial(model.load_state_dict, self.contents["state_dict"]))
        check_finite(self.path, self.contents, model)

    def check_training(self, max_epochs: int | None, max_steps: int) -> None:
        """Check that training can continue from this checkpoint.

        Args:
            max_epochs: the total number of epochs to train; None or -1 for no limit.
            max_steps: the total number of steps to train; -1 for no limit.

        Raises:
            CheckpointError: if the checkpoint does not hold the number of epochs trained.
            UsageError: if it holds weights only, or no epoch or step is left.
        """
        if "optimizer_states" not in self.contents:
            raise UsageError(f"{self.path} holds weights only: training can't continue from it")
        epochs = epochs_trained(self.path, self.contents)
        if max_epochs is not None and 0 <= max_epochs <= epochs:
            raise UsageError(
                f"{self.path} has been trained for {epochs} epochs: expected --trainer.max_epochs above that, "
                f"got {max_epochs}"
            )
        steps = self.contents["global_step"]
        if 0 <= max_steps <= steps:
            raise UsageError(
                f"{self.path} has been trained for {steps} steps: expected --trainer.max_steps above that, "
                f"got {max_steps}"
            )

    def _check_fit(self, check: Callable[[], Any]) -> None:
        """Run a check of the weights' sizes. On failure, raise an error about the flags if any flag is about them."""
        try:
            check()
        except RuntimeError as error:
            reason = str(error).splitlines()[:2][-1].strip()
            words = [word for word in self._given.words if not word.startswith(("--data.test", "--data.predict"))]
            if any(word.startswith(("--model", "--data", "--config")) for word in words):
                raise UsageError(
                    f"flags and --ckpt_path {self.path} describe different models; leave out one:", reason
                ) from error
            raise CheckpointError(f"{self.path}: its weights do not fit the model it describes:", reason) from error


def _advice(folder: Path) -> str:
    """How to name a checkpoint, for a folder that is not the folder of a run."""
    if folds := sorted(folder.glob("fold_1")) or sorted(folder.glob("version_*/fold_1")):
        return f"this folder has the runs of several folds; name one, as {folds[-1]}, or train once without --folds"
    runs = [str(each) for each in sorted(folder.iterdir()) if checkpoint_in(each)]
    found = f": {' or '.join(runs[:3])}" if runs else ", as runs/SumSign-LSTMCell"
    return f"this folder has no best.ckpt; expected a checkpoint or the folder of a run{found}"
