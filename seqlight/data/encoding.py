"""The encoding of files' sequences as tensors. It is learned from the training data and stored with the model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqlight.common.text import one_line
from seqlight.common.validation import check_choice
from seqlight.data.classes import ClassIndex, learn_classes, names_of
from seqlight.data.digests import digests_of
from seqlight.data.reading.names import TRUTH, class_name
from seqlight.data.reading.raw import Columns, DataError, RawSequences
from seqlight.data.scale import chunks, moments, standardise
from seqlight.data.sequences import Sequences
from seqlight.data.validation_split import ValidationSplit
from seqlight.tasks.task import Target

UNKNOWN = 0  # the index of all tokens that are not in the training data


@dataclass(frozen=True)
class SequenceEncoding:
    """Classes, vocabulary or feature scale, and columns, learned from training data.

    Attributes:
        target: "binary", "multiclass" or "multilabel".
        class_names: the names of the two classes for binary, else of the classes or labels, in the order of indices.
        num_features: the number of features F of a time step, for numbers; else None.
        mean: each feature's mean, which is subtracted; None if features are not standardised.
        scale: the divisor of each feature, applied after the mean.
        vocabulary: the known tokens, with indices from 1; every other token has index 0. None for numbers.
        class_weights: the same as a data module's.
        columns: the columns of a table that were read; None for files without column names.
        val_split: the rule of the validation split, if it was taken from the training file; seed and fraction if an
            earlier version took it.
        longest: the number of time steps of the longest training sequence; None if an earlier version learned it.
        label_vectors: whether lists of labels are vectors of 0 and 1, as in `RawSequences`; None if there are none.

    Raises:
        ValueError: if the values contradict each other.
    """

    target: Target
    class_names: tuple[str, ...]
    num_features: int | None = None
    mean: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None
    vocabulary: tuple[str, ...] | None = None
    class_weights: tuple[float, ...] | None = None
    columns: Columns | None = None
    val_split: tuple[int, float] | ValidationSplit | None = None
    longest: int | None = None
    label_vectors: int | None = None

    def __post_init__(self) -> None:
        check_choice("target", self.target, ("binary", "multiclass", "multilabel"))
        names, tokens = self.class_names, self.vocabulary or ()
        if len(set(names)) < len(names) or len(names) < (1 if self.target == "multilabel" else 2):
            raise ValueError(f"class_names of a {self.target} target must be distinct, got {list(names[:20])}")
        if self.target == "binary" and len(names) != 2:
            raise ValueError(f"class_names of a binary target must be 2, got {len(names)}")
        if (self.num_features is None) == (self.vocabulary is None) or len(set(tokens)) < len(tokens):
            raise ValueError("an encoding must have either num_features or a vocabulary of distinct tokens")
        if (self.mean is None) != (self.scale is None):
            raise ValueError("an encoding must have both mean and scale, or neither")
        for name in ("mean", "scale"):
            values = getattr(self, name)
            if values is not None and (len(values) != self.num_features or not all(map(math.isfinite, values))):
                raise ValueError(f"{name} must be {self.num_features} finite numbers, got {list(values[:20])}")
        if self.scale is not None and not min(self.scale) > 0:
            raise ValueError(f"scale must be greater than 0, got {min(self.scale)}")
        if self.class_weights is not None and len(self.class_weights) != len(names):
            raise ValueError(
                f"class_weights must be {len(names)} numbers, one for each of {', '.join(map(one_line, names[:20]))}; "
                f"got {list(self.class_weights[:20])}"
            )

    @property
    def num_outputs(self) -> int:
        """1 for binary, else the number of classes or labels."""
        return 1 if self.target == "binary" else len(self.class_names)

    @property
    def input_size(self) -> int | None:
        """The number of features, under a data module's name for it."""
        return self.num_features

    @property
    def vocab_size(self) -> int | None:
        """The number of token indices, including 0 for unknown tokens."""
        return None if self.vocabulary is None else len(self.vocabulary) + 1

    def to_plain(self) -> dict[str, Any]:
        """The encoding as numbers, strings, lists and dicts."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "SequenceEncoding":
        """The inverse of `to_plain`.

        Raises:
            ValueError: if `plain` describes no encoding.
        """
        import msgspec  # it converts lists to tuples and is strict about all other types

        return msgspec.convert(plain, cls)

    def encode(self, raw: RawSequences, path: str, labelled: bool = True) -> Sequences:
        """The sequences of a file as tensors. The arrays in `raw` are changed in place, to save memory.

        Args:
            raw: the contents of the file.
            path: the file, for messages.
            labelled: whether to encode labels; if not, all targets are unknown.

        Raises:
            DataError: if the file does not fit the training data.
        """
        digests = digests_of(raw)
        values = self._encode_values(raw, path)
        starts = np.cumsum(raw.lengths) - raw.lengths
        targets = self._encode_targets(raw, path) if labelled else self._unknown_targets(len(raw.lengths))
        lengths = torch.from_numpy(raw.lengths)
        return Sequences(torch.from_numpy(values), torch.from_numpy(starts), lengths, targets, digests)

    def _encode_values(self, raw: RawSequences, path: str) -> np.ndarray:
        values = raw.values
        got = f"{values.shape[1]} features" if raw.tokens is None else "tokens"
        expected = f"{self.num_features} features" if self.vocabulary is None else "tokens"
        if got != expected:
            raise DataError(f"{path}: expected {expected} a time step, as in the training data; got {got}")
        if raw.tokens is not None and self.vocabulary is not None:
            index = {token: place for place, token in enumerate(self.vocabulary, start=UNKNOWN + 1)}
            table = np.array([index.get(token, UNKNOWN) for token in raw.tokens], dtype=values.dtype)
            for chunk in chunks(values):
                values[chunk] = table[values[chunk]]
            return values
        del values  # else its memory could not be used again
        return standardise(raw, self.mean, self.scale, path)

    def _encode_targets(self, raw: RawSequences, path: str) -> Float[Tensor, "sequences *labels"] | Int[Tensor, "..."]:
        assert raw.labels is not None
        classes = ClassIndex(self.class_names)
        rows: list[int] = []
        places: list[int] = []
        for row, label in enumerate(raw.labels):
            if isinstance(label, tuple) and len(label) != 1 and self.target != "multilabel":
                raise DataError(f"{path}, sequence {raw.ids[row]!r}: expected one label, got {list(label)}")
            for name in names_of(label):
                position = classes.get(name)
                if position is None:
                    raise DataError(f"{path}, sequence {raw.ids[row]!r}: {classes.unknown(name)}")
                rows.append(row)
                places.append(position)
        if self.target == "multiclass":
            return torch.tensor(places, dtype=torch.int64)
        if self.target == "binary":
            return torch.tensor(places, dtype=torch.float32)
        from seqlight.data.reading import memory  # it imports psutil, which nothing else here needs

        memory.require(4 * len(raw.labels) * len(self.class_names), Path(path))
        targets = torch.zeros(len(raw.labels), len(self.class_names))
        targets[rows, places] = 1
        return targets

    def _unknown_targets(self, size: int) -> Tensor:
        if self.target == "multiclass":
            return torch.full((size,), -1)
        return torch.full((size,) if self.target == "binary" else (size, self.num_outputs), torch.nan)


def learn_encoding(
    raw: RawSequences,
    rows: Int[np.ndarray, " rows"],
    path: str,
    *,
    target: Target | Literal["auto"] = "auto",
    standardise: bool = True,
    class_weights: Literal["balanced"] | Sequence[float] | None = None,
    positive_class: str | None = None,
) -> SequenceEncoding:
    """Learn the encoding from training data.

    Args:
        raw: labelled sequences. The classes are learned from all of them.
        rows: the sequences from which vocabulary, mean, scale and class weights are learned.
        path: the file, for messages.
        target: as for `SequenceFiles`.
        standardise: whether features get mean 0 and standard deviation 1.
        class_weights: as for `SequenceFiles`.
        positive_class: as for `SequenceFiles`.

    Raises:
        DataError: if there is nothing to learn, for example with only one class, or there is no such positive class.
    """
    found, names = learn_classes(raw, path, target)
    names = _positive_last(raw, path, names, found, positive_class)
    used = np.zeros(len(raw.lengths), dtype=bool)
    used[rows] = True
    steps = slice(None) if used.all() else np.repeat(used, raw.lengths)
    encoding: SequenceEncoding
    if raw.tokens is not None:
        tokens = np.unique(raw.values[steps])
        vocabulary = tuple(raw.tokens[token] for token in tokens)
        encoding = SequenceEncoding(
            found, names, vocabulary=vocabulary, columns=raw.columns, label_vectors=raw.label_vectors
        )
    else:
        mean, scale = moments(raw.values, steps) if standardise else (None, None)
        encoding = SequenceEncoding(
            found,
            names,
            num_features=raw.values.shape[1],
            mean=mean,
            scale=scale,
            columns=raw.columns,
            label_vectors=raw.label_vectors,
        )
    encoding = replace(encoding, longest=int(raw.lengths[rows].max()))
    if class_weights is None:
        return encoding
    weights = class_weights
    if class_weights == "balanced":
        weights = balanced_weights(encoding._encode_targets(raw, path)[torch.from_numpy(rows)], encoding)
    return replace(encoding, class_weights=tuple(map(float, weights)))


def balanced_weights(targets: Tensor, encoding: SequenceEncoding) -> tuple[float, ...]:
    """Weights that give each class the same influence: sequences / (classes * sequences of the class).

    For multilabel, the weight of a label that is 1: sequences without the label / sequences with it.
    """
    if encoding.target == "multilabel":
        positive = (targets > 0).sum(0).clamp(min=1)  # not of floats, which can't count beyond 2^24
        return tuple(((len(targets) - positive).clamp(min=1) / positive).tolist())
    counts = torch.bincount(targets.long(), minlength=len(encoding.class_names)).clamp(min=1)
    return tuple((len(targets) / (len(counts) * counts)).tolist())


def _positive_last(
    raw: RawSequences, path: str, names: tuple[str, ...], target: Target, positive: str | None
) -> tuple[str, ...]:
    """The classes of a binary target with the positive one last: by default true or 1, else the rarer one."""
    if target != "binary":
        if positive is not None:
            raise DataError(
                f"{path}: expected two classes for `positive_class={positive!r}`, got a {target} target, "
                f"{len(names)} {'labels' if target == 'multilabel' else 'classes'}"
            )
        return names
    assert raw.labels is not None
    if positive is None and [TRUTH.get(name.lower()) for name in names] == [False, True]:
        return names
    if positive is None:
        firsts = sum(names[0] in names_of(label) for label in raw.labels)
        return names if 2 * firsts >= len(raw.labels) else names[::-1]
    positive = class_name(positive)
    if positive not in names:
        raise DataError(
            f"{path}: expected one of the classes {names[0]!r} and {names[1]!r} as positive_class, got {positive!r}"
        )
    return names if positive == names[1] else names[::-1]
