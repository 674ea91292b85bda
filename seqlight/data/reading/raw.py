"""What reading a file gives, whatever its format."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, Int64

Label = str | tuple[str, ...] | None


class DataError(ValueError):
    """A file that can't be used; names the file, the row or sequence, the column, and what was expected."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a table in long form: one row per time step.

    In a request, None means: guess it.

    Attributes:
        id: which sequence a row belongs to.
        step: what the rows of a sequence are sorted by; "": they keep their order.
        label: of a sequence; several columns of 0 and 1 for multilabel; None: there are no labels.
        features: numbers, or one column of tokens.
    """

    id: str | None = None
    step: str | None = None
    label: str | tuple[str, ...] | None = None
    features: tuple[str, ...] | None = None


@dataclass
class RawSequences:
    """N labelled sequences with S time steps in all, in the order of their first appearance in the file.

    Attributes:
        values: features, float32 (S, F), or positions in `tokens`, int32 (S,); sequences one after the other.
        tokens: the distinct tokens of the file as text, in the order of their first appearance; None for features.
        lengths: time steps of each sequence, int64 (N,), all at least 1.
        ids: distinct names of the sequences: as the file has them, or 0 to N-1.
        labels: for each sequence the name of its class, or for multilabel the names that hold; None for a sequence
            without. None if the file has none at all.
        label_names: multilabel from several columns or a 2-D array: all names, also those that never hold.
        columns: what was used of a table; None for formats without names of columns.
        guesses: what was guessed, a line each.
    """

    values: Float32[np.ndarray, "steps features"] | Int32[np.ndarray, " steps"]
    tokens: list[str] | None
    lengths: Int64[np.ndarray, " sequences"]
    ids: Sequence[str | int]
    labels: list[Label] | None
    label_names: tuple[str, ...] | None = None
    columns: Columns | None = None
    guesses: tuple[str, ...] = ()
