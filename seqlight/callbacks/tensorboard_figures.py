"""Figures for TensorBoard. Its curves are written by `training/curves.py` and `callbacks/logger.py`."""

import os
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torchmetrics import ROC, CatMetric, ConfusionMatrix, Metric

from seqlight.callbacks.classifier import classifier_of, has_results
from seqlight.callbacks.logger import CurvesLogger
from seqlight.common.batch import Batch
from seqlight.common.errors import state_of_checkpoint
from seqlight.common.private_lightning import NotInEveryStep, completed_epochs
from seqlight.common.private_torch import add_summary, tree_leaves
from seqlight.common.text import encodable, one_line
from seqlight.common.validation import check_at_least
from seqlight.data.loader import SequenceLoader
from seqlight.data.sequences import Sequences
from seqlight.figures.canvas import to_png
from seqlight.figures.cell_figure import cell_figure
from seqlight.figures.data_figure import data_figure
from seqlight.figures.data_names import names_of
from seqlight.figures.memory_curve import measure_memory
from seqlight.figures.metric_figures import confusion_figure, memory_figure, roc_figure
from seqlight.figures.prediction_figure import prediction_figure
from seqlight.figures.reliability import reliability_figure
from seqlight.training.calibration_error import CalibrationBins
from seqlight.training.classifier import SequenceClassifier
from seqlight.training.metrics import absent_classes_accepted, torchmetrics_task
from seqlight.training.trainer_data import class_names, datamodule_of

_MAX_ROC_CURVES = 20  # more can't be distinguished, and take minutes to draw
_LONG_RUN = 1000  # optimizer steps; a set of figures takes as long as a hundred of a small model

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def tensorboard_loggers(trainer: pl.Trainer) -> list[TensorBoardLogger]:
    """The Trainer's TensorBoard loggers."""
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def trained_steps(trainer: pl.Trainer) -> int:
    """The steps that the model has been trained for, in this run or in that of its checkpoint."""
    known = [logger.model_step for logger in trainer.loggers if isinstance(logger, CurvesLogger)]
    return (known[0] if known else 0) or trainer.global_step


def run_and_epoch(trainer: pl.Trainer) -> str:
    """The name of the run, as TensorBoard shows it, and the epoch from 1; no epoch if it is not known."""
    logger = tensorboard_loggers(trainer)[0]
    name = one_line(encodable(os.path.relpath(logger.log_dir, logger.save_dir)))
    epoch = trainer.current_epoch  # after training, the number of epochs
    if trainer.state.fn == TrainerFn.FITTING:
        epoch = trainer.fit_loop.epoch_progress.current.ready  # those that have begun
    elif trainer.ckpt_path:
        epoch = getattr(logger, "model_epoch", 0)
    return f"{name}, epoch {epoch}" if epoch else name


def add_figures(trainer: pl.Trainer, group: str, figures: dict[str, "Figure"], step: int) -> None:
    """Write figures to TensorBoard, as `<group>/<name>`."""
    from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

    # Group names sort after train/, val/ and test/, so that the curves come first.
    images = {
        name: Summary.Image(encoded_image_string=to_png(figure), colorspace=4) for name, figure in figures.items()
    }
    values = [Summary.Value(tag=f"{group}/{name}", image=image) for name, image in images.items()]
    for logger in tensorboard_loggers(trainer):
        # Not by `add_figure`, which turns the picture into an array and back, with pyplot.
        add_summary(logger.experiment, Summary(value=values), step)


def _splits(trainer: pl.Trainer) -> dict[str, Batch | Sequences]:
    """The sequences for training and validation, as far as seqlight's loaders hold them."""
    loaders = {"train": tree_leaves(trainer.train_dataloader), "val": tree_leaves(trainer.val_dataloaders)}
    return {
        split: held[0].data for split, held in loaders.items() if len(held) == 1 and isinstance(held[0], SequenceLoader)
    }


