"""Several runs of `seqlight fit`, trained in turn: the folds of a cross-validation, or the members of an ensemble."""

import contextlib
import gc
import shlex
from typing import Any

from seqlight.checkpoints.run_search import ENSEMBLE
from seqlight.checkpoints.signals import stop_requests
from seqlight.cli.flag_errors import UsageError
from seqlight.cli.lightning_cli import SeqlightCLI
from seqlight.cli.report import events
from seqlight.cli.series import PartFinished, PartFolder, Series
from seqlight.cli.series_request import SeriesRequested
from seqlight.cli.series_results import (
    PREDICTIONS,
    RESULTS,
    Evaluator,
    join_predictions,
    members_table,
    read_results,
    relative,
    scores_table,
    summary,
    write_results,
)
from seqlight.cli.training_run import few_validation
from seqlight.common.text import one_line, show
from seqlight.data.datamodule import SequenceDataModule, Split, load_data
from seqlight.training.classifier import load
from seqlight.training.ensemble import SequenceEnsemble, join_checkpoints
from seqlight.training.non_finite import NonFiniteError

_SPLITS: tuple[Split, ...] = ("val", "test")


class PartCLI(SeqlightCLI):
    """The training of one run of a series."""

    def __init__(self, arguments: list[str], series: Series, number: int, *, is_first: bool) -> None:
        """Train.

        Args:
            arguments: the words of the command line.
            series: all runs.
            number: the number of this one, from 1.
            is_first: whether this command has not trained any other; those do not repeat what it printed.
        """
        self._series, self._number, self._is_first = series, number, is_first
        super().__init__(arguments, PartFolder(series, number))

    def parse_arguments(self, parser: Any, args: Any) -> None:
        """Parse the arguments, and make them those of this run."""
        super().parse_arguments(parser, args)
        self._series.adapt(self.config.fit, self._number)

    def instantiate_classes(self) -> None:
        """Build model, data and Trainer.

        Raises:
            UsageError: if there are several processes, or fewer sequences than folds.
        """
        super().instantiate_classes()
        if self._series.request.kind == "fold":
            self._check_number()
        if self.trainer.world_size > 1:
            flag = "--folds" if self._series.request.kind == "fold" else "--ensemble"
            raise UsageError(f"{flag} trains in one process, got {self.trainer.world_size}: give --trainer.devices 1")

    def _check_number(self) -> None:
        number = self._series.request.number
        sequences = sum(len(self.datamodule.split(split).lengths) for split in ("train", "val"))
        if number > sequences:
            raise UsageError(f"--folds {number}: expected at most the number of sequences, {sequences}")

    def before_fit(self) -> None:
        """Print which run this is; then, for the first one, what is printed for a single run."""
        if not self.config_init.fit.quiet:
            folder = "" if self._is_first else f": results in {self.trainer.log_dir}"
            show(one_line(f"{self._series.name(self._number)}{folder}"))
        super().before_fit()

    def _note(self, text: str) -> None:
        pass  # said for the command

    def _announce(self, text: str) -> None:
        if self._is_first:
            super()._announce(text)

    def after_fit(self) -> None:
        """Mark the run as finished."""
        few = few_validation(self.trainer)
        self._folder.finish(few)
        for line in events(self.trainer, self.model):
            if line:
                show(f"{self._series.name(self._number)}: {line}")


def fit_series(arguments: list[str], request: SeriesRequested, started: float) -> None:
    """Train the runs that are left of a series, and evaluate them.

    Args:
        arguments: the words of the command line.
        request: what they ask for.
        started: the time at which the command was started.
    """
    series, evaluator, is_first = Series(request, started), Evaluator(request.config), True
    with contextlib.closing(series):
        for number in range(1, request.number + 1):
            data = None
            if not series.is_finished(number):
                data = _train(arguments, series, number, is_first=is_first)
                is_first &= data is None
            if request.kind == "fold":
                _evaluate_fold(series, number, evaluator, data)
            del data
            gc.collect()  # a Trainer and its model refer to each other
        finish = _finish_folds if request.kind == "fold" else _finish_ensemble
        text = finish(series, evaluator)
        stop_requests.check()
        series.finish()
        stop_requests.done = True
    gap = "" if request.config.quiet else "\n"
    if request.config.trainer.logger in (None, True):
        text += f"\ncurves       tensorboard --logdir {shlex.quote(str(request.config.trainer.default_root_dir))}"
    show(f"{gap}{text}")


