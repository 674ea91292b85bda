"""The result of reading a file, the same for all formats."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int32, Int64

from seqlight.common.errors import ShownError
from seqlight.common.label_per import LabelPer

Label = str | tuple[str, ...] | None


class DataError(ShownError, ValueError):
    """A file that can't be used. The message names the file, row or sequence, column, and what was expected."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a table in long form: one row per time step.

    In a request, None means that the column is guessed.

    Attributes:
        id: the column with the sequence that a row belongs to, or several columns that name it together.
        step: the column that the rows of a sequence are sorted by; "" keeps their order.
        label: the column with the label of a sequence, or several columns of 0 and 1 for multilabel; None if there are
            no labels.
        features: columns of numbers, or one column of tokens.
        left_out: columns that are not features, as those that number the rows. In a request, None means that they are
            found; else the other columns are those of a trained model, and that of the group can be missing.
        group: the column with the group of a sequence; None if there is none, also in a request.
    """

    id: str | tuple[str, ...] | None = None
    step: str | None = None
    label: str | tuple[str, ...] | None = None
    features: tuple[str, ...] | None = None
    left_out: tuple[str, ...] | None = None
    group: str | None = None


@dataclass
class RawSequences:
    """N sequences with S time steps in total, in the order of first appearance in the file.

    Attributes:
        values: features, float64 (S, F), or positions in `tokens`, int32 (S,); sequences one after the other.
        tokens: the distinct tokens of the file as text, in the order of first appearance; None for features.
        lengths: time steps of each sequence, int64 (N,), all at least 1.
        ids: distinct ids of the sequences: from the file, or 0 to N-1.
        labels: the class name of each sequence, or for multilabel the names of its labels; None for a sequence without
            a label. None if no sequence has a label. If each time step has a label, those of all S steps.
        label_names: for multilabel from several columns or a 2-D array, all label names, even of labels that no
            sequence has.
        label_vectors: the number of labels in a vector of 0 and 1, from which the labels were read; 0 if they are lists
            of names; None if they are neither.
        columns: the columns that were read; None for formats without column names.
        guesses: lines about what was guessed, for the training file; other files are read in the same way.
        remarks: lines about this file.
        groups: the group of each sequence; None if there is no column of groups.
        times: the first and the last step of each sequence, int64 or float64 (N, 2); None without a column of steps.
        time_unit: NumPy's unit of these steps since 1970, in UTC, as "ns"; None if they are numbers.
        elapsed: the time of each step since the first of its sequence, float64 (S,): in seconds if there is a
            `time_unit`; None if it was not asked for or is unknown.
        label_per: whether a sequence has a label, or each of its time steps.
        numbers: whether labels are numbers to predict, as text; a label is a tuple if a sequence has several.
        steps: the step of each row, int64 or float64 (S,), if each has a label; None without a column of steps.
    """

    values: Float64[np.ndarray, "steps features"] | Int32[np.ndarray, " steps"]
    tokens: list[str] | None
    lengths: Int64[np.ndarray, " sequences"]
    ids: Sequence[str | int]
    labels: list[Label] | None
    label_names: tuple[str, ...] | None = None
    label_vectors: int | None = None
    columns: Columns | None = None
    guesses: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    groups: list[str] | None = None
    times: Int64[np.ndarray, "sequences 2"] | Float64[np.ndarray, "sequences 2"] | None = None
    time_unit: str | None = None
    elapsed: Float64[np.ndarray, " steps"] | None = None
    label_per: LabelPer = "sequence"
    numbers: bool = False
    steps: Int64[np.ndarray, " steps"] | Float64[np.ndarray, " steps"] | None = None

    def place_of_label(self, row: int) -> str:
        """The sequence, and the step if each has a label, of an entry of `labels`, for messages."""
        if self.label_per == "sequence":
            return f"sequence {self.ids[row]!r}"
        ends = np.cumsum(self.lengths)
        sequence = int(np.searchsorted(ends, row, side="right"))
        return f"sequence {self.ids[sequence]!r}, step {row - (ends[sequence] - self.lengths[sequence]) + 1}"

    def sequence_labels(self) -> list[Label]:
        """The label of each sequence, by which a split is stratified.

        If each step has one, the most frequent in the sequence, of several the first. For numbers to predict, one of
        four ranges of the first number (its mean over steps), with a quarter of the sequences each.
        """
        assert self.labels is not None
        ends = np.cumsum(self.lengths)
        if self.numbers:
            firsts = np.array([float(label[0] if isinstance(label, tuple) else str(label)) for label in self.labels])
            if self.label_per == "step":
                firsts = np.add.reduceat(firsts, ends - self.lengths) / self.lengths
            return [str(place) for place in np.searchsorted(np.quantile(firsts, (0.25, 0.5, 0.75)), firsts).tolist()]
        if self.label_per == "sequence":
            return self.labels
        starts = (ends - self.lengths).tolist()
        return [most_frequent(self.labels[start:end]) for start, end in zip(starts, ends.tolist(), strict=True)]


def most_frequent(labels: Sequence[Label]) -> Label:
    """The most frequent label; of several, the one that comes first."""
    return Counter(labels).most_common(1)[0][0]
