"""The rows of a CSV file, found without the limits of a parser: for messages about rows that it can't read."""

import functools
import re
from collections.abc import Iterator
from pathlib import Path

from seqlight.data.reading.compression import open_file
from seqlight.data.reading.place import shown
from seqlight.data.reading.raw import DataError

_OPEN_CELL = rb'"(?:[^"]++|"")*+\Z'
_LINE_ENDS = re.compile(rb"[\r\n]*+")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_CHUNK = 1 << 20  # bytes read at a time, at least


@functools.cache
def _patterns(separator: str) -> tuple["re.Pattern[bytes]", "re.Pattern[bytes]"]:
    """Patterns of a row, whose last cell may be open, and of a cell with the separator after it."""
    mark = re.escape(separator).encode()
    # A quote counts at the start of a cell only, and two of them inside a quoted cell stand for one.
    cell = rb'(?:"(?:[^"]++|"")*+"|(?!"))[^' + mark + rb"\r\n]*+"
    row = rb"(?P<others>(?:" + cell + mark + rb")*+)(?:(?P<open>" + _OPEN_CELL + rb")|" + cell + rb")"
    return re.compile(row), re.compile(cell + mark)


def check_rows(path: Path, longest: int, separator: str) -> None:
    """Look for a row that can't be read.

    Raises:
        DataError: a quote is not closed, or a row is longer than `longest` bytes, or has more or fewer cells than the
            header. It names the row, from 1 on below the header; empty lines do not count.
    """
    for number, row in enumerate(rows(path, longest, separator)):
        cells = count_cells(row, separator)
        if number == 0:
            expected = cells
        elif cells != expected:
            raise DataError(f"{path}: row {number}: expected {expected} cells, as in the header, got {cells}")


def header_size(path: Path, longest: int, separator: str) -> int:
    """The size of the header in bytes.

    Raises:
        DataError: as `rows`, for the header.
    """
    return len(next(rows(path, longest, separator))[0])


def count_cells(row: "re.Match[bytes]", separator: str) -> int:
    """The number of cells in a row."""
    return 1 + len(_patterns(separator)[1].findall(row["others"]))


def rows(path: Path, longest: int, separator: str = ",") -> Iterator["re.Match[bytes]"]:
    """The rows of a file from the header on; empty lines are left out.

    Raises:
        DataError: a quote is not closed, or a row is longer than `longest` bytes. It names the row.
    """
    row_pattern, _ = _patterns(separator)
    with open_file(path) as file:
        text, start, number = file.read(_CHUNK).removeprefix(_BYTE_ORDER_MARK), 0, 0
        while True:
            start = _LINE_ENDS.match(text, start).end()  # type: ignore[union-attr] # it matches the empty text
            row = row_pattern.match(text, start)
            assert row is not None  # it matches the empty text
            size = row.end() - start
            if row.end() == len(text) and size <= longest and (more := file.read(max(_CHUNK, size))):
                text, start = text[start:] + more, 0  # the row may go on
                continue
            where = f"{path}: row {number}" if number else f"{path}: the header"
            if row["open"] is not None:
                cell = shown(row["open"][:40].decode(errors="replace"))
                limit = f"within {longest} bytes" if size > longest else "before the end of the file"
                raise DataError(f"{where}: expected a closing quote {limit}, for the cell that begins with {cell}")
            if size > longest:
                raise DataError(f"{where}: expected a row of at most {longest} bytes, got a longer one")
            yield row
            if row.end() == len(text):
                return
            start, number = row.end(), number + 1