def _train(arguments: list[str], series: Series, number: int, *, is_first: bool) -> SequenceDataModule | None:
    """Train a run, and return its data; None if it was finished before.

    Raises:
        NonFiniteError: naming the run.
    """
    try:
        data: SequenceDataModule = PartCLI(arguments, series, number, is_first=is_first).datamodule
    except PartFinished:
        return None
    except NonFiniteError as error:
        remedy = "the other runs are kept: the same command continues them, but this one may fail again"
        raise NonFiniteError(f"{series.name(number)}: {error}\n{remedy}") from error
    return data


def _evaluate_fold(series: Series, number: int, evaluator: Evaluator, data: SequenceDataModule | None) -> None:
    """Write the results of a fold and the predictions of its validation sequences, unless they are there."""
    folder, checkpoint = series.part(number), series.checkpoint(number)
    if (folder / RESULTS).is_file():
        return
    data = load_data(checkpoint) if data is None else data
    model = load(checkpoint)
    evaluator.write_predictions(model, data, "val", folder / PREDICTIONS)
    results: dict[str, Any] = {"fold": number, "checkpoint": str(checkpoint.relative_to(series.path))}
    for split in _evaluated(data):
        results[split] = evaluator.scores(model, data, split)
    write_results(folder / RESULTS, results)
    if not series.request.config.quiet:
        scores = ", ".join(
            f"{name} {value:.4f}" for name, value in results["val"].items() if name in ("accuracy", "r2")
        )
        show(one_line(f"{series.name(number)}: val {scores} ({checkpoint.name})"))


def _finish_folds(series: Series, evaluator: Evaluator) -> str:
    """Write the results and predictions of all folds; return what is printed."""
    parts = [series.part(number) for number in range(1, series.request.number + 1)]
    results = [read_results(part / RESULTS) for part in parts]
    written: dict[str, Any] = {"folds": results}
    tables = []
    for split in [split for split in _SPLITS if split in results[0]]:
        scores = [each[split] for each in results]
        means, deviations = summary(scores)
        written |= {f"{split}_mean": means, f"{split}_std": deviations}
        rows = {f"fold {number}": each for number, each in enumerate(scores, 1)}
        tables.append(scores_table(split, {**rows, "mean": means, "std (n - 1)": deviations}))
    write_results(series.path / "folds.json", written)
    join_predictions([part / PREDICTIONS for part in parts], series.path / PREDICTIONS)
    lines = [
        f"results      {relative(series.path / 'folds.json')}",
        f"predictions  {relative(series.path / PREDICTIONS)}",
        f"{'':13}of each sequence, by the fold that did not train on it",
    ]
    return "\n\n".join([*tables, "\n".join(map(one_line, lines))])


def _finish_ensemble(series: Series, evaluator: Evaluator) -> str:
    """Write the checkpoint of the ensemble and its results; return what is printed."""
    path = series.path / "checkpoints" / ENSEMBLE
    members_of = [series.checkpoint(number) for number in range(1, series.request.number + 1)]
    join_checkpoints(members_of, path)
    model, data = load(path), load_data(path)
    assert isinstance(model, SequenceEnsemble)
    written: dict[str, Any] = {}
    tables = []
    for split in _evaluated(data):
        scores = evaluator.scores(model, data, split)
        members = model.take_members()
        written[split] = {"members": members, "ensemble": scores}
        tables.append(members_table(split, members, scores))
    if model.calibration.learns:
        join_checkpoints(members_of, path, model.calibration.state_dict())
    write_results(series.path / "ensemble.json", written)
    lines = [f"results      {relative(series.path / 'ensemble.json')}", f"checkpoint   {relative(path)}"]
    return "\n\n".join([*tables, "\n".join(map(one_line, lines))])


def _evaluated(data: SequenceDataModule) -> list[Split]:
    return [split for split in _SPLITS if data.has(split)]
