"""What TensorBoard shows besides the curves."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
import yaml
from jaxtyping import Float, Int64
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.utils.tensorboard.summary import hparams
from torchmetrics import ROC, ConfusionMatrix, Metric
from torchmetrics.utilities.plot import plot_confusion_matrix

from seqlight.classifier import SequenceClassifier
from seqlight.data.batch import Batch
from seqlight.inside.figure import cell_figure
from seqlight.lean import NotInEveryStep
from seqlight.memory import memory_curve
from seqlight.metrics import torchmetrics_task
from seqlight.plain import flatten
from seqlight.validation import check_at_least

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _tensorboard_loggers(trainer: pl.Trainer) -> list[TensorBoardLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


class RunDescription(NotInEveryStep):
    """The configuration as text, and the HPARAMS tab with the run's arguments and its validation accuracy."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write both, so that a run that is killed has them too."""
        assert isinstance(pl_module, SequenceClassifier)
        if not trainer.is_global_zero:
            return
        description = pl_module.describe()
        if description["data"]:  # a vocabulary is no argument to compare runs by
            description["data"]["init_args"].pop("encoding", None)
        text = yaml.safe_dump({key: description[key] for key in ("model", "data")}, sort_keys=False)
        arguments = {**flatten("model", description["model"]), **flatten("data", description["data"])}
        for logger in _tensorboard_loggers(trainer):
            logger.experiment.add_text("configuration", f"```yaml\n{text}```", pl_module.global_step)
            # Not by logger.log_hyperparams, which would add a false first point to the curves. The metrics'
            # values are those of the curves' last points; here they need only their names.
            experiment, session_start, self._session_end = hparams(arguments, {"val/accuracy": 0, "val/loss": 0})
            logger.experiment.file_writer.add_summary(experiment)
            logger.experiment.file_writer.add_summary(session_start)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell the HPARAMS tab that the run is done."""
        if not trainer.is_global_zero:
            return
        for logger in _tensorboard_loggers(trainer):
            logger.experiment.file_writer.add_summary(self._session_end)


class TensorBoardFigures(NotInEveryStep):
    """Figures of the validation: confusion matrix, ROC curves, and how far back the model's memory reaches.

    Args:
        every_n_epochs: epochs from one set of figures to the next; 0 draws none. By default they are drawn at the
            first validation, and at the first of each further tenth of the run; where the run has no end, at
            validations 1, 2, 4, 8, ...
        inside_cell: whether to draw `cell_figure` too, of the first layer and a few sequences of the first batch.
    """

    def __init__(self, every_n_epochs: int | None = None, inside_cell: bool = False) -> None:
        if every_n_epochs is not None:
            check_at_least("every_n_epochs", every_n_epochs, 0)
        self.every_n_epochs = every_n_epochs
        self.inside_cell = inside_cell
        self._validations, self._tenths = 0, -1
        self._metrics: dict[str, Metric] = {}
        self._first_batch: Batch | None = None

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to collect, where this epoch's figures are wanted."""
        assert isinstance(pl_module, SequenceClassifier)
        self._metrics = {}
        if self._wanted(trainer):
            task = torchmetrics_task(pl_module.target, pl_module.head.out_features)
            self._metrics = {
                "confusion_matrix": ConfusionMatrix(**task).to(pl_module.device),
                # A fixed set of thresholds bounds memory and time.
                "roc": ROC(**task, thresholds=200).to(pl_module.device),
            }

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect."""
        if self._metrics and batch_idx == 0:
            self._first_batch = batch
        for metric in self._metrics.values():
            metric.update(outputs["probabilities"], outputs["targets"].long())

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw."""
        if not self._metrics:
            return
        assert isinstance(pl_module, SequenceClassifier)
        assert self._first_batch is not None
        # All ranks take part in computing, only rank 0 draws.
        confusion = self._metrics["confusion_matrix"].compute()
        roc = self._metrics["roc"]
        roc.compute()
        if not trainer.is_global_zero:
            return
        figures = {
            "confusion_matrix": confusion_figure(confusion),
            "roc": roc_figure(roc),
            "memory": memory_figure({pl_module.recurrent.cell_name: memory_curve(pl_module, self._first_batch)}),
        }
        if self.inside_cell:
            figures["inside_cell"] = cell_figure(pl_module, self._first_batch)
        for logger in _tensorboard_loggers(trainer):
            for name, figure in figures.items():
                # Group names sort after train/ and val/, so the curves stand first.
                logger.experiment.add_figure(f"val_figures/{name}", figure, pl_module.global_step)

    def _wanted(self, trainer: pl.Trainer) -> bool:
        if trainer.sanity_checking or not _tensorboard_loggers(trainer) or self.every_n_epochs == 0:
            return False
        if trainer.state.fn != TrainerFn.FITTING:
            return True
        if self.every_n_epochs is not None:
            epoch = trainer.current_epoch + 1
            return epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs
        self._validations += 1
        num_steps = trainer.estimated_stepping_batches
        if math.isinf(num_steps):
            return self._validations.bit_count() == 1
        tenths = int(10 * trainer.global_step / num_steps)
        if tenths == self._tenths:
            return False
        self._tenths = tenths
        return True


def _new_figure(width: float, height: float, columns: int = 1) -> tuple["Figure", list[Any]]:
    # Not pyplot, which keeps figures and may open a display. Imported here: it takes half a second.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=80, layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def confusion_figure(confusion: Int64[Tensor, "*labels true predicted"]) -> "Figure":
    """Counts of true against predicted class: (C, C), or (L, 2, 2) for L labels, of which the first 8 are drawn."""
    matrices = confusion[:8] if confusion.ndim == 3 else confusion[None]
    figure, axes = _new_figure(4 * len(matrices), 4, len(matrices))
    for axis, matrix in zip(axes, matrices, strict=True):
        plot_confusion_matrix(matrix, ax=axis, add_text=len(matrix) <= 12)
    return figure


def roc_figure(roc: Metric) -> "Figure":
    """The ROC curves of a torchmetrics metric, with the areas under them."""
    figure, [axis] = _new_figure(4, 4)
    roc.plot(ax=axis, score=True)
    axis.plot((0, 1), (0, 1), color="grey", linewidth=0.8, linestyle="--")
    axis.set_aspect("equal")
    return figure


def memory_figure(curves: Mapping[str, Float[Tensor, " time"]]) -> "Figure":
    """Curves of `memory_curve` by name, on a logarithmic scale."""
    figure, [axis] = _new_figure(5, 4)
    for name, curve in curves.items():
        # What underflows to 0 has no place on a logarithmic axis: a gap, not a crash.
        axis.semilogy(curve.float().masked_fill(curve == 0, torch.nan).cpu(), label=name, marker=".", linewidth=1)
    # Not less than two decades: a close look at a flat curve shows waves that mean nothing.
    low, high = axis.get_ylim()
    axis.set_ylim(min(low, high / 100), high)
    axis.set_xlabel("time steps before the end")
    axis.set_ylabel("norm of d loss / d input")
    axis.invert_xaxis()
    axis.grid(alpha=0.3)
    axis.legend()
    return figure
