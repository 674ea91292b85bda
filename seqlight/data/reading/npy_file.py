"""The array of one sequence in a .npy file, as a table."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from seqlight.data.reading.place import reason
from seqlight.data.reading.raw import DataError
from seqlight.data.reading.table import Table

_ROWS = 1 << 16  # read at a time


def npy_table(path: Path, *, channels_first: bool = False) -> Table:
    """The table with the rows of an array; its columns are numbered from 1.

    Args:
        path: the file, with numbers or text (T, F) or (T,).
        channels_first: whether arrays with two dimensions are (F, T).

    Raises:
        DataError: it has no such array.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # this also checks its size
    except (ValueError, EOFError) as error:
        raise DataError(f"{path}: expected a NumPy array of numbers or text: {reason(error)}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufU" or array.ndim not in (1, 2):
        got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "several arrays"
        raise DataError(f"{path}: expected numbers or text of shape (T,) or (T, F), got {got}")
    array = array[:, None] if array.ndim == 1 else array.T if channels_first else array
    if array.shape[1] == 0:
        raise DataError(f"{path}: expected at least one feature in each step, got an array of shape {array.shape}")
    names = [str(number) for number in range(1, array.shape[1] + 1)]

    def batches(wanted: list[str]) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(array), _ROWS):
            rows = np.asarray(array[start : start + _ROWS])
            rows = rows.astype(rows.dtype.newbyteorder("="), copy=False)
            columns = [pa.array(np.ascontiguousarray(rows[:, int(name) - 1])) for name in wanted]
            yield pa.record_batch(columns, wanted)

    return Table(path, names, batches, estimate=lambda rows: max(rows, len(array)), typed=True)
