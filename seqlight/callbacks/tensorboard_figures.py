"""Figures for TensorBoard. Its curves are written by `training/curves.py` and `callbacks/logger.py`."""

import math
import warnings
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from torchmetrics import ROC, ConfusionMatrix, Metric

from seqlight.callbacks.classifier import classifier_of, has_results
from seqlight.common.batch import Batch
from seqlight.common.private_lightning import NotInEveryStep
from seqlight.common.validation import check_at_least
from seqlight.figures.cell_figure import cell_figure
from seqlight.figures.memory_curve import memory_curve
from seqlight.figures.metric_figures import confusion_figure, memory_figure, roc_figure
from seqlight.training.metrics import torchmetrics_task
from seqlight.training.trainer_data import class_names

_MAX_ROC_CURVES = 20  # more can't be distinguished, and take minutes to draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def tensorboard_loggers(trainer: pl.Trainer) -> list[TensorBoardLogger]:
    """The Trainer's TensorBoard loggers."""
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def add_figures(trainer: pl.Trainer, group: str, figures: dict[str, "Figure"], step: int) -> None:
    """Write figures to TensorBoard, as `<group>/<name>`."""
    with warnings.catch_warnings():
        # Class names can be in any script; characters that the font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        for logger in tensorboard_loggers(trainer):
            for name, figure in figures.items():
                # Group names sort after train/, val/ and test/, so that the curves come first.
                logger.experiment.add_figure(f"{group}/{name}", figure, step)


class TensorBoardFigures(NotInEveryStep, pl.Callback):
    """Validation figures: confusion matrix, ROC curves, and how far back the model's memory reaches.

    Args:
        every_n_epochs: number of epochs between two sets of figures; 0 draws none. By default they are drawn at the
            first validation of each tenth of the run; if the run has no end, at validations 1, 2, 4, 8, ...
        inside_cell: whether to draw `cell_figure` too, for the first layer and a few sequences of the first batch.
    """

    def __init__(self, every_n_epochs: int | None = None, inside_cell: bool = False) -> None:
        if every_n_epochs is not None:
            check_at_least("every_n_epochs", every_n_epochs, 0)
        self.every_n_epochs = every_n_epochs
        self.inside_cell = inside_cell
        self._validations, self._tenths = 0, -1
        self._metrics: dict[str, Metric] = {}
        self._first_batch: Batch | None = None

    def state_dict(self) -> dict[str, Any]:
        """The position of the last figures."""
        return {"validations": self._validations, "tenths": self._tenths}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the position of the last figures."""
        self._validations, self._tenths = state_dict["validations"], state_dict["tenths"]

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start to collect results, if figures are due in this epoch."""
        model = classifier_of(self, pl_module)
        self._metrics, self._first_batch = {}, None
        if self._are_due(trainer):
            task = torchmetrics_task(model.target, model.head.out_features)
            self._metrics = {
                "confusion_matrix": ConfusionMatrix(**task).to(model.device),
            }
            # A fixed number of thresholds limits memory and time.
            if model.head.out_features <= _MAX_ROC_CURVES:
                self._metrics["roc"] = ROC(**task, thresholds=200).to(model.device)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect the results of a batch."""
        if not has_results(outputs):
            self._metrics = {}
            return
        if self._metrics and self._first_batch is None:
            self._first_batch = batch
        for metric in self._metrics.values():
            metric.update(outputs["probabilities"], outputs["targets"].long())

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the figures."""
        if not self._metrics:
            return
        model = classifier_of(self, pl_module)
        # All processes compute, only the first one draws.
        confusion = self._metrics["confusion_matrix"].compute()
        roc = self._metrics.get("roc")
        if roc is not None:
            roc.compute()
        if not trainer.is_global_zero or self._first_batch is None:
            return
        names = class_names(trainer, model.target, model.head.out_features)
        figures = {
            "confusion_matrix": confusion_figure(confusion, names),
            "memory": memory_figure({model.recurrent.cell_name: memory_curve(model, self._first_batch)}),
        }
        if roc is not None:
            figures["roc"] = roc_figure(roc, names)
        if self.inside_cell:
            figures["inside_cell"] = cell_figure(model, self._first_batch)
        add_figures(trainer, "val_figures", figures, model.global_step)

    def _are_due(self, trainer: pl.Trainer) -> bool:
        if trainer.sanity_checking or not tensorboard_loggers(trainer) or self.every_n_epochs == 0:
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
        # In manual optimization, several optimizers can step in a batch.
        automatic = trainer.lightning_module.automatic_optimization
        num_done = trainer.global_step if automatic else trainer.fit_loop.epoch_loop.total_batch_idx + 1
        tenths = int(10 * num_done / num_steps)
        if tenths == self._tenths:
            return False
        self._tenths = tenths
        return True
