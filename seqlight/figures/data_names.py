"""The names, the targets and the chosen sequences for a figure of data."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqlight.common.batch import Batch
from seqlight.common.label_per import LabelPer
from seqlight.common.steps import true_steps
from seqlight.common.text import encodable
from seqlight.data.datamodule import SequenceDataModule
from seqlight.data.encoded import EncodedSequences
from seqlight.data.sequences import Sequences
from seqlight.tasks.task import Target

_MOST_CLASSES, _MOST_SEQUENCES = 6, 12  # that are drawn


class DataNames(NamedTuple):
    """The kind of targets, and names.

    Attributes:
        target: the kind of target.
        classes: the names of classes or labels.
        features: the names of features, if they have names.
        tokens: the names of tokens, from index 0 on, if they have names.
        mean: the mean that was subtracted from each feature; None if none was.
        scale: the divisor of each feature.
        label_per: whether a sequence has a label, or each of its steps.
        target_mean, target_scale: for numbers as targets, what was subtracted and the divisor; None for no change.
        num_features: the number of features that were read, which come first; None for all. Others are not drawn.
    """

    target: Target
    classes: tuple[str, ...]
    features: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None
    num_features: int | None = None
    label_per: LabelPer = "sequence"
    target_mean: tuple[float, ...] | None = None
    target_scale: tuple[float, ...] | None = None

    @property
    def has_numbers(self) -> bool:
        """Whether targets are numbers, not classes or labels."""
        return self.target not in ("binary", "multiclass", "multilabel")


def names_of(data: SequenceDataModule) -> DataNames:
    """The names of a data module."""
    number = 2 if data.target == "binary" else data.num_outputs
    classes = tuple(map(encodable, data.class_names or ()))
    classes = classes if len(classes) == number else tuple(map(str, range(number)))
    if not isinstance(data, EncodedSequences):
        return DataNames(data.target, classes, label_per=data.label_per)._replace(**_units(data))
    encoding = data.encoding
    features = () if encoding.columns is None else encoding.columns.features or ()
    tokens = () if encoding.vocabulary is None else ("(unknown)", *encoding.vocabulary)
    return DataNames(
        data.target,
        classes,
        features,
        tokens,
        encoding.mean,
        encoding.scale,
        encoding.num_features,
        data.label_per,
    )._replace(**_units(data))


def _units(data: SequenceDataModule) -> dict[str, Any]:
    return {name: getattr(data, name, None) for name in ("target_mean", "target_scale")}


def numbers_of(data: Batch | Sequences, names: DataNames) -> np.ndarray:
    """The first number of each sequence, or of each step, in its own units; NaN if it is unknown."""
    targets = targets_of(data, names).double().cpu()
    first: np.ndarray = targets.reshape(len(targets), -1)[:, 0].numpy()
    if names.target_mean is not None and names.target_scale is not None:
        first = first * names.target_scale[0] + names.target_mean[0]
    return first


def counts_of(targets: Tensor, names: DataNames) -> np.ndarray:
    """The number of sequences of each class or label; zeros if targets are unknown."""
    number = len(names.classes)
    if names.has_numbers or not bool((targets >= 0).all()):
        return np.zeros(number, dtype=np.int64)
    if names.target == "multilabel":
        counts: np.ndarray = (targets > 0).sum(0).cpu().numpy()
        return counts
    return torch.bincount(targets.long().cpu(), minlength=number).numpy()


def targets_of(data: Batch | Sequences, names: DataNames) -> Tensor:
    """The targets of all sequences, or of their steps if each has one."""
    if isinstance(data, Sequences):
        return data.own_targets()
    return true_steps(data.targets, data.lengths) if names.label_per == "step" else data.targets


def chosen_rows(data: Batch | Sequences, names: DataNames) -> list[tuple[str, list[int]]]:
    """The most frequent classes, in their order, and the indices of some sequences of each, spread over the split."""
    if names.label_per == "step":
        return [("", _spread(torch.arange(len(data.lengths)), _MOST_CLASSES))]
    if names.has_numbers:
        numbers = numbers_of(data, names)
        order = _spread(torch.from_numpy(np.argsort(numbers, kind="stable")), _MOST_CLASSES + 3)
        return [(f"{numbers[row]:.3g}", [row]) for row in order]
    targets = data.targets.cpu()
    counts = counts_of(targets, names)
    present = sorted(np.argsort(-counts, kind="stable")[:_MOST_CLASSES].tolist())
    present = [place for place in present if counts[place]]
    if not present:  # unknown, or no label in any sequence
        return [("no label", list(range(min(3, len(targets)))))]
    each = min(_MOST_SEQUENCES // len(present), 4)
    groups = []
    for place in present:
        member = targets[:, place] > 0 if names.target == "multilabel" else targets.long() == place
        groups.append((names.classes[place], _spread(member.nonzero().flatten(), each)))
    return groups


def _spread(rows: Tensor, number: int) -> list[int]:
    """At most this many of the rows, from the first to the last."""
    chosen: list[int] = rows[torch.linspace(0, len(rows) - 1, min(number, len(rows))).long()].tolist()
    return chosen
