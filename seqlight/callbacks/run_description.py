"""The description of a run in TensorBoard: its configuration and hyperparameters."""

from pathlib import Path

import lightning.pytorch as pl
import yaml
from torch.utils.tensorboard.summary import hparams

from seqlight.callbacks.classifier import classifier_of
from seqlight.callbacks.tensorboard_figures import tensorboard_loggers
from seqlight.common.description import flatten
from seqlight.common.private_api import NotInEveryStep


def continues_in_place(trainer: pl.Trainer) -> bool:
    """Whether a run continues in its own folder, which already has the text and the hyperparameters."""
    checkpoint, folder = trainer.ckpt_path, trainer.log_dir
    return bool(checkpoint and folder) and Path(str(checkpoint)).parent == Path(str(folder)) / "checkpoints"


class RunDescription(NotInEveryStep, pl.Callback):
    """The configuration as text, and the HPARAMS tab with the run's arguments and its validation accuracy."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write both at the start, so that a killed run has them too."""
        model = classifier_of(self, pl_module)
        continues = continues_in_place(trainer)  # called in all processes: `log_dir` is a collective operation
        if not trainer.is_global_zero:
            return
        description = model.describe()
        if description["data"]:  # runs are not compared by vocabulary
            description["data"]["init_args"].pop("encoding", None)
        text = yaml.safe_dump({key: description[key] for key in ("model", "data")}, sort_keys=False)
        arguments = {**flatten("model", description["model"]), **flatten("data", description["data"])}
        *_, self._session_end = hparams({}, {})
        if continues:
            return
        for logger in tensorboard_loggers(trainer):
            logger.experiment.add_text("configuration", f"```yaml\n{text}```", pl_module.global_step)
            # Not by logger.log_hyperparams, which would add a wrong first point to the curves. Only the metrics' names
            # matter here: TensorBoard shows the last points of their curves.
            experiment, session_start, _ = hparams(arguments, {"val/accuracy": 0, "val/loss": 0})
            logger.experiment.file_writer.add_summary(experiment)
            logger.experiment.file_writer.add_summary(session_start)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Mark the run as finished in the HPARAMS tab."""
        if not trainer.is_global_zero:
            return
        for logger in tensorboard_loggers(trainer):
            logger.experiment.file_writer.add_summary(self._session_end)
