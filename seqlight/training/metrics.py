"""Loss, probabilities and metrics for binary, multiclass and multilabel targets."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor
from torch.nn import functional
from torchmetrics import AUROC, Accuracy, Metric, MetricCollection, StatScores

from seqlight.common.validation import check_at_least, check_choice, check_finite
from seqlight.tasks.task import TARGETS, Target


def classification_loss(
    logits: Float[Tensor, "batch *outputs"],
    targets: Shaped[Tensor, "batch *labels"],
    target: Target,
    reduction: str = "mean",
    class_weights: Float[Tensor, " weights"] | None = None,
) -> Float[Tensor, "..."]:
    """Binary cross-entropy of logits for binary (B,) and multilabel (B, L); cross-entropy for multiclass (B, C).

    Class weights are as for `SequenceClassifier`.
    """
    if target == "multiclass":
        if class_weights is None or reduction != "mean":
            return functional.cross_entropy(logits, targets, class_weights, reduction=reduction)
        return functional.cross_entropy(logits, targets, class_weights, reduction="sum") / len(targets)
    weight = class_weights[targets.long()] if class_weights is not None and target == "binary" else None
    pos_weight = class_weights if target == "multilabel" else None
    return functional.binary_cross_entropy_with_logits(
        logits, targets, weight=weight, pos_weight=pos_weight, reduction=reduction
    )


def check_num_outputs(num_outputs: int, target: Target) -> None:
    """Raise ValueError or TypeError, naming the argument, unless `num_outputs` is valid for the target."""
    check_choice("target", target, TARGETS)
    check_at_least("num_outputs", num_outputs, 2 if target == "multiclass" else 1)
    if target == "binary" and num_outputs != 1:
        raise ValueError(f"num_outputs must be 1 for a binary target, got {num_outputs}")


def check_class_weights(class_weights: Sequence[float], target: Target, num_outputs: int) -> Float[Tensor, " weights"]:
    """The weights as a tensor: (2,) for binary, (C,) for multiclass, (L,) for multilabel.

    Raises:
        ValueError: if their number is wrong, or one is not finite and greater than 0.
    """
    size = 2 if target == "binary" else num_outputs
    if len(class_weights) != size:
        raise ValueError(
            f"class_weights must be {size} numbers for this {target} target, got {len(class_weights)}: "
            f"{list(class_weights)}"
        )
    for weight in class_weights:
        check_finite("class_weights", weight)
        if weight <= 0:
            raise ValueError(f"class_weights must be greater than 0, got {weight}")
    return torch.tensor([float(weight) for weight in class_weights])


def to_probabilities(logits: Float[Tensor, "batch *outputs"], target: Target) -> Float[Tensor, "batch *outputs"]:
    """Probabilities in the shape of the logits, in float32 or float64."""
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    return logits.softmax(-1) if target == "multiclass" else logits.sigmoid()


def predicted_classes(
    scores: Float[Tensor, "batch *outputs"], target: Target, threshold: float | Tensor = 0.5
) -> Int64[Tensor, "batch *labels"]:
    """The class with the highest score, (B,), for multiclass; else 1 for scores above the threshold.

    Args:
        scores: probabilities; or logits, with a threshold of 0.
        target: "binary", "multiclass" or "multilabel".
        threshold: for binary and multilabel, whose classes have the shape of the scores; a number, or (L,).
    """
    return scores.argmax(-1) if target == "multiclass" else (scores > threshold).long()


def count_correct(
    logits: Float[Tensor, "batch *outputs"], targets: Shaped[Tensor, "batch *labels"], target: Target
) -> Float[Tensor, ""]:
    """The number of correct predictions; for multilabel, a sequence counts as its fraction of correct labels."""
    right = predicted_classes(logits, target, threshold=0) == (targets if target == "multiclass" else targets > 0.5)
    # Counted in integers: a sum of float32 loses ones beyond 2^24.
    return to_float64(right.sum()) / (right.shape[1] if right.ndim > 1 else 1)


def to_float64(values: Tensor) -> Tensor:
    """The values in float64; on the CPU if they are on MPS, which has no float64."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def torchmetrics_task(target: Target, num_outputs: int) -> dict[str, Any]:
    """The arguments of torchmetrics for this kind of target."""
    sizes = {"binary": {}, "multiclass": {"num_classes": num_outputs}, "multilabel": {"num_labels": num_outputs}}
    # Targets and probabilities are valid; checking them again takes longer than the metrics.
    return {"task": target, "validate_args": False, **sizes[target]}


def evaluation_metrics(target: Target, num_outputs: int) -> MetricCollection:
    """Accuracy, and areas and counts of each class or label for `compute_metrics`, over all ranks."""
    task = torchmetrics_task(target, num_outputs)
    return MetricCollection(
        {
            "accuracy": Accuracy(**task, average="micro"),
            "areas": AUROC(**task, average="none"),
            "counts": StatScores(**task, average="none"),
        }
    )


def count_decisions(target: Target, num_outputs: int) -> Metric:
    """Counts of predicted classes, in place of those at the threshold 0.5, for `compute_metrics`."""
    return StatScores(**torchmetrics_task(target, num_outputs), average="none")


def compute_metrics(metrics: MetricCollection, decisions: Metric | None = None) -> dict[str, Tensor | None]:
    """Accuracy, AUROC and F1 over all batches, from `evaluation_metrics`; None for one that is undefined.

    Accuracy is the fraction of correct predictions; for multilabel, of correct labels. For binary, AUROC and F1 are
    those of class 1, and F1 needs sequences of class 1. Otherwise they are means over labels, or over classes, each
    against all others. AUROC leaves out a class or label that no sequence has, or all have; F1, one that no sequence
    has or is predicted to have. So F1 of several is scikit-learn's `f1_score(average="macro", zero_division=nan)`.

    Args:
        metrics: the metrics, at the threshold 0.5.
        decisions: from `count_decisions`, of the labels that other thresholds predict; None if there are none.
    """
    with absent_classes_accepted():
        values = metrics.compute()
    if decisions is not None:
        counts: Tensor = decisions.compute()
        values = {**values, "counts": counts, "accuracy": _accuracy_of(counts)}
    true_positive, false_positive, true_negative, false_negative, _ = values["counts"].reshape(-1, 5).unbind(1)
    has_both = (true_positive + false_negative > 0) & (true_negative + false_positive > 0)
    occurs = true_positive + false_positive + false_negative > 0
    f1 = 2 * true_positive / (2 * true_positive + false_positive + false_negative)
    areas = values["areas"].reshape(-1)[has_both]
    if len(occurs) == 1:  # without class 1, F1 would be 0 or undefined, depending on a single wrong prediction
        occurs = true_positive + false_negative > 0
    return {"accuracy": values["accuracy"], "auroc": _mean(areas), "f1": _mean(f1[occurs])}


def _accuracy_of(counts: Int64[Tensor, "*labels 5"]) -> Float[Tensor, ""]:
    """The fraction of correct labels, from torchmetrics' counts."""
    true_positive, _, true_negative, _, _ = counts.reshape(-1, 5).unbind(1)
    return (true_positive + true_negative).sum() / counts[..., :4].sum()


def _mean(values: Float[Tensor, " classes"]) -> Tensor | None:
    return values.mean() if len(values) else None


@contextlib.contextmanager
def absent_classes_accepted() -> Iterator[None]:
    """Ignore torchmetrics' warnings about classes without a ROC curve; callers leave them out."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No (positive|negative) samples in targets")
        yield
