"""Validation and test metrics, and how they are logged."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from jaxtyping import Float, Shaped
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from seqlight.common.private_lightning import forget_metrics
from seqlight.tasks.task import Target
from seqlight.training.best_threshold import DEFAULT_THRESHOLD
from seqlight.training.calibration import Calibration, KeptResults
from seqlight.training.calibration_error import CalibrationBins, calibration_error
from seqlight.training.curves import write_scalars
from seqlight.training.metrics import (
    classification_loss,
    compute_metrics,
    count_decisions,
    evaluation_metrics,
    to_float64,
)
from seqlight.training.non_finite import check_defined


class MeanLoss(Metric):
    """The mean of the batches' mean losses, weighted by their numbers of sequences, over all ranks.

    torchmetrics' MeanMetric adds up in float32, in which a count stops at 2^24.
    """

    full_state_update = False
    sums: Any
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Added up at the end, in float64, which not every device has.
        self.add_state("sums", [], dist_reduce_fx="cat")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, loss: Float[Tensor, ""], num_sequences: int) -> None:
        """Add the mean loss of a batch."""
        self.sums.append(loss.detach().float().reshape(1) * num_sequences)
        self.count += num_sequences

    def compute(self) -> Float[Tensor, ""]:
        """The mean, in float32; NaN if there are no batches or one of their losses is NaN."""
        total = to_float64(dim_zero_cat(self.sums)).sum() if len(self.sums) else torch.tensor(torch.nan)
        return (total / self.count.to(total.device)).float().to(self.count.device)


class Evaluation(nn.Module):
    """Mean loss and metrics of a split, over all batches and ranks.

    Args:
        target: "binary", "multiclass" or "multilabel".
        num_outputs: 1 for binary, else the number of classes or labels.
        calibration: the temperature, at which all metrics but the loss are computed, and the thresholds; None for
            neither.
    """

    def __init__(self, target: Target, num_outputs: int, calibration: Calibration | None = None) -> None:
        super().__init__()
        # In a tuple, so that it is no submodule of this one too.
        self._calibration = (calibration or Calibration(target, num_outputs),)
        self.target: Target = target
        self.metrics = evaluation_metrics(target, num_outputs)
        self.loss = MeanLoss()
        self.bins = CalibrationBins(target)
        has_thresholds = self.calibration.given != DEFAULT_THRESHOLD
        self.decisions = count_decisions(target, num_outputs) if has_thresholds else None
        self.kept = KeptResults() if self.calibration.learns else None
        self._learns = False

    @property
    def calibration(self) -> Calibration:
        """Temperature and thresholds."""
        return self._calibration[0]

    def begin(self, *, learns: bool = False) -> None:
        """Forget the batches of an evaluation that did not end.

        Args:
            learns: whether the calibration is learned from this split: metrics are then computed at its end.
        """
        self._learns = learns and self.kept is not None
        with torch.inference_mode(False):  # else a later training could not add to the sums
            for metric in (self.loss, self.metrics, self.bins, self.decisions, self.kept):
                if metric is not None:
                    metric.reset()

    def add(
        self,
        logits: Float[Tensor, "batch *outputs"],
        targets: Shaped[Tensor, "batch *labels"],
        class_weights: Float[Tensor, " weights"] | None = None,
    ) -> dict[str, Tensor]:
        """Add a batch; returns its probabilities and targets, for callbacks.

        While the calibration is learned, the probabilities are those of the earlier one, and `logits` are returned too.
        """
        self.loss.update(classification_loss(logits, targets, self.target, class_weights=class_weights), len(targets))
        probabilities = self.calibration.probabilities(logits)
        results = {"probabilities": probabilities, "targets": targets}
        if not self._learns or self.kept is None:
            self._add(probabilities, targets)
            return results
        self.kept.update(logits, targets)
        return {**results, "logits": logits}

    def _add(self, probabilities: Float[Tensor, "batch *outputs"], targets: Shaped[Tensor, "batch *labels"]) -> None:
        self.metrics.update(probabilities, targets.long())
        self.bins.update(probabilities, targets)
        if self.decisions is not None:
            self.decisions.update(self.calibration.classes(probabilities), targets.long())

    def _learn(self) -> None:
        """Learn the calibration, the same in all processes, if this evaluation is for it."""
        if self._learns and self.kept is not None and self.kept.update_called:
            self.calibration.learn(*self.kept.compute())
            logits, targets = self.kept.own()
            self._add(self.calibration.probabilities(logits), targets)

    def take(self) -> dict[str, Tensor | None]:
        """Loss and metrics since `begin`, which is called again: some metrics keep all batches.

        None for a metric that is undefined. Empty if no batch was added, as by a subclass of the classifier.
        """
        if not self.loss.update_called:
            return {}
        self._learn()
        values = {"loss": self.loss.compute(), **compute_metrics(self.metrics, self.decisions)}
        values["calibration_error"] = calibration_error(self.bins.compute()).float().to(self.loss.device)
        if self.calibration.scales:
            values["temperature"] = self.calibration.temperature.clone()
        if self.calibration.metric is not None and self.target == "binary":
            values["threshold"] = torch.as_tensor(self.calibration.threshold).clone()
        self.begin()
        return values


def log_evaluation(module: pl.LightningModule, split: str, results: Mapping[str, Tensor | None]) -> None:
    """Log results as `<split>/<name>`, the same on every rank, without those that are undefined.

    Raises:
        UndefinedMetricError: if training monitors one that is undefined.
    """
    values = {f"{split}/{name}": value for name, value in results.items() if value is not None}
    undefined = [f"{split}/{name}" for name, value in results.items() if value is None]
    forget_metrics(module.trainer, undefined)
    check_defined(module.trainer, undefined)
    fitting = module.trainer.state.fn == TrainerFn.FITTING
    if fitting and not module.trainer.sanity_checking:
        write_scalars(module, values)
    shown = {f"{split}/loss", f"{split}/accuracy", f"{split}/rmse"}
    for name, value in values.items():
        # Trainer.test returns the values that `log` sends to the loggers.
        module.log(name, value, prog_bar=name in shown, logger=False if fitting else None, sync_dist=True)
