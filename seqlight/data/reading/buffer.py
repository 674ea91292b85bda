"""An array that grows at its end, in memory or in a file."""

import tempfile
import weakref
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import DTypeLike

from seqlight.data.reading import memory

_CHUNK = 1 << 14  # rows that are moved at a time


class Buffer:
    """A growing array of rows of one type.

    It is a flat NumPy array, enlarged in place (`realloc`), so that growing needs no second copy; or it is mapped to a
    temporary file without a name, whose pages the system reads and writes as they are needed.

    Args:
        path: the file being read, for the message when memory runs out.
        dtype: the type of an element.
        width: the number of elements in a row; None if the array has one dimension.
        num_rows: the number of rows to reserve.
        in_memory: whether the rows are in memory, or in a file.

    Raises:
        DataError: there is no room for the file.
    """

    def __init__(
        self, path: Path, dtype: DTypeLike, width: int | None = None, num_rows: int = 0, *, in_memory: bool = True
    ) -> None:
        self._path, self._width = path, width
        self._file: IO[bytes] | None = None
        if not in_memory:
            self._keep(tempfile.TemporaryFile(prefix="seqlight-"))  # noqa: SIM115 # closed with the buffer
        self._flat = np.empty(0, dtype)
        self._resize(num_rows * (width or 1))
        self._used = 0

    def __len__(self) -> int:
        return self._used // (self._width or 1)

    def reserve(self, num_rows: int) -> None:
        """Reserve `num_rows` rows in total. The system provides memory only when it is written."""
        size = max(num_rows * (self._width or 1), self._used)
        if self._file is not None:
            self._resize(size)
            return
        enlarged = np.empty(size, self._flat.dtype)
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
            memory.require((size - self._flat.size) * self._flat.itemsize, self._path, in_memory=self._file is None)
            self._resize(size)
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
            converted = Buffer(self._path, dtype, num_rows=self._used, in_memory=self._file is None)
            for start in range(0, self._used, _CHUNK):
                converted.append(self._flat[start : min(start + _CHUNK, self._used)])
            self._flat, file = converted._flat, converted._file
            if file is not None:
                converted._closer.detach()
                self._closer()
                self._keep(file)

    def finish(self) -> np.ndarray:
        """All rows, without the reserve. The buffer is empty afterwards."""
        flat, self._flat = self._flat, np.empty(0, self._flat.dtype)
        if self._file is not None:
            return self._shaped(np.asarray(flat)[: self._used])
        flat.resize(self._used, refcheck=False)
        return self._shaped(flat)

    def _keep(self, file: IO[bytes]) -> None:
        """Use this file until the buffer is no longer used. A mapping outlives its file."""
        self._file, self._closer = file, weakref.finalize(self, file.close)

    def _resize(self, size: int) -> None:
        """Make room for `size` elements. Earlier views are no longer used."""
        if self._file is None or size == 0:
            self._flat.resize(size, refcheck=False)
            return
        dtype = self._flat.dtype
        memory.reserve_file(self._file.fileno(), size * dtype.itemsize, self._path)
        self._flat = np.memmap(self._file, dtype, "r+", shape=(size,))

    def _shaped(self, flat: np.ndarray) -> np.ndarray:
        return flat if self._width is None else flat.reshape(-1, self._width)
