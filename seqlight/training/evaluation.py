"""Validation and test metrics, and how they are logged."""

import math

import lightning.pytorch as pl
from jaxtyping import Float, Shaped
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torchmetrics import MeanMetric

from seqlight.tasks.task import Target
from seqlight.training.curves import write_scalars
from seqlight.training.metrics import classification_loss, evaluation_metrics, to_probabilities


class Evaluation(nn.Module):
    """Mean loss and metrics of a split, over all batches and ranks."""

    def __init__(self, target: Target, num_outputs: int) -> None:
        super().__init__()
        self.target: Target = target
        self.metrics = evaluation_metrics(target, num_outputs)
        # By default torchmetrics would skip a batch whose loss is NaN.
        self.loss = MeanMetric(nan_strategy=math.nan)

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

    def take(self) -> dict[str, Tensor]:
        """Loss and metrics since the last call."""
        values = {"loss": self.loss.compute(), **self.metrics.compute()}
        self.loss.reset()
        self.metrics.reset()
        return values


def log_evaluation(module: pl.LightningModule, split: str, values: dict[str, Tensor]) -> None:
    """Log values as `<split>/<name>`, the same on every rank."""
    values = {f"{split}/{name}": value for name, value in values.items()}
    fitting = module.trainer.state.fn == TrainerFn.FITTING
    if fitting and not module.trainer.sanity_checking:
        write_scalars(module, values)
    shown = {f"{split}/loss", f"{split}/accuracy"}
    for name, value in values.items():
        # Trainer.test returns the values that `log` sends to the loggers.
        module.log(name, value, prog_bar=name in shown, logger=False if fitting else None, sync_dist=True)
