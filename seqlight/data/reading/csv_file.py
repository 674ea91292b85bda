"""CSV files: commas, a header, UTF-8."""

import csv
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
from pyarrow import csv as arrow_csv

from seqlight.data.reading.csv_rows import check_rows, header_size
from seqlight.data.reading.options import Options
from seqlight.data.reading.place import not_utf8, reason, shown
from seqlight.data.reading.progress import progress
from seqlight.data.reading.raw import Columns, DataError, RawSequences
from seqlight.data.reading.table import Table, read_table

_BLOCK = 1 << 20  # bytes read at a time; more for a wide table, since a batch costs time for each column
_LARGEST_BLOCK = 1 << 26


def read_csv(path: Path, columns: Columns, options: Options) -> RawSequences:
    """Read a table from a CSV file, with or without a byte-order mark.

    Raises:
        DataError: the file can't be used; the message gives the reason.
    """
    size = os.path.getsize(path)
    block = min(max(_BLOCK, 32 * header_size(path, _LARGEST_BLOCK)), _LARGEST_BLOCK)

    def batches(wanted: list[str]) -> Iterator[pa.RecordBatch]:
        # A row is added at the end. If a quote before it is not closed, it becomes a part of that cell.
        end, place = secrets.token_hex(16), names.index(wanted[0])
        last_row = "," * place + end + "," * (len(names) - 1 - place)
        with open(path, "rb") as file, progress(path, size) as bar:
            # All columns are read as text, so that a message can name the row of a cell that is not a number.
            reader = arrow_csv.open_csv(
                _WithLastRow(file, last_row),
                arrow_csv.ReadOptions(use_threads=False, block_size=block),
                arrow_csv.ParseOptions(newlines_in_values=True),
                arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), include_columns=wanted, strings_can_be_null=False
                ),
            )
            held_back = None
            for batch in reader:
                if held_back is not None:
                    yield held_back
                    held_back = None
                if batch.num_rows:
                    held_back = batch
                bar.update(file.tell() - bar.n)
            if held_back is None or held_back[wanted[0]][-1].as_py() != end:
                check_rows(path, block)
                raise DataError(f"{path}: expected a closing quote before the end of the file")
            yield held_back[:-1]

    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            names = next(csv.reader(file), [])
        if len(names) == 1 and (other := next((mark for mark in ";\t|" if mark in names[0]), None)):
            raise DataError(f"{path}: expected commas between columns, got {other!r} in the header, {shown(names[0])}")
        table = Table(
            path,
            names,
            batches,
            estimate=lambda rows: rows * size // block * 51 // 50 if size > block else rows,
            typed=False,
        )
        return read_table(table, columns, options)
    except UnicodeDecodeError:
        raise _first_not_utf8(path) from None
    except csv.Error as error:
        raise DataError(f"{path}: expected the names of columns in the first row: {reason(error)}") from None
    except pa.ArrowException as error:
        if "invalid UTF8" in str(error):
            raise _first_not_utf8(path) from None
        check_rows(path, block)
        raise DataError(f"{path}: can't be read as CSV: {reason(error)}") from None


class _WithLastRow:
    """A file with one more row at its end."""

    closed = False

    def __init__(self, file: BinaryIO, row: str) -> None:
        self._file, self._row = file, f"\n{row}\n".encode()

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`."""
        data = self._file.read(size)
        if not data:
            data, self._row = self._row[:size], self._row[size:]
        return data


def _first_not_utf8(path: Path) -> DataError:
    with open(path, "rb") as file:
        for number, line in enumerate(file):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return not_utf8(f"{path}: " + (f"row {number}" if number else "the header"), error)
    return DataError(f"{path}: expected text in UTF-8")
