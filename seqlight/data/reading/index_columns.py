"""Columns that number the rows of a table. A class that comes after another can be told by them alone."""

import re

import numpy as np
from jaxtyping import Float64, Int64

# As pandas and R write an index, and as they name it when they read it again.
_NAMES = re.compile(r"|Unnamed: \d+(\.\d+)*|__index_level_\d+__|level_0|\.\.\.1|row[._ ]?names?", re.IGNORECASE)
_FEWEST = 10  # rows; in fewer, numbers can follow each other by chance


def is_index_name(name: str) -> bool:
    """Whether a column's name is one that pandas or R give to an index."""
    return _NAMES.fullmatch(name.strip()) is not None


class RowCounters:
    """Finds the columns whose numbers rise by one from each row to the next, over the whole file."""

    def __init__(self) -> None:
        self._columns: Int64[np.ndarray, " columns"] | None = None
        self._last = np.empty(0)
        self._num_rows = 0

    def add(self, rows: Float64[np.ndarray, "rows columns"]) -> None:
        """Add the next rows."""
        if self._columns is None:
            self._columns = np.arange(rows.shape[1])
            self._last = rows[0] - 1
        for part in (rows[:2], rows):  # nearly all columns are ruled out by the first rows
            if not len(self._columns):
                return
            numbers = np.vstack([self._last, part[:, self._columns]])
            counts = (np.diff(numbers, axis=0) == 1).all(axis=0)
            self._columns, self._last = self._columns[counts], self._last[counts]
        self._last = rows[-1, self._columns]
        self._num_rows += len(rows)

    def found(self) -> list[int]:
        """The numbers of these columns."""
        return [] if self._columns is None or self._num_rows < _FEWEST else self._columns.tolist()
