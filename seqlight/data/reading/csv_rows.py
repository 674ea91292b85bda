"""The rows of a CSV file, found without the limits of a parser: for messages about rows that it can't read."""

import re
from collections.abc import Iterator
from pathlib import Path

from seqlight.data.reading.place import shown
from seqlight.data.reading.raw import DataError

# A quote counts at the start of a cell only, and two of them inside a quoted cell stand for one.
_CELL = rb'(?:"(?:[^"]++|"")*+"|(?!"))[^,\r\n]*+'
_OPEN_CELL = rb'"(?:[^"]++|"")*+\Z'
_ROW = re.compile(rb"(?P<others>(?:" + _CELL + rb",)*+)(?:(?P<open>" + _OPEN_CELL + rb")|" + _CELL + rb")")
_CELL_AND_COMMA = re.compile(_CELL + rb",")
_LINE_ENDS = re.compile(rb"[\r\n]*+")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_CHUNK = 1 << 20  # bytes read at a time, at least


def check_rows(path: Path, longest: int) -> None:
    """Look for a row that can't be read.

    Raises:
        DataError: a quote is not closed, or a row is longer than `longest` bytes, or has more or fewer cells than the
            header. It names the row, from 1 on below the header; empty lines do not count.
    """
    for number, row in enumerate(_rows(path, longest)):
        cells = 1 + len(_CELL_AND_COMMA.findall(row["others"]))
        if number == 0:
            expected = cells
        elif cells != expected:
            raise DataError(f"{path}: row {number}: expected {expected} cells, as in the header, got {cells}")


def header_size(path: Path, longest: int) -> int:
    """The size of the header in bytes.

    Raises:
        DataError: as `check_rows`, for the header.
    """
    return len(next(_rows(path, longest))[0])


def _rows(path: Path, longest: int) -> Iterator["re.Match[bytes]"]:
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
