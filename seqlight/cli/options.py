"""Flags of fit, validate, test and predict besides those of Lightning, and their defaults."""

from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser
from lightning.pytorch.cli import LightningArgumentParser

from seqlight.callbacks.best_checkpoint import BestCheckpoint
from seqlight.callbacks.tensorboard_figures import TensorBoardFigures
from seqlight.checkpoints.resume import ResumeCheckpoint
from seqlight.cli.flag_names import FROM_DATA
from seqlight.common.text import visible

DEFAULT_DATA = {"class_path": "seqlight.SyntheticSequences", "init_args": {"task": {"class_path": "seqlight.SumSign"}}}
TRAINER_DEFAULTS: dict[str, Any] = {
    "max_epochs": 10,
    "gradient_clip_val": 1.0,
    "log_every_n_steps": 10,
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
    "default_root_dir": "runs",
}
CHECKPOINT_DEFAULTS: dict[str, Any] = {"filename": "best", "monitor": "val/loss", "mode": "min"}


class ShownParser(LightningArgumentParser):
    """A parser whose texts can contain defaults from a checkpoint: control characters are shown as escapes."""

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        """The help text."""
        return visible(super().format_help(*args, **kwargs))

    def dump(self, *args: Any, **kwargs: Any) -> str:
        """The configuration as YAML, which has escapes for all characters."""
        text = super().dump(*args, **kwargs)
        return text if text == visible(text) else yaml.safe_dump(yaml.safe_load(text), sort_keys=False)


def add_options(parser: ArgumentParser) -> None:
    """Add seqlight's own flags, and defaults for all required arguments."""
    parser.add_argument(
        "--device", type=str, default="auto", help="device to run on: auto, cpu, gpu, cuda, cuda:1 or mps"
    )
    parser.add_argument(
        "--num_threads",
        metavar="INT",
        type=int | None,
        default=None,
        help="threads of torch on the CPU; by default chosen by the size of the model, see docs/cli.md",
    )
    parser.add_argument(
        "--name", type=str | None, default=None, help="name of the run's folder in runs/; default: TASK-CELL"
    )
    parser.add_argument(
        "--folds", metavar="INT", type=int | None, default=None, help="train this many folds, for cross-validation"
    )
    parser.add_argument(
        "--ensemble", metavar="INT", type=int | None, default=None, help="train this many models, and join them"
    )
    parser.add_argument(
        "--import",
        metavar="MODULE",
        type=str | None,
        default=None,
        help="your own module to import; its classes then have short names, and checkpoints can use them",
    )
    parser.add_argument(
        "--output", metavar="FILE", type=str, default="predictions.csv", help="the file that predict writes"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="start a new run, even if one of this configuration is unfinished"
    )
    parser.add_argument(
        "--quiet",
        action="store_true",
        help="print only results, warnings and errors: no progress, and no report on the data",
    )
    # Not by add_lightning_class_args: with it, each command would save checkpoints.
    callbacks = {"checkpoint": BestCheckpoint, "resume": ResumeCheckpoint, "figures": TensorBoardFigures}
    for name, callback in callbacks.items():
        parser.add_class_arguments(callback, name, fail_untyped=False, sub_configs=True)
    parser.set_defaults(
        {
            "model": {"class_path": "seqlight.SequenceClassifier"},
            "data": DEFAULT_DATA,
            **{f"checkpoint.{name}": value for name, value in CHECKPOINT_DEFAULTS.items()},
        }
    )
    for argument in FROM_DATA:
        parser.link_arguments(f"data.{argument}", f"model.init_args.{argument}", apply_on="instantiate")


def accepts(parser: ArgumentParser, arguments: list[str]) -> bool:
    """Whether a parser accepts arguments."""
    try:
        parser.parse_args(arguments)
    except ArgumentError:
        return False
    return True
