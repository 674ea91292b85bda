"""Figures for TensorBoard. Its curves are written by `training/curves.py` and `callbacks/logger.py`."""

import os
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn

from seqlight.callbacks.classifier import classifier_of
from seqlight.callbacks.logger import CurvesLogger
from seqlight.callbacks.split_results import SplitResults
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
from seqlight.training.trainer_data import class_names, datamodule_of

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
        self._results = SplitResults(model, trained_steps(trainer), run_and_epoch(trainer)) if draws else None

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
