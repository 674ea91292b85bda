"""Accuracy by length, or by position, in TensorBoard."""

from typing import Any

import lightning.pytorch as pl

from seqlight.callbacks.classifier import classifier_of, has_results
from seqlight.callbacks.logger import LENGTHS_GROUP
from seqlight.callbacks.tensorboard_figures import add_figures, run_and_epoch, tensorboard_loggers, trained_steps
from seqlight.common.batch import Batch
from seqlight.common.label_per import LabelPer
from seqlight.common.private_lightning import NotInEveryStep
from seqlight.common.steps import positions
from seqlight.figures.metric_figures import length_figure
from seqlight.training.length_accuracy import LengthAccuracy, LengthBucket, length_buckets
from seqlight.training.trainer_data import datamodule_of


class AccuracyByLength(NotInEveryStep, pl.Callback):
    """Test accuracy for each range of lengths, if lengths differ.

    Lengths up to the longest in training, and longer ones, are in different ranges. If each step has a label, it is the
    accuracy for ranges of positions in a sequence, counted from 1.

    In TensorBoard it is a figure, and the curve `test/accuracy_by_length` with the length as step, so that several runs
    lie in one chart.

    Attributes:
        buckets: the ranges of the last test; empty if all its sequences had the same length.
        label_per: "step" if they are ranges of positions.
    """

    def __init__(self) -> None:
        self.buckets: list[LengthBucket] = []
        self.label_per: LabelPer = "sequence"

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reset the collected results."""
        model = classifier_of(self, pl_module)
        self.buckets, self.label_per = [], model.label_per
        threshold = model.calibration.threshold
        self._is_used = model.target != "regression"
        self._accuracy = LengthAccuracy(model.target, model.head.out_features, threshold).to(model.device)

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect the results of a batch."""
        if self._is_used and has_results(outputs):
            per_step = self.label_per == "step"
            places = positions(batch.lengths) if per_step else batch.lengths
            self._accuracy.update(outputs["probabilities"], outputs["targets"], places)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log `test_lengths/accuracy_<shortest>_<longest>`; write the curve and draw the figure."""
        if not self._accuracy.update_called:
            return
        accuracy, count, chance = self._accuracy.compute()
        data = datamodule_of(trainer)
        longest_trained = None if data is None else data.longest_trained()
        self.buckets = length_buckets(accuracy, count, longest_trained)
        for bucket in self.buckets:
            name = f"{LENGTHS_GROUP}/accuracy_{bucket.shortest}_{bucket.longest}"
            pl_module.log(name, bucket.accuracy, sync_dist=True)
        if self.buckets and trainer.is_global_zero and tensorboard_loggers(trainer):
            by = "position" if self.label_per == "step" else "length"
            name = f"test/accuracy_by_{by}"
            for logger in tensorboard_loggers(trainer):
                for bucket in self.buckets:
                    logger.experiment.add_scalar(name, bucket.accuracy, bucket.middle)
            figure = length_figure(self.buckets, chance, run_and_epoch(trainer), self.label_per)
            add_figures(trainer, "test_figures", {f"accuracy_by_{by}": figure}, trained_steps(trainer))
