"""The rows of a CSV file, found without the limits of a parser: for messages about rows that it can't read."""

import re
from collections.abc import Iterator
from pathlib import Path

from seqlight.data.reading.place import shown
from seqlight.data.reading.raw import DataError

# A quote counts at the start of a cell only, and two of them inside a quoted cell stand for one.
_CELL = rb'(?:"(?:[^"]++|"")*+"|(?!"))[^,\r\n]*+'
_OPEN_CELL = rb'"(?:[^"]++|"")*+\Z'
_ROW = re.compile(rb"(?:" + _CELL + rb",)*+(?:(" + _OPEN_CELL + rb")|" + _CELL + rb")")
_LINE_ENDS = re.compile(rb"[\r\n]*+")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_CHUNK = 1 << 20  # bytes read at a time, at least


def check_rows(path: Path, longest: int) -> None:
    """Look for a row that can't be read.

    Raises:
        DataError: a quote is not closed, or a row is longer than `longest` bytes. It names the row, from 1 on below the
            header; empty lines do not count.
    """
    for _ in _row_sizes(path, longest):
        pass


def header_size(path: Path, longest: int) -> int:
    """The size of the header in bytes.

    Raises:
        DataError: as `check_rows`, for the header.
    """
    return next(_row_sizes(path, longest))


def _row_sizes(path: Path, longest: int) -> Iterator[int]:
    with open(path, "rb") as file:
        text, start, number = file.read(_CHUNK).removeprefix(_BYTE_ORDER_MARK), 0, 0
        while True:
            start = _LINE_ENDS.match(text, start).end()  # type: ignore[union-attr] # it matches the empty text
            row = _ROW.match(text, start)
            assert row is not None  # it matches the empty text
            size = row.end() - start
            if row.end() == len(text) and size <= longest and (more := file.read(max(_CHUNK, size))):
                text, start = text[start:] + more, 0  # the row may go on
                continue
            where = f"{path}: row {number}" if number else f"{path}: the header"
            if row[1] is not None:
                cell = shown(row[1][:40].decode(errors="replace"))
                limit = f"within {longest} bytes" if size > longest else "before the end of the file"
                raise DataError(f"{where}: expected a closing quote {limit}, for the cell that begins with {cell}")
            if size > longest:
                raise DataError(f"{where}: expected a row of at most {longest} bytes, got a longer one")
            yield size
            if row.end() == len(text):
                return
            start, number = row.end(), number + 1
