"""The encoding of files' sequences as tensors. It is learned from the training data and stored with the model."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqlight.common.text import one_line
from seqlight.common.validation import check_choice
from seqlight.data.reading.raw import Columns, DataError, Label, RawSequences
from seqlight.data.sequences import Sequences
from seqlight.tasks.task import Target

UNKNOWN = 0  # the index of all tokens that are not in the training data
_CHUNK = 65536  # time steps per computation in float64, to limit its memory


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
        val_split: seed and fraction of the validation split, if it was taken from the training file.
        val_groups: whether this split kept groups together.

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
    val_split: tuple[int, float] | None = None
    val_groups: bool = False

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
        values = self._encode_values(raw, path)
        starts = np.cumsum(raw.lengths) - raw.lengths
        targets = self._encode_targets(raw, path) if labelled else self._unknown_targets(len(raw.lengths))
        return Sequences(torch.from_numpy(values), torch.from_numpy(starts), torch.from_numpy(raw.lengths), targets)

    def _encode_values(self, raw: RawSequences, path: str) -> np.ndarray:
        values = raw.values
        got = f"{values.shape[1]} features" if raw.tokens is None else "tokens"
        expected = f"{self.num_features} features" if self.vocabulary is None else "tokens"
        if got != expected:
            raise DataError(f"{path}: expected {expected} a time step, as in the training data; got {got}")
        if raw.tokens is not None and self.vocabulary is not None:
            index = {token: place for place, token in enumerate(self.vocabulary, start=UNKNOWN + 1)}
            table = np.array([index.get(token, UNKNOWN) for token in raw.tokens], dtype=values.dtype)
            for chunk in _chunks(len(values)):
                values[chunk] = table[values[chunk]]
        elif self.mean is not None and self.scale is not None:
            mean, scale = np.array(self.mean), np.array(self.scale)
            for chunk in _chunks(len(values)):
                with np.errstate(over="ignore"):
                    values[chunk] = (values[chunk] - mean) / scale
                if not np.isfinite(values[chunk]).all():
                    raise DataError(
                        f"{path}: a feature is so far from its range in training that it can't be standardised"
                    )
        return values

    def _encode_targets(self, raw: RawSequences, path: str) -> Float[Tensor, "sequences *labels"] | Int[Tensor, "..."]:
        assert raw.labels is not None
        index = {name: place for place, name in enumerate(self.class_names)}
        rows: list[int] = []
        places: list[int] = []
        for row, label in enumerate(raw.labels):
            if isinstance(label, tuple) and len(label) != 1 and self.target != "multilabel":
                raise DataError(f"{path}, sequence {raw.ids[row]!r}: expected one label, got {list(label)}")
            for name in _names_of(label):
                if name not in index:
                    known = ", ".join(map(repr, self.class_names[:20])) + (", ..." if len(index) > 20 else "")
                    raise DataError(
                        f"{path}, sequence {raw.ids[row]!r}: label {name!r} is unknown; the training data have {known}"
                    )
                rows.append(row)
                places.append(index[name])
        if self.target == "multiclass":
            return torch.tensor(places, dtype=torch.int64)
        if self.target == "binary":
            return torch.tensor(places, dtype=torch.float32)
        from seqlight.data.reading import memory  # it imports psutil, which nothing else here needs

        memory.require(4 * len(raw.labels) * len(index), Path(path))
        targets = torch.zeros(len(raw.labels), len(index))
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
) -> SequenceEncoding:
    """Learn the encoding from training data.

    Args:
        raw: labelled sequences. The classes are learned from all of them.
        rows: the sequences from which vocabulary, mean, scale and class weights are learned.
        path: the file, for messages.
        target: as for `SequenceFiles`.
        standardise: whether features get mean 0 and standard deviation 1.
        class_weights: as for `SequenceFiles`.

    Raises:
        DataError: if there is nothing to learn, for example with only one class.
    """
    found, names = _learn_classes(raw, path, target)
    used = np.zeros(len(raw.lengths), dtype=bool)
    used[rows] = True
    steps = slice(None) if used.all() else np.repeat(used, raw.lengths)
    encoding: SequenceEncoding
    if raw.tokens is not None:
        tokens = np.unique(raw.values[steps])
        vocabulary = tuple(raw.tokens[token] for token in tokens)
        encoding = SequenceEncoding(found, names, vocabulary=vocabulary, columns=raw.columns)
    else:
        mean, scale = _moments(raw.values, steps) if standardise else (None, None)
        encoding = SequenceEncoding(
            found, names, num_features=raw.values.shape[1], mean=mean, scale=scale, columns=raw.columns
        )
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


def _learn_classes(raw: RawSequences, path: str, target: Target | Literal["auto"]) -> tuple[Target, tuple[str, ...]]:
    assert raw.labels is not None
    several = any(isinstance(label, tuple) for label in raw.labels)
    if several and target not in ("auto", "multilabel") and any(len(_names_of(label)) != 1 for label in raw.labels):
        raise DataError(f"{path}: sequences have several labels each, so the target can't be {target!r}")
    names = raw.label_names
    if names is None:
        names = tuple(sorted({name for label in raw.labels for name in _names_of(label)}, key=_numbers_first))
    if target == "multilabel" or (several and target == "auto"):
        if not names:
            raise DataError(f"{path}: no sequence has any label")
        return "multilabel", names
    if len(names) == 1:
        raise DataError(f"{path}: all sequences have the label {names[0]!r}; expected at least two classes")
    if len(names) > 50 and 2 * len(names) > len(raw.labels):
        raise DataError(
            f"{path}: {len(names)} different labels in {len(raw.labels)} sequences, "
            f"such as {names[0]!r} and {names[1]!r}; expected classes"
        )
    if target == "binary" and len(names) > 2:
        raise DataError(f"{path}: a binary target has two classes, got {len(names)}: {', '.join(names[:10])}")
    found: Target = "binary" if len(names) == 2 and target != "multiclass" else "multiclass"
    return found, names


def _names_of(label: Label) -> tuple[str, ...]:
    assert label is not None  # reading with labelled=True ensures it
    return label if isinstance(label, tuple) else (label,)


def _numbers_first(name: str) -> tuple[float, str]:
    try:
        number = float(name)
    except ValueError:
        number = math.inf
    return (math.inf if math.isnan(number) else number), name  # NaN can't be ordered


def _moments(
    values: Float[np.ndarray, "steps features"], steps: slice | np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each feature. For a constant feature the deviation is replaced by 1."""
    chosen = np.ones(len(values), dtype=bool) if isinstance(steps, slice) else steps
    count = np.count_nonzero(chosen)

    def mean_of(function: Callable[[np.ndarray], np.ndarray]) -> Float[np.ndarray, " features"]:
        blocks = (values[chunk][chosen[chunk]].astype(np.float64) for chunk in _chunks(len(values)))
        mean: np.ndarray = np.sum([function(block).sum(0) for block in blocks], axis=0) / count
        return mean

    mean = mean_of(lambda block: block)
    deviation = np.sqrt(mean_of(lambda block: (block - mean) ** 2))
    # A constant's deviation can differ from 0 by rounding.
    scale = np.where(deviation > 1e-7 * np.abs(mean), deviation, 1.0)
    return tuple(mean.tolist()), tuple(scale.tolist())


def _chunks(size: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, size, _CHUNK))
