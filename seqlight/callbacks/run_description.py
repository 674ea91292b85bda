"""The description of a run in TensorBoard: its configuration and hyperparameters."""

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from torch.utils.tensorboard.summary import hparams

from seqlight.callbacks.classifier import classifier_of
from seqlight.callbacks.tensorboard_figures import tensorboard_loggers
from seqlight.common.description import flatten
from seqlight.common.errors import state_of_checkpoint
from seqlight.common.private_lightning import NotInEveryStep
from seqlight.recurrent.layer import RecurrentLayer


def continues_in_place(trainer: pl.Trainer) -> bool:
    """Whether a run continues in its own folder, which already has the text and the hyperparameters."""
    checkpoint, folder = trainer.ckpt_path, trainer.log_dir
    return bool(checkpoint and folder) and Path(str(checkpoint)).parent == Path(str(folder)) / "checkpoints"


class RunDescription(NotInEveryStep, pl.Callback):
    """The configuration as text, and the HPARAMS tab with the run's arguments and its validation accuracy.

    Before training it builds the kernels, and a checkpoint records the backend of the recurrent layers.

    Args:
        report: a function that is called before training with the backend, the reason if it is not a kernel, and the
            backend of the checkpoint from which the run continues (None if that is not known).

    Attributes:
        backend: the backend of the recurrent layers, as "kernel" or "torch, eager"; empty before training.
    """

    def __init__(self, report: Callable[[str, str, str | None], None] | None = None) -> None:
        self.backend = ""
        self._report = report
        self._earlier: str | None = None

    def state_dict(self) -> dict[str, Any]:
        """The backend."""
        return {"backend": self.backend}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the backend of a checkpoint.

        Raises:
            CheckpointError: if it is not the name of one.
        """
        with state_of_checkpoint():
            self._earlier = state_dict["backend"] or None  # empty if it was saved before training
            if not set(state_dict["backend"].split(", ")) <= {"kernel", "torch", "eager", ""}:
                raise ValueError(f"RunDescription's backend must be kernel, torch or eager, got {self._earlier!r}")

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Build the kernels, and write the description at the start, so that a killed run has it too."""
        model = classifier_of(self, pl_module)
        with trainer.precision_plugin.train_step_context():
            chosen = [_prepare(module) for module in model.modules() if isinstance(module, RecurrentLayer)]
        self.backend = ", ".join(dict.fromkeys(backend for backend, _ in chosen))
        reason = "; ".join(dict.fromkeys(reason for _, reason in chosen if reason))
        if self._report is not None and trainer.is_global_zero:
            self._report(self.backend, reason, self._earlier)
        continues = continues_in_place(trainer)  # called in all processes: `log_dir` is a collective operation
        if not trainer.is_global_zero:
            return
        description = model.describe()
        if description["data"]:  # runs are not compared by vocabulary
            description["data"]["init_args"].pop("encoding", None)
        described = {key: description[key] for key in ("model", "data")} | {"backend": self.backend}
        text = yaml.safe_dump(described, sort_keys=False)
        arguments = {**flatten("model", description["model"]), **flatten("data", description["data"])}
        *_, self._session_end = hparams({}, {})
        if continues:
            return
        for logger in tensorboard_loggers(trainer):
            logger.experiment.add_text("configuration", textwrap.indent(text, "    "), pl_module.global_step)
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


def _prepare(layer: RecurrentLayer) -> tuple[str, str]:
    weight = next(layer.cell.parameters(), torch.empty(0))
    return layer.prepare(device=weight.device, dtype=weight.dtype)
