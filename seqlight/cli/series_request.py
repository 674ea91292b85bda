"""Flags that ask for several runs in one command: `--folds 5` and `--ensemble 5`."""

from typing import Any, Literal

from seqlight.cli.flag_errors import UsageError
from seqlight.common.validation import check_at_least

Kind = Literal["fold", "member"]


class SeriesRequested(Exception):  # noqa: N818 # not an error
    """The arguments ask for several runs, which are trained in turn.

    Attributes:
        kind: what they are: the folds of a cross-validation, or the members of an ensemble.
        number: how many.
        config: the arguments of `fit`.
    """

    def __init__(self, kind: Kind, number: int, config: Any) -> None:
        super().__init__(kind, number, config)
        self.kind: Kind = kind
        self.number = number
        self.config = config


def check_single(config: Any) -> None:
    """Check that the arguments of `fit` ask for a single run.

    Raises:
        SeriesRequested: if they ask for several.
        UsageError: if they contradict that.
    """
    if config.folds is None and config.ensemble is None:
        return
    if config.folds is not None and config.ensemble is not None:
        raise UsageError("--folds and --ensemble exclude each other: the one measures accuracy, the other raises it")
    kind: Kind = "member" if config.folds is None else "fold"
    flag, number = ("--folds", config.folds) if kind == "fold" else ("--ensemble", config.ensemble)
    try:
        check_at_least(flag, number, 2)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if config.ckpt_path is not None:
        raise UsageError(f"{flag} trains from the beginning, or continues its own runs: leave out --ckpt_path")
    if config.trainer.fast_dev_run or config.trainer.enable_checkpointing is False:
        name = "fast_dev_run" if config.trainer.fast_dev_run else "enable_checkpointing false"
        raise UsageError(f"{flag} needs checkpoints: leave out --trainer.{name}")
    if kind == "member" and isinstance(config.seed_everything, bool):
        raise UsageError(f"{flag} needs a number: its members have the seeds --seed, --seed plus 1, and so on")
    if kind == "fold":
        _check_folds(config.data)
    raise SeriesRequested(kind, number, config)


def _check_folds(data: Any) -> None:
    """Raise UsageError if a data module has no folds, or an argument says otherwise what validates."""
    arguments = data.init_args.as_dict()
    if "fold" not in arguments:
        name = data.class_path.rpartition(".")[2]
        raise UsageError(f"--folds: {name} has no folds: give files, by --data SequenceFiles --data.train FILE")
    for name, reason in {
        "fold": "trains one fold after the other",
        "val": "takes validation sequences from the training file",
        "time_split": "divides the sequences at random",
    }.items():
        if arguments.get(name) is not None:
            raise UsageError(f"--folds {reason}: leave out --data.{name} {arguments[name]}")
