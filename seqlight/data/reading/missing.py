"""Missing values among numbers: refused, or read as NaN."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seqlight.data.reading.arrow import is_text
from seqlight.data.reading.names import is_missing
from seqlight.data.reading.place import shown
from seqlight.data.reading.raw import DataError

MARKERS = r"^(?i:\s*(na|n/a|nan|null|none|nil|missing|\?|-|--|\.|#n/a|<na>)?\s*)$"  # empty cells, too
HINT = 'If values may be missing: `missing="mask"`'


def without_markers(column: pa.Array) -> pa.Array:
    """A column of text with null for each cell that marks a missing value, as `NA`, `?` or an empty cell."""
    if not is_text(column.type):
        return column
    marked = pc.match_substring_regex(column, MARKERS)
    return pc.if_else(marked, pa.scalar(None, column.type), column)


def without_objects(array: np.ndarray, place: str) -> np.ndarray:
    """An array of Python objects as numbers or text. NaN takes the place of None and of pandas' NA among numbers.

    Raises:
        DataError: there are other objects.
    """
    steps = array.reshape(-1).tolist()
    if all(isinstance(step, str) for step in steps):
        return array.astype(str)
    numbers = [np.nan if step is None or _is_na(step) else step for step in steps]
    for step in numbers:
        if not isinstance(step, int | float):
            raise DataError(f"{place}: expected numbers or text, got {shown(step)}")
    return np.asarray(numbers, np.float64 if any(isinstance(step, float) for step in numbers) else np.int64).reshape(
        array.shape
    )


def is_missing_value(value: object) -> bool:
    """Whether a value is missing: None, NaN, or pandas' NA, which can't be compared."""
    return _is_na(value) or is_missing(value)


def _is_na(value: object) -> bool:
    return type(value).__name__ in ("NAType", "NaTType")
