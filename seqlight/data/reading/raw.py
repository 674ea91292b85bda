"""The result of reading a file, the same for all formats."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, Int64

from seqlight.common.errors import ShownError

Label = str | tuple[str, ...] | None


class DataError(ShownError, ValueError):
    """A file that can't be used. The message names the file, row or sequence, column, and what was expected."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a table in long form: one row per time step.

    In a request, None means that the column is guessed.

    Attributes:
        id: the column with the sequence that a row belongs to.
        step: the column that the rows of a sequence are sorted by; "" keeps their order.
        label: the column with the label of a sequence, or several columns of 0 and 1 for multilabel; None if there are
            no labels.
        features: columns of numbers, or one column of tokens.
    """

    id: str | None = None
    step: str | None = None
    label: str | tuple[str, ...] | None = None
    features: tuple[str, ...] | None = None


@dataclass
class RawSequences:
    """N sequences with S time steps in total, in the order of first appearance in the file.

    Attributes:
        values: features, float32 (S, F), or positions in `tokens`, int32 (S,); sequences one after the other.
        tokens: the distinct tokens of the file as text, in the order of first appearance; None for features.
        lengths: time steps of each sequence, int64 (N,), all at least 1.
        ids: distinct ids of the sequences: from the file, or 0 to N-1.
        labels: the class name of each sequence, or for multilabel the names of its labels; None for a sequence without
            a label. None if no sequence has a label.
        label_names: for multilabel from several columns or a 2-D array, all label names, even of labels that no
            sequence has.
        columns: the columns that were read; None for formats without column names.
        guesses: lines about what was guessed.
        groups: the group of each sequence, such as its subject; None if there are no groups.
    """

    values: Float32[np.ndarray, "steps features"] | Int32[np.ndarray, " steps"]
    tokens: list[str] | None
    lengths: Int64[np.ndarray, " sequences"]
    ids: Sequence[str | int]
    labels: list[Label] | None
    label_names: tuple[str, ...] | None = None
    columns: Columns | None = None
    guesses: tuple[str, ...] = ()
    groups: list[str] | None = None
