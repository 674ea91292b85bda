"""Accuracy as a function of length."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, distributed
from torch.nn import functional
from torchmetrics import Metric

from seqlight.tasks.task import Target
from seqlight.training.metrics import predicted_classes


class LengthBucket(NamedTuple):
    """The accuracy over sequences with lengths from `shortest` to `longest`, both included."""

    shortest: int
    longest: int
    num_sequences: int
    accuracy: float

    @property
    def name(self) -> str:
        """The lengths, as "41-60" or "41"."""
        return str(self.shortest) if self.shortest == self.longest else f"{self.shortest}-{self.longest}"

    @property
    def middle(self) -> int:
        """The length in the middle, rounded down."""
        return (self.shortest + self.longest) // 2


def length_ranges(shortest: int, longest: int, most: int = 8, cut: int | None = None) -> list[tuple[int, int]]:
    """At most `most` ranges of equal integer width; the last one ends with `longest`.

    Args:
        shortest: the start of the first range.
        longest: the end of the last range.
        most: the maximum number of ranges.
        cut: a length that ends a range if it lies between both: ranges have equal width on each side of it.
    """
    if cut is not None and shortest <= cut < longest:
        share = round(most * (cut - shortest + 1) / (longest - shortest + 1))
        below = min(max(share, 1), most - 1)
        return [*length_ranges(shortest, cut, below), *length_ranges(cut + 1, longest, most - below)]
    width = -(-(longest - shortest + 1) // most)
    return [(start, min(start + width - 1, longest)) for start in range(shortest, longest + 1, width)]


def length_buckets(
    accuracy: Float[Tensor, " lengths"], count: Int64[Tensor, " lengths"], longest_trained: int | None = None
) -> list[LengthBucket]:
    """The buckets that hold sequences; empty if all have the same length.

    Args:
        accuracy: the accuracy over sequences of each length from 0, (S,); any value where there are none.
        count: the number of sequences of each length, (S,).
        longest_trained: the longest length in training, where a bucket ends; None if it is unknown.
    """
    accuracy, count = accuracy.cpu(), count.cpu()  # not every device has float64
    [lengths] = count.nonzero(as_tuple=True)
    if len(lengths) < 2:
        return []
    right = torch.where(count > 0, accuracy.double() * count, 0)
    buckets = []
    for shortest, longest in length_ranges(int(lengths[0]), int(lengths[-1]), cut=longest_trained):
        within = slice(shortest, longest + 1)
        if num_sequences := int(count[within].sum()):
            buckets.append(LengthBucket(shortest, longest, num_sequences, right[within].sum().item() / num_sequences))
    return buckets


class LengthAccuracy(Metric):
    """The accuracy over sequences of each length, and their number, exact over all ranks.

    For multilabel, the fraction of correct labels.

    Args:
        target: "binary", "multiclass" or "multilabel".
        num_outputs: 1 for binary, else the number of classes or labels.
        threshold: as for `predicted_classes`.
    """

    full_state_update = False
    right: Tensor
    count: Tensor
    classes: Tensor

    def __init__(self, target: Target, num_outputs: int, threshold: float | Tensor = 0.5) -> None:
        super().__init__()
        self.target: Target = target
        self._threshold = threshold
        self.labels = num_outputs if target == "multilabel" else 1
        for name in ("right", "count"):
            self.add_state(name, torch.zeros(1, dtype=torch.int64), dist_reduce_fx="sum")
        # Sequences of each class; for multilabel, with each label.
        size = max(2, num_outputs) if target != "multilabel" else num_outputs
        self.add_state("classes", torch.zeros(size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self,
        probabilities: Float[Tensor, "batch *outputs"],
        targets: Shaped[Tensor, "batch *labels"],
        lengths: Int64[Tensor, " batch"],
    ) -> None:
        """Add a batch, with probabilities and targets from `SequenceClassifier.test_step`."""
        right = (predicted_classes(probabilities, self.target, self._threshold) == targets).long()
        right = right.flatten(1).sum(1) if right.ndim > 1 else right
        labels = targets.long()
        self.classes += labels.sum(0) if self.target == "multilabel" else labels.bincount(minlength=len(self.classes))
        self._grow(int(lengths.max()) + 1)
        lengths = lengths.to(right.device)
        self.right.index_add_(0, lengths, right)
        self.count.index_add_(0, lengths, torch.ones_like(lengths))

    def compute(self) -> tuple[Float[Tensor, " lengths"], Int64[Tensor, " lengths"], float]:
        """Accuracy and number of sequences for each length from 0, and the accuracy of a constant answer.

        The accuracy is NaN if there are no sequences. The constant answer is the most frequent class or, for
        multilabel, the more frequent value of each label.
        """
        count = self.count.cpu()  # not every accelerator has float64
        share = self.classes.cpu().double() / count.sum()
        chance = torch.maximum(share, 1 - share).mean() if self.target == "multilabel" else share.max()
        return self.right.cpu().double() / (count * self.labels), count, float(chance)

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Synchronise ranks; torchmetrics sums tensors of one size only, so they grow to the longest of all ranks."""
        if distributed.is_available() and distributed.is_initialized():
            size = torch.tensor(len(self.count), device=self.count.device)
            distributed.all_reduce(size, distributed.ReduceOp.MAX)
            self._grow(int(size))
        super().sync(*args, **kwargs)

    def _grow(self, size: int) -> None:
        missing = size - len(self.count)
        if missing > 0:
            self.right, self.count = functional.pad(self.right, (0, missing)), functional.pad(self.count, (0, missing))
