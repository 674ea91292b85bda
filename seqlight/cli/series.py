"""Several runs of one command, and their folders: the folds of a cross-validation, or the members of an ensemble."""

from pathlib import Path
from typing import Any

from seqlight.checkpoints.resume import LAST
from seqlight.checkpoints.run_choice import ChosenRun, choose_part
from seqlight.checkpoints.run_folder import RunFolder, read_state
from seqlight.checkpoints.run_search import checkpoint_in
from seqlight.cli.command_folder import CommandFolder
from seqlight.cli.series_request import SeriesRequested
from seqlight.cli.training_run import describe_choice, find_run
from seqlight.common.text import show


class Series:
    """The runs of one command, in `runs/<name>/version_<n>/fold_1`, `fold_2`, ... or `member_1`, ...

    Attributes:
        request: what was asked for.
        started: the time at which the command was started.
        folder: the folder of all; None until the first run has been described.
    """

    def __init__(self, request: SeriesRequested, started: float) -> None:
        self.request = request
        self.started = started
        self.folder: RunFolder | None = None
        self._training: dict[str, str] = {}

    @property
    def path(self) -> Path:
        """The folder of all runs."""
        assert self.folder is not None
        return self.folder.path

    def name(self, number: int) -> str:
        """A run in messages, as "fold 2 of 5"."""
        seed = f" (seed {self.seed(number)})" if self.request.kind == "member" else ""
        return f"{self.request.kind} {number} of {self.request.number}{seed}"

    def seed(self, number: int) -> int:
        """The seed of a member."""
        return int(self.request.config.seed_everything) + number - 1

    def adapt(self, config: Any, number: int) -> None:
        """Turn the arguments of all runs into those of one."""
        config.folds = config.ensemble = None
        if self.request.kind == "fold":
            config.data.init_args.fold = f"{number}/{self.request.number}"
        else:
            config.seed_everything = self.seed(number)

    def open(self, parent: Path, training: dict[str, str], *, fresh: bool) -> None:
        """Open the folder of the unfinished series of this training, or a new one.

        Args:
            parent: the folder of all runs of this name.
            training: the description of one of its runs, from `describe_run`.
            fresh: whether `--fresh` is given.

        Raises:
            RunInUseError, WriteError: as `find_run`.
        """
        if self.folder is not None:
            return
        varied = "--data.init_args.fold" if self.request.kind == "fold" else "--seed_everything"
        flag = "--folds" if self.request.kind == "fold" else "--ensemble"
        common = {name: value for name, value in training.items() if name != varied}
        self._training = {**common, flag: str(self.request.number)}
        if self.request.kind == "member":
            self._training[varied] = str(self.seed(1))
        run, message = find_run(
            parent,
            self._training,
            ckpt_path=None,
            fresh=fresh,
            saves=True,
            first_process=True,
            started=self.started,
        )
        self.folder = run.folder
        if run.unfinished is None and message:
            show(message)

    def part(self, number: int) -> Path:
        """The folder of a run."""
        return self.path / f"{self.request.kind}_{number}"

    def is_finished(self, number: int) -> bool:
        """Whether a run is finished."""
        return self.folder is not None and bool(read_state(self.part(number)).get("finished"))

    def checkpoint(self, number: int) -> Path:
        """The checkpoint of a finished run that its folder stands for."""
        folder = self.part(number)
        return checkpoint_in(folder) or folder / "checkpoints" / LAST

    def finish(self) -> None:
        """Mark the series as finished."""
        assert self.folder is not None
        self.folder.describe(self._training, finished=True)

    def close(self) -> None:
        """Leave the folder to other processes; it is removed if it has no run."""
        if self.folder is not None:
            self.folder.close(has_begun=any(self.path.glob(f"{self.request.kind}_*")))


class PartFinished(Exception):  # noqa: N818 # not an error
    """The run is finished already."""


class PartFolder(CommandFolder):
    """The folder of one run of a series."""

    def __init__(self, series: Series, number: int) -> None:
        super().__init__(series.started)
        self._series, self._number = series, number

    def _find_run(self, parent: Path, config: Any, saves: bool, is_first: bool) -> tuple[ChosenRun, str]:
        series, number = self._series, self._number
        series.open(parent, self.training, fresh=config.fresh)
        if series.is_finished(number):
            raise PartFinished
        run = choose_part(series.part(number), self.training)
        return run, describe_choice(run)