class SplitResults:
    """The results of a split from which figures are drawn, over all processes.

    Attributes:
        first_batch: the first batch of the split; None before it.
        longest_batch: the batch with the longest padded sequences.
        confusion: the confusion matrix.
        bins: the sums of `CalibrationBins`.
        predicted, true: for regression, the numbers (N, L) in original units.
        roc: false and true positive rates, from torchmetrics' ROC; None if there are too many classes to draw.
        step: the number of steps of the model.
        where: the run and the epoch.
    """

    def __init__(self, model: SequenceClassifier) -> None:
        self.step, self.where = trained_steps(model.trainer), run_and_epoch(model.trainer)
        self.roc: Any = None
        self.first_batch: Batch | None = None
        self.longest_batch: Batch | None = None
        self._outputs: list[tuple[Tensor, Tensor]] | None = []
        self._has_logits = False
        self._calibration = model.calibration
        self._metrics: tuple[Metric, Metric] | None = None
        self._roc: Metric | None = None
        self._numbers: tuple[Metric, Metric] | None = None
        if model.target == "regression":
            self._numbers = CatMetric().to(model.device), CatMetric().to(model.device)
            return
        task = torchmetrics_task(model.target, model.head.out_features)
        self._metrics = ConfusionMatrix(**task).to(model.device), CalibrationBins(model.target).to(model.device)
        if model.head.out_features <= _MAX_ROC_CURVES:
            self._roc = ROC(**task).to(model.device)

    def add(self, batch: Batch, outputs: Any) -> None:
        """Add a batch. There are no results if a subclass of the classifier returns none."""
        if not has_results(outputs):
            self._outputs = None
        elif self._outputs is not None:
            self.first_batch = batch if self.first_batch is None else self.first_batch
            if self.longest_batch is None or batch.inputs.shape[1] > self.longest_batch.inputs.shape[1]:
                self.longest_batch = batch
            # While the calibration is learned, there are logits, and it is known at the end.
            self._has_logits = "logits" in outputs
            results = outputs["logits" if self._has_logits else "probabilities"]
            self._outputs.append((results, outputs["targets"]))

    def compute(self) -> bool:
        """Compute the results once, in all processes; returns whether there are any."""
        if self._outputs:
            # In one call: for a small model, one in each batch takes longer than the model.
            results, targets = (torch.cat(parts) for parts in zip(*self._outputs, strict=True))
            self._outputs = []
            if self._numbers is not None:
                for metric, values in zip(self._numbers, (results, targets), strict=True):
                    metric.update(values.float().flatten().to(metric.device))
                self.predicted, self.true = (each.compute().reshape(-1, targets.shape[1]) for each in self._numbers)
                return self.first_batch is not None
            assert self._metrics is not None
            confusion, bins = self._metrics
            targets = targets.long()
            probabilities = self._calibration.probabilities(results) if self._has_logits else results
            confusion.update(self._calibration.classes(probabilities), targets)
            self.confusion = confusion.compute()
            bins.update(probabilities, targets)
            self.bins = bins.compute()
            if self._roc is not None:
                self._roc.update(probabilities, targets)
                with absent_classes_accepted():  # the figure says which they are
                    self.roc = self._roc.compute()
                self._roc.reset()  # it holds all results
        return self.first_batch is not None and self._outputs is not None


