"""The threshold of a probability that maximises a metric."""

from typing import Literal, get_args

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from seqlight.training.metrics import to_float64

ThresholdMetric = Literal["f1", "balanced_accuracy"]
THRESHOLD_METRICS: tuple[str, ...] = get_args(ThresholdMetric)
DEFAULT_THRESHOLD = 0.5


def best_thresholds(
    probabilities: Float[Tensor, "sequences *labels"],
    targets: Shaped[Tensor, "sequences *labels"],
    metric: ThresholdMetric,
) -> Float[Tensor, "*labels"]:
    """The threshold that maximises the metric, for each label; labels whose probability is above it are predicted.

    The candidates are 0.5, half of the lowest probability, and the middle between any two neighbouring probabilities.
    Among those with the same value of the metric, the one nearest to 0.5 is chosen, of two the lower one. It is 0.5 for
    a label that no sequence has, or all have: neither metric compares thresholds there.

    Args:
        probabilities: (S,) for binary, (S, L) for multilabel; finite.
        targets: 0 and 1, in the same shape.
        metric: "f1", of label 1, or "balanced_accuracy", the mean of the recalls of 0 and 1.

    Returns:
        The thresholds, () or (L,), of the probabilities' dtype.
    """
    columns = (part.reshape(len(part), -1).unbind(1) for part in (probabilities, targets > 0.5))
    thresholds = [_best_threshold(values, is_one, metric) for values, is_one in zip(*columns, strict=True)]
    return torch.stack(thresholds).reshape(probabilities.shape[1:])


def _best_threshold(values: Float[Tensor, " sequences"], is_one: Tensor, metric: ThresholdMetric) -> Float[Tensor, ""]:
    num_ones, num_zeros = int(is_one.sum()), int((~is_one).sum())
    default = values.new_tensor(DEFAULT_THRESHOLD)
    if not (num_ones and num_zeros):
        return default
    distinct, positions = values.unique(return_inverse=True)
    below = torch.cat((distinct.new_zeros(1), distinct[:-1]))
    middles = below + (distinct - below) / 2
    # The middle of two neighbouring floats can be rounded to the upper one, which would not be above it.
    candidates = torch.cat((default[None], torch.where(middles < distinct, middles, below)))
    # The number of ones, and of zeros, among the values above a candidate.
    first = torch.searchsorted(distinct, candidates, right=True)
    above = []
    for belongs, total in ((is_one, num_ones), (~is_one, num_zeros)):
        counts = torch.zeros(len(distinct) + 1, dtype=torch.int64, device=values.device)
        counts.index_add_(0, positions + 1, belongs.long())
        above.append(total - counts.cumsum(0)[first])
    true_positive, false_positive = above
    if metric == "f1":  # equal quotients of integers are equal in float64
        score = to_float64(2 * true_positive) / to_float64(true_positive + false_positive + num_ones)
    else:  # times 2 * ones * zeros, an integer
        score = true_positive * num_zeros + (num_zeros - false_positive) * num_ones
    best = candidates.to(score.device)[score == score.max()].sort().values
    distance = (best - DEFAULT_THRESHOLD).abs()
    return best[(distance == distance.min()).nonzero()[0, 0]].to(values.device)
