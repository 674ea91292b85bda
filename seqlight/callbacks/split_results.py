"""The results of a split from which figures are drawn."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import ROC, CatMetric, ConfusionMatrix, Metric

from seqlight.callbacks.classifier import has_results
from seqlight.common.batch import Batch
from seqlight.training.calibration_error import CalibrationBins
from seqlight.training.classifier import SequenceClassifier
from seqlight.training.metrics import absent_classes_accepted, torchmetrics_task

_MAX_ROC_CURVES = 20  # more can't be distinguished, and take minutes to draw


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

    Args:
        model: the classifier.
        step, where: as above.
    """

    def __init__(self, model: SequenceClassifier, step: int, where: str) -> None:
        self.step, self.where = step, where
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
            if self._metrics is not None:
                self._compute_classes(results, targets.long(), *self._metrics)
        return self.first_batch is not None and self._outputs is not None

    def _compute_classes(self, results: Tensor, targets: Tensor, confusion: Metric, bins: Metric) -> None:
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
