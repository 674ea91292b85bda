"""An array that grows at its end."""

from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from seqlight.data.reading import memory

_CHUNK = 1 << 14  # rows that are moved at a time


class Buffer:
    """A growing array of rows of one type.

    It is a flat NumPy array, enlarged in place (`realloc`), so that growing needs no second copy.

    Args:
        path: the file being read, for the message when memory runs out.
        dtype: the type of an element.
        width: the number of elements in a row; None if the array has one dimension.
        num_rows: the number of rows to reserve.
    """

    def __init__(self, path: Path, dtype: DTypeLike, width: int | None = None, num_rows: int = 0) -> None:
        self._path, self._width = path, width
        self._flat = np.empty(num_rows * (width or 1), dtype)
        self._used = 0

    def __len__(self) -> int:
        return self._used // (self._width or 1)

    def reserve(self, num_rows: int) -> None:
        """Reserve `num_rows` rows in total. The system provides memory only when it is written."""
        enlarged = np.empty(max(num_rows * (self._width or 1), self._used), self._flat.dtype)
        enlarged[: self._used] = self._flat[: self._used]
        self._flat = enlarged

    def extend(self, num_rows: int) -> np.ndarray:
        """Add rows for the caller to fill. The returned view is valid until the next call.

        Raises:
            DataError: memory runs out.
        """
        start, end = self._used, self._used + num_rows * (self._width or 1)
        if end > self._flat.size:
            size = max(end, self._flat.size * 5 // 4)
            memory.require((size - self._flat.size) * self._flat.itemsize, self._path)
            self._flat.resize(size, refcheck=False)  # earlier views are no longer used
        self._used = end
        return self._shaped(self._flat[start:end])

    def append(self, rows: np.ndarray) -> None:
        """Add `rows` at the end."""
        self.extend(len(rows))[...] = rows

    def select(self, columns: list[int]) -> None:
        """Keep these columns of all rows, in place."""
        rows, width = self._shaped(self._flat[: self._used]), len(columns)
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK][:, columns]
            self._flat[start * width : (start + len(chunk)) * width] = chunk.reshape(-1)
        self._used, self._width = len(rows) * width, width

    def convert(self, dtype: DTypeLike) -> None:
        """Change the type of all rows."""
        if self._flat.dtype != dtype:
            self._flat = self._flat.astype(dtype)

    def finish(self) -> np.ndarray:
        """All rows, without the reserve. The buffer is empty afterwards."""
        flat, self._flat = self._flat, np.empty(0, self._flat.dtype)
        flat.resize(self._used, refcheck=False)
        return self._shaped(flat)

    def _shaped(self, flat: np.ndarray) -> np.ndarray:
        return flat if self._width is None else flat.reshape(-1, self._width)
