"""Expected calibration error: whether probabilities are the fractions of true answers."""

from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from seqlight.tasks.task import Target
from seqlight.training.metrics import to_float64

NUM_BINS = 15
_MOST_KEPT = 64  # batches


class CalibrationBins(Metric):
    """Sums over the probabilities in each of 15 bins of equal width, exact over all ranks.

    A bin contains its upper end: (0, 1/15], (1/15, 2/15], and so on. For multiclass, the probability is that of the
    predicted class, and the answer is true if that class is right (Guo et al., 2017). For binary, it is the probability
    of class 1, and the answer is true if the class is 1; for multilabel likewise, with all labels together.
    """

    full_state_update = False
    sums: Any

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target: Target = target
        # Binned for many batches at once: for a small model, this takes longer than a batch.
        self._batches: list[tuple[Tensor, Tensor]] = []
        # Added up at the end, in float64, which not every device has.
        self.add_state("sums", [], dist_reduce_fx="cat")

    def update(self, probabilities: Float[Tensor, "batch *outputs"], targets: Shaped[Tensor, "batch *labels"]) -> None:
        """Add a batch."""
        self._batches.append((probabilities.detach(), targets))
        if len(self._batches) >= _MOST_KEPT:
            self._add_up()

    def compute(self) -> Float[Tensor, "3 15"]:
        """The number of probabilities in each bin, their sum, and the number of true answers, in float64."""
        self._add_up()
        return to_float64(dim_zero_cat(self.sums)).sum(0)

    def reset(self) -> None:
        """Forget all batches."""
        super().reset()
        self._batches = []

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Synchronise ranks."""
        self._add_up()
        super().sync(*args, **kwargs)

    def _add_up(self) -> None:
        if self._batches:
            probabilities, targets = (torch.cat(parts) for parts in zip(*self._batches, strict=True))
            self._batches = []
            self.sums.append(bin_sums(probabilities, targets, self.target)[None])


def bin_sums(
    probabilities: Float[Tensor, "sequences *outputs"], targets: Shaped[Tensor, "sequences *labels"], target: Target
) -> Float[Tensor, "3 15"]:
    """The sums of `CalibrationBins`, of one tensor of probabilities and their targets."""
    if target == "multiclass":
        probabilities, predicted = probabilities.max(-1)
        is_true = predicted == targets
    else:
        is_true = targets > 0.5
    values = probabilities.flatten()
    bins = (values * NUM_BINS).ceil().long().sub(1).clamp(0, NUM_BINS - 1)
    rows = torch.stack((torch.ones_like(values), values, is_true.flatten().to(values.dtype)))
    return rows.new_zeros(3, NUM_BINS).index_add_(1, bins, rows)


def calibration_error(sums: Float[Tensor, "3 15"]) -> Float[Tensor, ""]:
    """The mean distance of mean probability and fraction of true answers in a bin, weighted by its probabilities."""
    count, probability, is_true = sums.unbind()
    return (probability - is_true).abs().sum() / count.sum()
