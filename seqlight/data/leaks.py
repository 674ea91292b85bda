"""Features that know too much: the class itself, or whose sequence it is."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from seqlight.data.encoding import SequenceEncoding
from seqlight.data.sequences import Sequences
from seqlight.data.summary import feature_name

_CHUNK = 1 << 20  # values at a time
_MOST_CLASSES = 20
_MOST_NAMED = 10
_BY_CHANCE = 1e-3  # the probability of a remark on features that have nothing to do with the classes

Ranges = tuple[slice, Float32[np.ndarray, "sequences features"], Float32[np.ndarray, "sequences features"]]


def leaks(sequences: Sequences, encoding: SequenceEncoding, *, grouped: bool = False) -> tuple[str, ...]:
    """Remarks on features that separate the classes alone, or that look like the group of a sequence.

    Args:
        sequences: all sequences of a file, in its order, with their labels.
        encoding: names of classes and features.
        grouped: whether the group of each sequence is known already.
    """
    if encoding.num_features is None:
        return ()
    remarks = []
    ranges = _RangesOfClasses(sequences.targets, encoding)
    groups = _Groups(encoding.input_size or 0, len(sequences.lengths))
    for rows, lowest, highest in _ranges(sequences):
        ranges.add(rows, lowest, highest)
        groups.add(lowest, lowest == highest)
    if found := ranges.separating():
        names = ", ".join(feature_name(feature, encoding) for feature in found[:_MOST_NAMED])
        remarks.append(
            f"feature {names} alone separates the classes perfectly: is it known before the class is? "
            'To choose the features: `feature_columns=["NAME"]`'
        )
    ask = encoding.columns is not None and not grouped and int(sequences.lengths.max()) > 1
    if ask and (counts := groups.counts()):
        names = ", ".join(f"{feature_name(each, encoding)} ({counts[each]} values)" for each in [*counts][:_MOST_NAMED])
        remarks.append(
            f"the same in all rows of a sequence: {names}; if sequences of one value belong together, as those of a "
            'subject, name it: `group_column="NAME"`'
        )
    return tuple(remarks)


class _RangesOfClasses:
    """The range of each feature in each class."""

    def __init__(self, targets: Tensor, encoding: SequenceEncoding) -> None:
        classes, width = len(encoding.class_names), encoding.input_size or 0
        self._used = (
            encoding.target not in ("multilabel", "regression")
            and classes <= _MOST_CLASSES
            and encoding.label_per == "sequence"
        )
        if not self._used:
            return
        self._targets = targets.long().numpy()
        counts = torch.bincount(targets.long(), minlength=classes).tolist()
        # The probability that single numbers in random order are sorted by class, in any order of the classes.
        sorted_orders = math.lgamma(classes + 1) + sum(math.lgamma(count + 1) for count in counts)
        by_chance = width * math.exp(sorted_orders - math.lgamma(len(targets) + 1))
        self._used = min(counts) > 0 and by_chance < _BY_CHANCE
        self._lowest, self._highest = np.full((classes, width), np.inf), np.full((classes, width), -np.inf)

    def add(self, rows: slice, lowest: np.ndarray, highest: np.ndarray) -> None:
        """Add sequences."""
        if self._used:
            np.minimum.at(self._lowest, self._targets[rows], lowest)
            np.maximum.at(self._highest, self._targets[rows], highest)

    def separating(self) -> list[int]:
        """The features with ranges that do not meet."""
        if not self._used:
            return []
        order = np.argsort(self._lowest, axis=0)
        lowest, highest = (np.take_along_axis(each, order, axis=0) for each in (self._lowest, self._highest))
        apart = np.all(highest[:-1] < lowest[1:], axis=0)
        return [int(feature) for feature in np.flatnonzero(apart)]


class _Groups:
    """Features with few values, at least three, that are constant within each sequence."""

    def __init__(self, width: int, num_sequences: int) -> None:
        self._most = num_sequences // 2
        self._values: dict[int, set[float]] = {feature: set() for feature in range(width)}

    def add(self, values: Float32[np.ndarray, "sequences features"], constant: np.ndarray) -> None:
        """Add sequences."""
        if not self._values:
            return
        stay = np.asarray(constant.all(axis=0))
        for feature in [*self._values]:
            if stay[feature]:
                self._values[feature].update(np.unique(values[:, feature]).tolist())
            if not stay[feature] or len(self._values[feature]) > self._most:
                del self._values[feature]

    def counts(self) -> dict[int, int]:
        """The number of values of each such feature."""
        return {feature: len(values) for feature, values in self._values.items() if len(values) > 2}


def _ranges(sequences: Sequences) -> Iterator[Ranges]:
    """The smallest and the largest value of each feature in each sequence, some sequences at a time."""
    values, lengths = sequences.values.numpy(), sequences.lengths.numpy()
    ends = np.cumsum(lengths)
    first = 0
    while first < len(lengths):
        start = ends[first] - lengths[first]
        last = max(first + 1, int(np.searchsorted(ends, start + _CHUNK // values.shape[1], side="right")))
        part, starts = values[start : ends[last - 1]], ends[first:last] - lengths[first:last] - start
        yield slice(first, last), np.minimum.reduceat(part, starts), np.maximum.reduceat(part, starts)
        first = last
