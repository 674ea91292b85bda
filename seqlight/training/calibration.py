"""Probabilities and classes from logits, by a temperature and thresholds that are learned on validation."""

from typing import Any

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from seqlight.common.validation import check_choice, check_finite
from seqlight.tasks.task import Target
from seqlight.training.best_threshold import (
    DEFAULT_THRESHOLD,
    THRESHOLD_METRICS,
    ThresholdMetric,
    best_thresholds,
)
from seqlight.training.metrics import predicted_classes, to_probabilities
from seqlight.training.temperature import fit_temperature

Threshold = ThresholdMetric | float
_BUFFERS = ("temperature", *(f"{metric}_threshold" for metric in THRESHOLD_METRICS), "num_sequences")


class Calibration(nn.Module):
    """The temperature and the thresholds of a classifier.

    What is learned is in buffers, which are saved in checkpoints: `temperature` (), `<metric>_threshold`, () for binary
    or (L,) for multilabel, and `num_sequences`, the number of validation sequences that they come from, or of their
    steps if those have labels. A checkpoint with other ones, as one that was trained without, leaves them as they are.

    Args:
        target: "binary", "multiclass" or "multilabel".
        num_outputs: 1 for binary, else the number of classes or labels.
        threshold: as for `SequenceClassifier`.
        temperature_scaling: as for `SequenceClassifier`.

    Raises:
        TypeError, ValueError: if the threshold is out of its range, or is given for another target.
    """

    temperature: Tensor
    num_sequences: Tensor

    def __init__(
        self,
        target: Target,
        num_outputs: int,
        threshold: Threshold = DEFAULT_THRESHOLD,
        temperature_scaling: bool = False,
    ) -> None:
        super().__init__()
        self.target: Target = target
        self.given = check_threshold(threshold, target)
        if temperature_scaling and target == "regression":
            raise ValueError("temperature_scaling must be False for regression, which has no probabilities")
        self.scales = temperature_scaling
        if self.metric is not None:
            shape = () if target == "binary" else (num_outputs,)
            self.register_buffer(f"{self.metric}_threshold", torch.full(shape, DEFAULT_THRESHOLD))
        if temperature_scaling:
            self.register_buffer("temperature", torch.ones(()))
        if self.learns:
            self.register_buffer("num_sequences", torch.tensor(0))
        self.register_load_state_dict_pre_hook(_keep_unless_same)

    @property
    def metric(self) -> ThresholdMetric | None:
        """The metric that the threshold maximises; None if the threshold is a number."""
        return self.given if isinstance(self.given, str) else None

    @property
    def learns(self) -> bool:
        """Whether something is learned on validation."""
        return self.metric is not None or self.scales

    @property
    def is_learned(self) -> bool:
        """Whether there is nothing to learn, or it was learned."""
        return not self.learns or int(self.num_sequences) > 0

    @property
    def threshold(self) -> Tensor | float:
        """The probability above which a label is predicted; for multilabel, a number or (L,)."""
        return self.given if not isinstance(self.given, str) else self.get_buffer(f"{self.given}_threshold")

    def probabilities(self, logits: Float[Tensor, "batch *outputs"]) -> Float[Tensor, "batch *outputs"]:
        """Probabilities in the shape of the logits, as `to_probabilities` gives them, at the temperature."""
        if self.scales:
            logits = (logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits) / self.temperature
        return to_probabilities(logits, self.target)

    def classes(self, probabilities: Float[Tensor, "batch *outputs"]) -> Int64[Tensor, "batch *labels"]:
        """The predicted classes, in the shape of targets."""
        return predicted_classes(probabilities, self.target, self.threshold)

    @torch.no_grad()
    def learn(
        self,
        logits: Float[Tensor, "sequences *outputs"],
        targets: Shaped[Tensor, "sequences *labels"],
    ) -> None:
        """Fit the temperature, then choose the thresholds of the probabilities. Logits that are not finite are refused.

        Args:
            logits: of all validation sequences, or of their time steps.
            targets: the targets, as in a batch.
        """
        if not (self.learns and len(logits) and bool(logits.isfinite().all())):
            return
        if self.scales:
            self.temperature.fill_(fit_temperature(logits, targets, self.target))
        if self.metric is not None:
            chosen = best_thresholds(self.probabilities(logits), targets, self.metric)
            self.get_buffer(f"{self.metric}_threshold").copy_(chosen)
        self.num_sequences.fill_(len(logits))


def check_threshold(threshold: Threshold, target: Target) -> Threshold:
    """Return the threshold if it is valid for the target; raise TypeError or ValueError if not."""
    if isinstance(threshold, str):
        check_choice("threshold", threshold, (*THRESHOLD_METRICS, "or a number"))
    else:
        check_finite("threshold", threshold)
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must be greater than 0 and less than 1, got {threshold}")
    if target not in ("binary", "multilabel") and threshold != DEFAULT_THRESHOLD:
        raise ValueError(f"threshold must be {DEFAULT_THRESHOLD} for a {target} target, got {threshold!r}")
    return threshold


def _keep_unless_same(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Keep the buffers unless a `state_dict` has the same ones: a threshold belongs to a metric and a temperature."""
    own = {f"{prefix}{name}": buffer for name, buffer in module.named_buffers()}
    found = {name for name in state if name.removeprefix(prefix) in _BUFFERS and name.startswith(prefix)}
    if found != own.keys():
        for name in found:
            del state[name]
        state.update(own)


class KeptResults(Metric):
    """The logits and targets of a split, over all ranks."""

    full_state_update = False
    logits: Any
    targets: Any

    def __init__(self) -> None:
        super().__init__()
        for name in ("logits", "targets"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, logits: Float[Tensor, "batch *outputs"], targets: Shaped[Tensor, "batch *labels"]) -> None:
        """Keep a batch."""
        self.logits.append(logits.detach())
        self.targets.append(targets)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Logits and targets of all processes."""
        return self.own()

    def own(self) -> tuple[Tensor, Tensor]:
        """Logits and targets of this process."""
        return dim_zero_cat(self.logits), dim_zero_cat(self.targets)
