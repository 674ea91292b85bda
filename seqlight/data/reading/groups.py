"""The group of each sequence of a table, such as the subject it comes from."""

import numpy as np
import pyarrow as pa
from jaxtyping import Int32

from seqlight.data.reading.codes import Codes
from seqlight.data.reading.place import Place, first, shown


class Groups:
    """The groups of sequences, read batch by batch. A group must be the same in all rows of a sequence.

    Args:
        column: the column with the group.
    """

    def __init__(self, column: str) -> None:
        self._column = column
        self._names = Codes()
        self._group_of_sequence = np.full(0, -1, np.int32)

    def append(
        self, batch: pa.RecordBatch, sequences: Int32[np.ndarray, " rows"], ids: list[str], place: Place
    ) -> None:
        """Add rows that belong to the given sequences, whose ids are listed.

        Raises:
            DataError: a group is missing, or differs from an earlier row's.
        """
        groups = self._names.encode(batch[self._column])
        if (index := first(groups < 0)) >= 0:
            raise place.error(index, self._column, "the group of the sequence", "an empty cell")
        if len(ids) > len(self._group_of_sequence):
            more = max(len(ids), 2 * len(self._group_of_sequence)) - len(self._group_of_sequence)
            self._group_of_sequence = np.append(self._group_of_sequence, np.full(more, -1, np.int32))
        new = np.flatnonzero(self._group_of_sequence[sequences] < 0)
        # Backwards, because the last assignment to a sequence wins.
        self._group_of_sequence[sequences[new[::-1]]] = groups[new[::-1]]
        wrong = first(self._group_of_sequence[sequences] != groups)
        if wrong >= 0:
            names, before = self._names.texts, self._group_of_sequence[sequences[wrong]]
            raise place.error(
                wrong,
                self._column,
                f"the same group in all rows of sequence {shown(ids[sequences[wrong]])}",
                f"{shown(names[groups[wrong]])} after {shown(names[before])}",
            )

    def finish(self, num_sequences: int) -> list[str]:
        """The group of each sequence."""
        names = self._names.texts
        return [names[group] for group in self._group_of_sequence[:num_sequences].tolist()]


def group_texts(batch: pa.RecordBatch, column: str, place: Place) -> list[str]:
    """The group of each row, for tables with a row for each sequence.

    Raises:
        DataError: a group is missing.
    """
    names = Codes()
    codes = names.encode(batch[column])
    if (index := first(codes < 0)) >= 0:
        raise place.error(index, column, "the group of the sequence", "an empty cell")
    return [names.texts[code] for code in codes.tolist()]
