"""What TensorBoard shows besides the curves."""

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import yaml
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch.utils.tensorboard.summary import hparams
from torchmetrics import ROC, ConfusionMatrix, Metric

from seqlight.common.batch import Batch
from seqlight.common.description import flatten
from seqlight.common.private_api import NotInEveryStep
from seqlight.common.validation import check_at_least
from seqlight.figures.cell_figure import cell_figure
from seqlight.figures.memory import memory_curve
from seqlight.figures.metrics import confusion_figure, memory_figure, roc_figure
from seqlight.training.classifier import SequenceClassifier
from seqlight.training.metrics import torchmetrics_task
from seqlight.training.trainer_data import class_names

_MOST_ROC_CURVES = 20  # more can't be told apart, and take minutes to draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def tensorboard_loggers(trainer: pl.Trainer) -> list[TensorBoardLogger]:
    """The Trainer's TensorBoard loggers."""
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def add_figures(trainer: pl.Trainer, group: str, figures: dict[str, "Figure"], step: int) -> None:
    """Write figures to TensorBoard, as `<group>/<name>`."""
    with warnings.catch_warnings():
        # Names of classes may be in any script; what the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        for logger in tensorboard_loggers(trainer):
            for name, figure in figures.items():
                # Group names sort after train/, val/ and test/, so the curves stand first.
                logger.experiment.add_figure(f"{group}/{name}", figure, step)


def goes_on_in_place(trainer: pl.Trainer) -> bool:
    """Whether a run goes on in its own folder, where all that stands at its start is written already."""
    checkpoint, folder = trainer.ckpt_path, trainer.log_dir
    return bool(checkpoint and folder) and Path(str(checkpoint)).parent == Path(str(folder)) / "checkpoints"


class RunDescription(NotInEveryStep, pl.Callback):
    """The configuration as text, and the HPARAMS tab with the run's arguments and its validation accuracy."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write both, so that a run that is killed has them too."""
        assert isinstance(pl_module, SequenceClassifier)
        goes_on = goes_on_in_place(trainer)  # which all processes must ask for, or none
        if not trainer.is_global_zero:
            return
        description = pl_module.describe()
        if description["data"]:  # a vocabulary is no argument to compare runs by
            description["data"]["init_args"].pop("encoding", None)
        text = yaml.safe_dump({key: description[key] for key in ("model", "data")}, sort_keys=False)
        arguments = {**flatten("model", description["model"]), **flatten("data", description["data"])}
        *_, self._session_end = hparams({}, {})
        if goes_on:
            return
        for logger in tensorboard_loggers(trainer):
            logger.experiment.add_text("configuration", f"```yaml\n{text}```", pl_module.global_step)
            # Not by logger.log_hyperparams, which would add a false first point to the curves. The metrics'
            # values are those of the curves' last points; here they need only their names.
            experiment, session_start, _ = hparams(arguments, {"val/accuracy": 0, "val/loss": 0})
            logger.experiment.file_writer.add_summary(experiment)
            logger.experiment.file_writer.add_summary(session_start)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell the HPARAMS tab that the run is done."""
        if not trainer.is_global_zero:
            return
        for logger in tensorboard_loggers(trainer):
            logger.experiment.file_writer.add_summary(self._session_end)


class TensorBoardFigures(NotInEveryStep, pl.Callback):
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

    def state_dict(self) -> dict[str, Any]:
        """When figures were drawn last."""
        return {"validations": self._validations, "tenths": self._tenths}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._validations, self._tenths = state_dict["validations"], state_dict["tenths"]

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to collect, where this epoch's figures are wanted."""
        assert isinstance(pl_module, SequenceClassifier)
        self._metrics = {}
        if self._wanted(trainer):
            task = torchmetrics_task(pl_module.target, pl_module.head.out_features)
            self._metrics = {
                "confusion_matrix": ConfusionMatrix(**task).to(pl_module.device),
                # A fixed set of thresholds bounds memory and time.
            }
            if pl_module.head.out_features <= _MOST_ROC_CURVES:
                self._metrics["roc"] = ROC(**task, thresholds=200).to(pl_module.device)

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
        roc = self._metrics.get("roc")
        if roc is not None:
            roc.compute()
        if not trainer.is_global_zero:
            return
        names = class_names(trainer, pl_module.target, pl_module.head.out_features)
        figures = {
            "confusion_matrix": confusion_figure(confusion, names),
            "memory": memory_figure({pl_module.recurrent.cell_name: memory_curve(pl_module, self._first_batch)}),
        }
        if roc is not None:
            figures["roc"] = roc_figure(roc, names)
        if self.inside_cell:
            figures["inside_cell"] = cell_figure(pl_module, self._first_batch)
        add_figures(trainer, "val_figures", figures, pl_module.global_step)

    def _wanted(self, trainer: pl.Trainer) -> bool:
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
        tenths = int(10 * trainer.global_step / num_steps)
        if tenths == self._tenths:
            return False
        self._tenths = tenths
        return True
