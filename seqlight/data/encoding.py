"""The encoding of files' sequences as tensors. It is learned from the training data and stored with the model."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from seqlight.common.label_per import LabelPer
from seqlight.common.text import one_line
from seqlight.common.validation import check_choice
from seqlight.data.channels import Channels
from seqlight.data.digests import digests_of
from seqlight.data.reading.options import Missing
from seqlight.data.reading.raw import Columns, DataError, RawSequences
from seqlight.data.scale import chunks, standardise
from seqlight.data.sequences import Sequences
from seqlight.data.targets import encode_targets, unknown_targets
from seqlight.data.validation_split import ValidationSplit
from seqlight.tasks.task import TARGETS, Target

UNKNOWN = 0  # the index of all tokens that are not in the training data


@dataclass(frozen=True)
class SequenceEncoding:
    """Classes, vocabulary or feature scale, and columns, learned from training data.

    Attributes:
        target: "binary", "multiclass" or "multilabel".
        class_names: the names of the two classes for binary, else of the classes, labels or numbers, in the order of
            indices.
        num_features: the number of features of a time step that are read, for numbers; else None.
        mean: each feature's mean, which is subtracted; None if features are not standardised.
        scale: the divisor of each feature, applied after the mean.
        vocabulary: the known tokens, with indices from 1; every other token has index 0. None for numbers.
        class_weights: the same as a data module's.
        columns: the columns of a table that were read; None for files without column names.
        val_split: the rule of the validation split, if it was taken from the training file; seed and fraction if an
            earlier version took it.
        longest: the number of time steps of the longest training sequence; None if an earlier version learned it.
        label_vectors: whether lists of labels are vectors of 0 and 1, as in `RawSequences`; None if there are none.
        channels: what is done with missing values, and the channels that are added; None for neither.
        label_per: whether a sequence has a label, or each of its time steps.
        target_mean: for regression, the mean of each number, which is subtracted.
        target_scale: the divisor of each number, applied after the mean.

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
    channels: Channels | None = None
    label_per: LabelPer = "sequence"
    target_mean: tuple[float, ...] | None = None
    target_scale: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check_choice("target", self.target, TARGETS)
        check_choice("label_per", self.label_per, ("sequence", "step"))
        names, tokens = self.class_names, self.vocabulary or ()
        if len(set(names)) < len(names) or len(names) < (1 if self.target in ("multilabel", "regression") else 2):
            raise ValueError(f"class_names of a {self.target} target must be distinct, got {list(names[:20])}")
        if self.target == "binary" and len(names) != 2:
            raise ValueError(f"class_names of a binary target must be 2, got {len(names)}")
        if (self.num_features is None) == (self.vocabulary is None) or len(set(tokens)) < len(tokens):
            raise ValueError("an encoding must have either num_features or a vocabulary of distinct tokens")
        if (self.mean is None) != (self.scale is None):
            raise ValueError("an encoding must have both mean and scale, or neither")
        if (self.target == "regression") != (self.target_mean is not None) or (self.target_scale is None) != (
            self.target_mean is None
        ):
            raise ValueError("an encoding must have both target_mean and target_scale for regression, else neither")
        for name in ("target_mean", "target_scale"):
            values = getattr(self, name)
            if values is not None and (len(values) != len(names) or not all(map(math.isfinite, values))):
                raise ValueError(f"{name} must be {len(names)} finite numbers, got {list(values[:20])}")
        if self.target_scale is not None and not min(self.target_scale) > 0:
            raise ValueError(f"target_scale must be greater than 0, got {min(self.target_scale)}")
        for name in ("mean", "scale"):
            values = getattr(self, name)
            if values is not None and (len(values) != self.num_features or not all(map(math.isfinite, values))):
                raise ValueError(f"{name} must be {self.num_features} finite numbers, got {list(values[:20])}")
        if self.scale is not None and not min(self.scale) > 0:
            raise ValueError(f"scale must be greater than 0, got {min(self.scale)}")
        fill = None if self.channels is None else self.channels.fill
        if fill is not None and len(fill) != self.num_features:
            raise ValueError(f"the fill of channels must be {self.num_features} numbers, got {len(fill)}")
        if self.class_weights is not None and len(self.class_weights) != len(names):
            raise ValueError(
                f"class_weights must be {len(names)} numbers, one for each of {', '.join(map(one_line, names[:20]))}; "
                f"got {list(self.class_weights[:20])}"
            )

    @property
    def num_outputs(self) -> int:
        """1 for binary, else the number of classes, labels or numbers."""
        return 1 if self.target == "binary" else len(self.class_names)

    @property
    def input_size(self) -> int | None:
        """The number of features of a time step as the model reads it, with added channels; None for tokens."""
        added = 0 if self.channels is None else self.channels.width
        return None if self.num_features is None else self.num_features + added

    @property
    def missing(self) -> Missing:
        """Whether values may be missing, as for `SequenceFiles`."""
        return "refuse" if self.channels is None or self.channels.fill is None else "mask"

    @property
    def time_delta(self) -> bool:
        """Whether the time since the step before is a channel."""
        return self.channels is not None and self.channels.delta is not None

    @property
    def has_order(self) -> bool:
        """Whether there are several features, so that their order matters."""
        return (self.num_features or 0) > 1

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
        size = len(values) if self.label_per == "step" else len(raw.lengths)
        targets = encode_targets(self, raw, path) if labelled else unknown_targets(self, size)
        lengths = torch.from_numpy(raw.lengths)
        return Sequences(torch.from_numpy(values), torch.from_numpy(starts), lengths, targets, digests, self.label_per)

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
        if self.channels is None:
            return standardise(raw, self.mean, self.scale, path)
        added = self.channels.add(raw, path)
        numbers = standardise(raw, self.mean, self.scale, path)
        return np.hstack([numbers, added]) if added.size else numbers
