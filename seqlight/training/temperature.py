"""Temperature scaling."""

import math

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from seqlight.tasks.task import Target
from seqlight.training.metrics import to_float64

# The inverse of the temperature stays between these.
_LOWEST, _HIGHEST = 0.01, 100.0
_MOST_STEPS, _TOLERANCE = 100, 1e-12


def fit_temperature(
    logits: Float[Tensor, "sequences *outputs"], targets: Shaped[Tensor, "sequences *labels"], target: Target
) -> float:
    """The temperature by which logits are divided so that their mean negative log-likelihood is lowest.

    From Guo et al., "On Calibration of Modern Neural Networks", 2017. The likelihood is convex in the inverse of the
    temperature, which is found by Newton's method, between 0.01 and 100. For multilabel, all labels share it. Where all
    sequences are classified right, any lower temperature would be better: it is 1 then.

    Args:
        logits: (S,) for binary, (S, L) for multilabel, (S, C) for multiclass; finite.
        targets: as in a batch.
        target: "binary", "multiclass" or "multilabel".
    """
    logits = to_float64(logits)
    if target == "multiclass":
        rest = logits - logits.gather(1, targets.to(logits.device)[:, None])  # 0 for the true class
    else:
        margins = torch.where(targets.to(logits.device) > 0.5, -logits, logits).flatten()
        rest = torch.stack((torch.zeros_like(margins), margins), -1)
    if bool((rest <= 0).all()):
        return 1.0
    return 1 / _root(rest, _LOWEST, _HIGHEST)


def _root(rest: Float[Tensor, "sequences classes"], low: float, high: float) -> float:
    """The factor between both at which the derivative of the mean of logsumexp(factor * rest) is 0, or an end."""
    if _derivatives(rest, low)[0] >= 0:
        return low
    if _derivatives(rest, high)[0] <= 0:
        return high
    factor = 1.0
    for _ in range(_MOST_STEPS):
        slope, curvature = _derivatives(rest, factor)
        low, high = (low, factor) if slope > 0 else (factor, high)
        following = factor - slope / curvature if curvature > 0 else math.nan
        if not low <= following <= high:
            following = math.sqrt(low * high)
        if abs(following - factor) <= _TOLERANCE * factor:
            return following
        factor = following
    return factor


def _derivatives(rest: Float[Tensor, "sequences classes"], factor: float) -> tuple[float, float]:
    """The first and second derivative of the mean of logsumexp(factor * rest) by the factor."""
    shares = (factor * rest).softmax(-1)
    means = (shares * rest).sum(-1, keepdim=True)
    return float(means.mean()), float((shares * (rest - means).square()).sum(-1).mean())
