"""The forms of y."""

from collections.abc import Mapping, Sized
from typing import Any, Literal

import numpy as np
from jaxtyping import Int64, Shaped
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import assert_all_finite, check_consistent_length, column_or_1d

from seqlight.data.reading.arrays import on_host


def labels_of(
    y: Any, inputs: Sized, name: str = "y"
) -> Shaped[np.ndarray, " sequences"] | Int64[np.ndarray, "sequences labels"]:
    """The classes of sequences, (N,); or 0 and 1 for each label, (N, L), from an indicator matrix.

    Raises:
        ValueError: if they are neither, or there are more or fewer than sequences.
    """
    labels: np.ndarray = np.asarray(on_host(y))
    if labels.ndim == 2 and type_of_target(labels, input_name=name) == "multilabel-indicator":
        labels = labels.astype(np.int64)
    else:
        labels = column_or_1d(on_host(y), warn=True)
        if labels.dtype.kind in "fc":
            assert_all_finite(labels, input_name=name)
        check_classification_targets(labels)
    check_consistent_length(inputs, labels)
    return labels


def as_known(labels: np.ndarray, classes: np.ndarray) -> Int64[np.ndarray, "sequences *labels"]:
    """Labels for validation as positions in the classes of training, or as they are if there are several each.

    Raises:
        ValueError: if they have a class or another number of labels that training does not have.
    """
    if labels.ndim == 2 and labels.shape[1] == len(classes):
        return labels
    if unknown := sorted({*labels.flatten().tolist()} - {*classes.tolist()}, key=str):
        raise ValueError(f"y_val: expected classes of y, got {unknown[0]!r}")
    if labels.ndim == 2:
        raise ValueError(f"y_val: expected labels as in y, got {labels.shape[1]} for each sequence")
    return np.searchsorted(classes, labels)


def weights_of(
    class_weight: Literal["balanced"] | Mapping[Any, float] | None, labels: np.ndarray, classes: np.ndarray
) -> Literal["balanced"] | list[float] | None:
    """The weights of classes, or of labels that are 1, for `SequenceArrays`."""
    if class_weight is None or (labels.ndim == 2 and class_weight == "balanced"):
        return class_weight
    if isinstance(class_weight, Mapping) and labels.ndim == 2:
        return [float(class_weight.get(label, 1)) for label in classes.tolist()]
    weights: list[float] = compute_class_weight(class_weight, classes=classes, y=labels).tolist()
    return weights