class TensorBoardFigures(NotInEveryStep, pl.Callback):
    """Figures of validations: confusion matrix, ROC curves, reliability, and how far back the model's memory reaches.

    A figure of the data is drawn before training: some sequences of each class, lengths and classes. A test has
    the first three.

    Args:
        every_n_epochs: number of epochs between two sets of figures, with another set after the last validation; 0
            draws none. By default there is one set, after the last validation; runs of more than 1000 steps also have
            one after the first validation from step 1000, 2000, 4000, 8000, ... on.
        inside_cell: whether to draw `cell_figure` too, for the first layer and a few sequences of the first batch.
    """

    def __init__(self, every_n_epochs: int | None = None, inside_cell: bool = False) -> None:
        if every_n_epochs is not None:
            check_at_least("every_n_epochs", every_n_epochs, 0)
        self.every_n_epochs = every_n_epochs
        self.inside_cell = inside_cell
        self._doublings = 0
        self._results: SplitResults | None = None

    def state_dict(self) -> dict[str, Any]:
        """The position of the last figures."""
        return {"doublings": self._doublings}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the position of the last figures; 0 for a checkpoint of an earlier version."""
        self._doublings = state_dict.get("doublings", 0)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let a test or validation be drawn at the steps that the model has been trained for.

        Raises:
            CheckpointError: if they are not a number.
        """
        for logger in trainer.loggers:
            if trainer.state.fn != TrainerFn.FITTING and isinstance(logger, CurvesLogger):
                with state_of_checkpoint():
                    logger.model_step = int(checkpoint["global_step"])
                    logger.model_epoch = completed_epochs(checkpoint)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the figures if they are due. The model has learned its temperature and thresholds by now."""
        if self._results is not None and not self._results.compute():
            self._results = None
        elif self._results is not None and self._are_due(trainer):
            self._draw(trainer, pl_module)
        self._forget_steps(trainer)

    def _forget_steps(self, trainer: pl.Trainer) -> None:
        """Forget the steps of a loaded checkpoint: the Trainer may go on with other weights."""
        for logger in trainer.loggers:
            if trainer.state.fn != TrainerFn.FITTING and isinstance(logger, CurvesLogger):
                logger.model_step = logger.model_epoch = 0

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the steps of a loaded checkpoint."""
        self._forget_steps(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the data, unless training continues; forget an earlier training, which may have ended by an error."""
        self._results = None
        draws = self.every_n_epochs != 0 and trainer.global_step == 0 and tensorboard_loggers(trainer)
        data, splits = datamodule_of(trainer), _splits(trainer)
        if draws and trainer.is_global_zero and data is not None and "train" in splits:
            figure = data_figure(splits, names_of(data), run_and_epoch(trainer))
            add_figures(trainer, "val_figures", {"data": figure}, step=0)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start to collect results."""
        model = classifier_of(self, pl_module)
        draws = self.every_n_epochs != 0 and not trainer.sanity_checking and tensorboard_loggers(trainer)
        self._results = SplitResults(model) if draws else None

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start to collect results."""
        self.on_validation_epoch_start(trainer, pl_module)

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
        if self._results is not None:
            self._results.add(batch, outputs)

    def on_test_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any, **kwargs: Any) -> None:
        """Collect the results of a batch."""
        self.on_validation_batch_end(trainer, pl_module, *args, **kwargs)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw confusion matrix, ROC curves and reliability."""
        results, self._results = self._results, None
        if results is not None and results.compute() and trainer.is_global_zero:
            add_figures(trainer, "test_figures", self._metric_figures(trainer, pl_module, results), results.step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the figures of the last validation, if it was not known to be the last."""
        if self._results is not None:
            self._draw(trainer, pl_module)

    def _draw(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        results, self._results = self._results, None
        # All processes compute, only the first one draws.
        if not trainer.is_global_zero or results is None:
            return
        if results.first_batch is None or results.longest_batch is None:
            return
        model = classifier_of(self, pl_module)
        add_figures(trainer, "val_figures", self._metric_figures(trainer, pl_module, results), results.step)
        # These show the present weights, which can be later than those of the last validation.
        where = run_and_epoch(trainer)
        memory = measure_memory(model, datamodule_of(trainer), results.longest_batch)
        figures = {"memory": memory_figure({model.recurrent.cell_name: memory.quartiles}, where, memory.sequences)}
        if self.inside_cell:
            figure = figures["inside_cell"] = cell_figure(model, results.first_batch)
            figure.suptitle(f"{figure.get_suptitle()}\n{where}", fontsize=10, parse_math=False)
        add_figures(trainer, "val_figures", figures, trained_steps(trainer))

    def _metric_figures(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, results: SplitResults
    ) -> dict[str, "Figure"]:
        model = classifier_of(self, pl_module)
        names = class_names(trainer, model.target, model.head.out_features)
        if model.target == "regression":
            return {"predicted": prediction_figure(results.predicted, results.true, names, results.where)}
        figures = {"confusion_matrix": confusion_figure(results.confusion, names, results.where, model.label_per)}
        if results.roc is not None:
            figures["roc"] = roc_figure(results.roc, names, results.where)
        positive_class = names[1] if model.target == "binary" else ""
        figures["reliability"] = reliability_figure(results.bins, model.target, positive_class, results.where)
        return figures

    def _are_due(self, trainer: pl.Trainer) -> bool:
        if trainer.state.fn != TrainerFn.FITTING:
            return True
        # In manual optimization, several optimizers can step in a batch.
        automatic = trainer.lightning_module.automatic_optimization
        num_done = trainer.global_step if automatic else trainer.fit_loop.epoch_loop.total_batch_idx + 1
        is_last = 0 < trainer.estimated_stepping_batches <= num_done  # infinite or -1 if the run has no end
        if self.every_n_epochs is not None:
            return is_last or (trainer.current_epoch + 1) % self.every_n_epochs == 0
        before, self._doublings = self._doublings, (num_done // _LONG_RUN).bit_length()
        return is_last or self._doublings > before
