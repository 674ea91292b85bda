"""An array in a NumPy archive, read in parts after its header has been checked."""

import math
import tokenize
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqlight.data.reading import memory
from seqlight.data.reading.place import reason
from seqlight.data.reading.raw import DataError

_CHUNK = 1 << 22  # bytes of an array read at a time
_LONGEST_HEADER = 10_000  # bytes; NumPy's own limit


@dataclass
class Member:
    """An array in the archive. Only its header has been read."""

    path: Path
    name: str
    archive: zipfile.ZipFile
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool

    def error(self, expected: str, got: object, hint: str = "") -> DataError:
        """An error about the array."""
        return DataError(f"{self.path}: {self.name}: expected {expected}, got {got}", hint)

    def read(self) -> np.ndarray:
        """The whole array."""
        memory.require(math.prod(self.shape) * self.dtype.itemsize, self.path)
        with self.archive.open(f"{self.name}.npy") as file:
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))

    def chunks(self) -> Iterator[np.ndarray]:
        """The array in chunks of rows; in one chunk if it is stored in Fortran order."""
        if self.fortran:
            yield self.read()
            return
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        num_rows = max(_CHUNK // size, 1)
        if num_rows == 1:
            memory.require(2 * size, self.path)  # a whole row is read, with its padding
        with self.archive.open(f"{self.name}.npy") as file:
            _header(file)
            for start in range(0, self.shape[0], num_rows):
                num_rows = min(num_rows, self.shape[0] - start)
                data = file.read(num_rows * size)
                if len(data) < num_rows * size:
                    raise EOFError("an array ends early")
                yield np.frombuffer(data, self.dtype).reshape(num_rows, *self.shape[1:])


def read_member(path: Path, archive: zipfile.ZipFile, name: str) -> Member:
    """The header of an array.

    Raises:
        DataError: it holds objects, or is not as large as its header says.
    """
    size = archive.getinfo(f"{name}.npy").file_size
    with archive.open(f"{name}.npy") as file:
        try:
            shape, fortran, dtype = _header(file)
        except (ValueError, tokenize.TokenError) as error:
            raise DataError(f"{path}: {name}: expected a NumPy array: {reason(error)}") from None
        if dtype.hasobject:
            ragged = "; sequences of unequal length padded, with an array 'lengths'" if name == "inputs" else ""
            raise DataError(
                f"{path}: {name}: expected numbers or text, got pickled objects, which are not opened.",
                f"Save text as {name}.astype(str), numbers as {name}.astype(float){ragged}",
            )
        declared = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or declared != size - file.tell():
            raise DataError(
                f"{path}: {name}: expected an array as large as its header says, {shape} of {dtype}, {declared} bytes, "
                f"got {size - file.tell()} bytes"
            )
    return Member(path, name, archive, dtype, shape, fortran)


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    # NumPy would read the whole header before it checks the length.
    if version != (1, 0) and int.from_bytes(file.peek(4)[:4], "little") > _LONGEST_HEADER:
        raise ValueError("its header is too long")
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = reader(file)
    return tuple(shape), bool(fortran), dtype
