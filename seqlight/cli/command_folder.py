"""The folder in which a command writes: that of the run that `fit` trains, or of a test or validation."""

import contextlib
from pathlib import Path
from typing import Any

from seqlight.callbacks.logger import CurvesLogger, logger_of
from seqlight.checkpoints.numbered_folders import new_folder
from seqlight.checkpoints.run_choice import ChosenRun
from seqlight.checkpoints.run_folder import RunFolder
from seqlight.cli.finders import keep_found
from seqlight.cli.training_run import find_run
from seqlight.common.files import make_folder
from seqlight.common.processes import global_rank
from seqlight.common.text import show
from seqlight.data.datamodule import SequenceDataModule
from seqlight.training.classifier import SequenceClassifier


class CommandFolder:
    """The folder of a command's results, and the checkpoint from which a run in it continues.

    Attributes:
        training: the description of the training, from `describe_run`; empty until `choose_run`.
    """

    def __init__(self, started: float) -> None:
        """Begin without a folder.

        Args:
            started: the time at which the command was started.
        """
        self.training: dict[str, str] = {}
        self._started = started
        self._run: ChosenRun | None = None
        self._new_folders: list[Path] = []  # for the results of a test or validation

    @property
    def run_folder(self) -> RunFolder | None:
        """The folder of the run, if this process writes it."""
        return None if self._run is None else self._run.folder

    def choose_run(
        self,
        config: Any,
        training: dict[str, str],
        name: str,
        model: SequenceClassifier,
        datamodule: SequenceDataModule,
        *,
        saves: bool,
    ) -> None:
        """Find the unfinished run or create the folder of a new one, and save checkpoints there.

        Args:
            config: the arguments of `fit`; its checkpoint, its callbacks and their folders are set.
            training: the description of the training from `describe_run`.
            name: the name of the folder that contains all runs of that name.
            model: the model; it keeps what Lightning's finders found before.
            datamodule: the data, likewise.
            saves: whether the run saves checkpoints.

        Raises:
            UsageError, CheckpointError, RunInUseError, WriteError: as `find_run`.
        """
        self.training = training
        is_first = global_rank(config.trainer.num_nodes) == 0
        self._run, message = self._find_run(Path(config.trainer.default_root_dir) / name, config, saves, is_first)
        if self._run.resume is not None:
            config.ckpt_path = str(self._run.resume.path)
            given = config.trainer
            given.callbacks = keep_found(self._run.resume.contents, model, datamodule, given.callbacks)
        elif config.ckpt_path == "last":
            config.ckpt_path = None
        if is_first and message:
            show(message)
        path = None if self._run.folder is None else self._run.folder.path  # the first process sends it to the others
        config.resume.folder = path and path / "checkpoints"
        config.checkpoint.belong_to(path)

    def _find_run(self, parent: Path, config: Any, saves: bool, is_first: bool) -> tuple[ChosenRun, str]:
        """The run, and a message about it, as `find_run`."""
        return find_run(
            parent,
            self.training,
            ckpt_path=config.ckpt_path,
            fresh=config.fresh,
            saves=saves,
            first_process=is_first,
            started=self._started,
        )

    def take_contents(self) -> dict[str, dict[str, Any]]:
        """The contents of the checkpoint from which the run continues, by its path; empty if it begins.

        They can be taken once, and are not kept in memory for the whole run.
        """
        if self._run is None or self._run.resume is None:
            return {}
        resume, self._run = self._run.resume, self._run._replace(resume=None)
        return {str(resume.path): resume.contents}

    def logger(self, command: str, config: Any, name: str) -> CurvesLogger:
        """The logger of the command, in its folder.

        Args:
            command: "fit", "validate" or "test".
            config: its arguments. Results of a checkpoint go to the folder of its run, or to a new one if it has none.
            name: the name of the folder that contains all runs of that name.
        """
        if self.run_folder is not None:
            return logger_of(self.run_folder.path)
        root = Path(config.trainer.default_root_dir)
        # The first process sends the others its folder.
        if command == "fit" or global_rank(config.trainer.num_nodes) != 0:
            return CurvesLogger(root, name=name, default_hp_metric=False)
        if (folder := Path(config.ckpt_path).parent).name == "checkpoints":
            logger, parents = logger_of(folder.parent, kind=command), []
        else:
            parents = make_folder(root / name)
            version = new_folder(root / name, "version", first=0).name
            logger = CurvesLogger(root, name=name, version=version, default_hp_metric=False)
        self._new_folders = [Path(logger.log_dir), *parents]
        return logger

    def finish(self, few_validation: int | None) -> None:
        """Mark the run as finished.

        Args:
            few_validation: the number of validation sequences if they are too few to choose the best checkpoint.
        """
        if self.run_folder is not None:
            self.run_folder.few_validation = few_validation
            self.run_folder.describe(self.training, finished=True)

    def close(self, *, has_begun: bool) -> None:
        """Leave the folder to other processes. Folders without results are removed.

        Args:
            has_begun: whether the run has made a step.
        """
        for folder in self._new_folders:
            with contextlib.suppress(OSError):  # it has results
                folder.rmdir()
        if self.run_folder is not None:
            self.run_folder.close(has_begun=has_begun)
