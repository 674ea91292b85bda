"""The description of a run in TensorBoard: its configuration and hyperparameters."""

import math
import os
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from lightning.pytorch.trainer.states import TrainerFn
from torch.utils.tensorboard.summary import hparams

from seqlight.callbacks.classifier import classifier_of
from seqlight.callbacks.tensorboard_figures import tensorboard_loggers
from seqlight.common.description import flatten
from seqlight.common.errors import state_of_checkpoint
from seqlight.common.private_lightning import NotInEveryStep
from seqlight.common.private_torch import add_summary
from seqlight.recurrent.layer import RecurrentLayer

# In the HPARAMS tab these come first, by name. TensorBoard ticks the first five.
_FIRST = {
    *("data.task", "model.cell", "model.cell.hidden_size", "model.learning_rate", "model.num_layers"),
    *("parameters", "seed", "trainer.max_epochs"),
}
# The metrics in the HPARAMS tab, and the folders of their files in that of the run. The first five are ticked.
_METRICS = {
    **dict.fromkeys(("val/accuracy", "val/best_accuracy", "val/loss", "val/best_loss"), ""),
    **dict.fromkeys(("test/accuracy", "test/loss"), "test"),
}


def continues_in_place(trainer: pl.Trainer) -> bool:
    """Whether a run continues in its own folder, which already has the text and the hyperparameters."""
    checkpoint, folder = trainer.ckpt_path, trainer.log_dir
    return bool(checkpoint and folder) and Path(str(checkpoint)).parent == Path(str(folder)) / "checkpoints"


class RunDescription(NotInEveryStep, pl.Callback):
    """The configuration as text, and the HPARAMS tab with the run's arguments and results.

    For that tab it writes the best validation accuracy and loss so far, `val/best_accuracy` and `val/best_loss`. The
    tab shows the results of the run's first test too.

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
        self._best: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        """The backend, and the best results."""
        return {"backend": self.backend, "best": dict(self._best)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the backend and the best results of a checkpoint. Those of earlier versions have no best results.

        Raises:
            CheckpointError: if they are not the name of a backend, and numbers.
        """
        with state_of_checkpoint():
            self._best = {str(name): float(value) for name, value in state_dict.get("best", {}).items()}
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
        arguments["parameters"] = sum(parameter.numel() for parameter in model.parameters())
        if (seed := os.environ.get("PL_GLOBAL_SEED", "")).isdecimal():  # by which Lightning passes it on
            arguments["seed"] = int(seed)
        limits = {"trainer.max_epochs": trainer.max_epochs, "trainer.max_steps": trainer.max_steps}
        arguments |= {name: limit for name, limit in limits.items() if limit is not None and limit >= 0}
        *_, self._session_end = hparams({}, {})
        if continues:
            return
        self._best = {}  # not those of the run that saved the checkpoint
        for logger in tensorboard_loggers(trainer):
            logger.experiment.add_text("configuration", textwrap.indent(text, "    "), pl_module.global_step)
            # Not by logger.log_hyperparams, which would add a wrong first point to the curves.
            for summary in _run_summaries(arguments, "accuracy" if model.units is None else "rmse"):
                add_summary(logger.experiment, summary)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the best accuracy (for regression, RMSE) and loss so far."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        for name, better in (("accuracy", max), ("rmse", min), ("loss", min)):
            value = float(trainer.callback_metrics.get(f"val/{name}", math.nan))
            if not math.isnan(value):
                self._best[f"val/best_{name}"] = better(value, self._best.get(f"val/best_{name}", value))
        for logger in tensorboard_loggers(trainer):
            logger.log_metrics(self._best, step=pl_module.global_step)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Mark the run as finished in the HPARAMS tab."""
        if not trainer.is_global_zero:
            return
        for logger in tensorboard_loggers(trainer):
            add_summary(logger.experiment, self._session_end)


def _run_summaries(arguments: dict[str, bool | int | float | str], score: str) -> Iterable[Any]:
    """The records of a run for the HPARAMS tab.

    TensorBoard takes the columns from the record of the first run that it finds. Without such records it would find
    columns in all runs, but then it ticks the curves of training, and, of a single run's arguments, the first by name.
    """
    from tensorboard.plugins.hparams.api_pb2 import MetricInfo, MetricName  # type: ignore[import-untyped]
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData  # type: ignore[import-untyped]

    columns, session_start, _ = hparams(arguments, {})
    plugin = columns.value[0].metadata.plugin_data
    data = HParamsPluginData.FromString(plugin.content)
    for info in data.experiment.hparam_infos:
        info.differs = info.name in _FIRST  # these columns come first
    for name, folder in _METRICS.items():
        tag = name.replace("accuracy", score)
        # Only the names matter here: TensorBoard shows the last points of their curves.
        data.experiment.metric_infos.append(MetricInfo(name=MetricName(tag=tag, group=folder), display_name=tag))
    plugin.content = data.SerializeToString()
    return columns, session_start


def _prepare(layer: RecurrentLayer) -> tuple[str, str]:
    weight = next(layer.cell.parameters(), torch.empty(0))
    return layer.prepare(device=weight.device, dtype=weight.dtype)
