"""Parts of the Trainer that a command adds: callbacks, the logger, clipping."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback, ProgressBar
from lightning.pytorch.cli import SaveConfigCallback

from seqlight.callbacks.length_accuracy import AccuracyByLength
from seqlight.callbacks.predictions import PredictionWriter
from seqlight.callbacks.progress_bar import TimedProgressBar
from seqlight.callbacks.run_description import RunDescription
from seqlight.cli.flag_errors import UsageError
from seqlight.common.processes import global_rank
from seqlight.common.text import one_line, show
from seqlight.training.classifier import SequenceClassifier


class SaveConfiguration(SaveConfigCallback):
    """Save config.yaml in the folder of a training run. Other commands do not change it."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Save at the start of training, unless the run continues and has the file."""
        exists = trainer.log_dir and (Path(trainer.log_dir) / self.config_filename).exists()
        if stage == "fit" and trainer.loggers and not exists:
            self.config = self.config.clone()
            self.config.ckpt_path = None  # so that the file can be used for another run
            super().setup(trainer, pl_module, stage)


def clipping_of(model: SequenceClassifier, clip_value: float | None, *, named: bool) -> tuple[float | None, str]:
    """The Trainer's gradient_clip_val for a model, and a message about it (empty if there is nothing to report).

    Args:
        model: the model; with manual optimization, its own steps clip.
        clip_value: the value of `--trainer.gradient_clip_val`.
        named: whether the user gave that value; otherwise it is the default.

    Raises:
        UsageError: if the user gave a value that can't be used.
    """
    if model.automatic_optimization or not clip_value:
        return clip_value, ""
    own = "clipping is left to its training_step: `self.clip_gradients(optimizer, ...)`"
    name = type(model).__name__
    if named:
        raise UsageError(
            f"--trainer.gradient_clip_val {clip_value} can't be used: {name} uses manual optimization, so {own}",
            "give --trainer.gradient_clip_val null",
        )
    return None, f"{name} uses manual optimization, so {own}"


def choose_clipping(model: SequenceClassifier, configs: Sequence[Any], *, named: bool) -> None:
    """Leave clipping to a model with manual optimization, unless the user names a value: Lightning refuses both.

    Args:
        model: the model.
        configs: the arguments of `fit`, parsed and with built objects; config.yaml should be usable again.
        named: whether the user gave a value.

    Raises:
        UsageError: if it can't be used.
    """
    value, message = clipping_of(model, configs[-1].trainer.gradient_clip_val, named=named)
    for config in configs:
        config.trainer.gradient_clip_val = value
    if message and global_rank(configs[-1].trainer.num_nodes) == 0:
        show(one_line(message))


def callbacks_of(verb: str, config: Any, *, saves: bool, report_backend: Callable[..., None]) -> list[Callback]:
    """A command's callbacks, in addition to the user's.

    Args:
        verb: the command.
        config: its arguments, with the callbacks that flags describe.
        saves: whether it saves checkpoints.
        report_backend: called with the backend of the recurrent layers, as `RunDescription` says.
    """
    callbacks = [config.checkpoint, config.resume] if saves else []
    callbacks += [config.figures, RunDescription(report_backend)]
    if verb == "predict":
        callbacks.append(PredictionWriter(config.output))
    if verb == "test":
        callbacks.append(AccuracyByLength())
    if config.trainer.enable_progress_bar is not False and not config.quiet and not has_own_bar(config):
        callbacks.append(TimedProgressBar())
    return callbacks


def has_own_bar(config: Any) -> bool:
    """Whether the user's callbacks have a progress bar."""
    return any(isinstance(callback, ProgressBar) for callback in config.trainer.callbacks)
