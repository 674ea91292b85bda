"""Positions and values in messages about files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqlight.data.reading.raw import DataError

Locate = Callable[[int], tuple[Path, int]]


@dataclass
class Place:
    """The position of a batch of rows in its file, or in files of a folder. Rows are counted from 1.

    Attributes:
        path: the file, or the folder.
        first_row: the number of the batch's first row.
        locate: the file of a row and its number there, for the rows of a folder.
    """

    path: Path
    first_row: int
    locate: Locate | None = None

    def of(self, index: int, column: str) -> str:
        """The position of the cell in row `index` of this batch, with the file."""
        path, row = self.row(index)
        return f"{path}: row {row}, column {shown(column)}"

    def row(self, index: int) -> tuple[Path, int]:
        """The file and the number of row `index` of this batch."""
        row = self.first_row + index
        return (self.path, row) if self.locate is None else self.locate(row)

    def error(self, index: int, column: str, expected: str, got: str, *hints: str) -> DataError:
        """An error about the cell in row `index` of this batch. Each hint is a line."""
        return DataError(
            f"{self.of(index, column)}: expected {expected}, got {got}" + ("." if any(hints) else ""), *hints
        )


def shown(value: object) -> str:
    """A value for a message: at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def reason(error: Exception) -> str:
    """The start of the first line of a library's error message."""
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def not_utf8(where: str, error: UnicodeDecodeError) -> DataError:
    """An error that names the first byte that is not UTF-8."""
    return DataError(f"{where}: expected text in UTF-8, got byte 0x{error.object[error.start]:02x}")


def first(flags: Any) -> int:
    """The index of the first True, or -1."""
    index = int(np.argmax(flags)) if len(flags) else 0
    return index if len(flags) and flags[index] else -1
