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
from seqlight.training.curves import write_scalars
from seqlight.training.metrics import (
    classification_loss,
    compute_metrics,
    evaluation_metrics,
    to_float64,
    to_probabilities,
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
    """Mean loss and metrics of a split, over all batches and ranks."""

    def __init__(self, target: Target, num_outputs: int) -> None:
        super().__init__()
        self.target: Target = target
        self.metrics = evaluation_metrics(target, num_outputs)
        self.loss = MeanLoss()

    def begin(self) -> None:
        """Forget the batches of an evaluation that did not end."""
        with torch.inference_mode(False):  # else a later training could not add to the sums
            self.loss.reset()
            self.metrics.reset()

    def add(
        self,
        logits: Float[Tensor, "batch *outputs"],
        targets: Shaped[Tensor, "batch *labels"],
        class_weights: Float[Tensor, " weights"] | None = None,
    ) -> dict[str, Tensor]:
        """Add a batch; returns its probabilities and targets, for callbacks."""
        probabilities = to_probabilities(logits, self.target)
        self.loss.update(classification_loss(logits, targets, self.target, class_weights=class_weights), len(targets))
        self.metrics.update(probabilities, targets.long())
        return {"probabilities": probabilities, "targets": targets}

    def take(self) -> dict[str, Tensor | None]:
        """Loss and metrics since `begin`, which is called again: some metrics keep all batches.

        None for a metric that is undefined. Empty if no batch was added, as by a subclass of the classifier.
        """
        if not self.loss.update_called:
            return {}
        values = {"loss": self.loss.compute(), **compute_metrics(self.metrics)}
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
    shown = {f"{split}/loss", f"{split}/accuracy"}
    for name, value in values.items():
        # Trainer.test returns the values that `log` sends to the loggers.
        module.log(name, value, prog_bar=name in shown, logger=False if fitting else None, sync_dist=True)
