"""CSV files: cells between commas or other marks, a header, UTF-8, perhaps compressed."""

import contextlib
import csv
import gzip
import io
import os
import secrets
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow import csv as arrow_csv

from seqlight.data.reading.columns import is_headerless
from seqlight.data.reading.compression import contents_size, open_file, position
from seqlight.data.reading.csv_rows import check_rows, header_size
from seqlight.data.reading.csv_separator import separator_of
from seqlight.data.reading.options import Options
from seqlight.data.reading.place import not_utf8, reason
from seqlight.data.reading.progress import progress
from seqlight.data.reading.raw import Columns, DataError, RawSequences
from seqlight.data.reading.table import Table, read_table
from seqlight.data.reading.wide import read_wide

_BLOCK = 1 << 20  # bytes read at a time; more for a wide table, since a batch costs time for each column
_LARGEST_BLOCK = 1 << 26


def read_csv(path: Path, columns: Columns, options: Options) -> RawSequences:
    """Read a table from a CSV file, with or without a byte-order mark.

    Raises:
        DataError: the file can't be used; the message gives the reason.
    """
    wide = options.layout == "wide"
    table = csv_table(path, fewest_unnamed=2 if wide else None)
    with _faults(path, table.separator):
        return (read_wide if wide else read_table)(table, columns, options)


def csv_table(path: Path, *, fewest_unnamed: int | None = None, separator: str | None = None) -> Table:
    """The table in a CSV file.

    Args:
        path: the file.
        fewest_unnamed: so many columns, or more, have no names if the first row has numbers only; None if they always
            have names.
        separator: what is between columns; None finds it.

    Raises:
        DataError: the header can't be used.
    """
    remarks: tuple[str, ...] = ()
    with _faults(path, separator or ","):
        if separator is None:
            separator, remarks = separator_of(path, _LARGEST_BLOCK)
        size = contents_size(path)
        block = min(max(_BLOCK, 32 * header_size(path, _LARGEST_BLOCK, separator)), _LARGEST_BLOCK)
        with (
            open_file(path) as binary,
            io.TextIOWrapper(binary, newline="", encoding="utf-8-sig") as file,  # type: ignore[type-var]
        ):
            names = next(filter(None, csv.reader(file, delimiter=separator)), [])
    first_row = names if fewest_unnamed and is_headerless(names, fewest_unnamed) else None
    if first_row:
        names = [str(number) for number in range(1, len(names) + 1)]
    return Table(
        path,
        names,
        lambda wanted: _batches(path, names, wanted, separator, block, headerless=first_row is not None),
        estimate=lambda rows: rows * size // block * 51 // 50 if size > block else rows,
        typed=False,
        first_row=first_row,
        separator=separator,
        remarks=remarks,
    )


def _batches(
    path: Path, names: list[str], wanted: list[str], separator: str, block: int, *, headerless: bool
) -> Iterator[pa.RecordBatch]:
    """Batches of rows with the wanted columns, all as text."""
    # A row is added at the end. If a quote before it is not closed, it becomes a part of that cell.
    end, place = secrets.token_hex(16), names.index(wanted[0])
    last_row = separator * place + end + separator * (len(names) - 1 - place)
    with (
        _faults(path, separator, block),
        open_file(path) as file,
        progress(path, os.path.getsize(path)) as bar,
    ):
        # All columns are read as text, so that a message can name the row of a cell that is not a number.
        reader = arrow_csv.open_csv(
            _WithLastRow(file, last_row),
            arrow_csv.ReadOptions(use_threads=False, block_size=block, column_names=names if headerless else None),
            arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True),
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
            bar.update(position(file) - bar.n)
        if held_back is None or held_back[wanted[0]][-1].as_py() != end:
            check_rows(path, block, separator)
            raise DataError(f"{path}: expected a closing quote before the end of the file")
        yield held_back[:-1]


@contextlib.contextmanager
def _faults(path: Path, separator: str, longest: int = _LARGEST_BLOCK) -> Iterator[None]:
    """Turn exceptions of libraries into a DataError that says where the file is wrong.

    Args:
        path: the file.
        separator: what is between columns.
        longest: the largest size of a row in bytes.
    """
    try:
        try:
            yield
        except UnicodeDecodeError:
            raise _first_not_utf8(path) from None
        except csv.Error as error:
            raise DataError(f"{path}: expected the names of columns in the first row: {reason(error)}") from None
        except pa.ArrowException as error:
            if "invalid UTF8" in str(error):
                raise _first_not_utf8(path) from None
            check_rows(path, longest, separator)
            raise DataError(f"{path}: can't be read as CSV: {reason(error)}") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: expected a whole file as gzip writes it: {reason(error)}") from None


class _WithLastRow:
    """A file with one more row at its end."""

    closed = False

    def __init__(self, file: io.BufferedIOBase, row: str) -> None:
        self._file, self._row = file, f"\n{row}\n".encode()

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`."""
        data = self._file.read(size)
        if not data:
            data, self._row = self._row[:size], self._row[size:]
        return data


def _first_not_utf8(path: Path) -> DataError:
    with open_file(path) as file:
        for number, line in enumerate(file):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return not_utf8(f"{path}: " + (f"row {number}" if number else "the header"), error)
    return DataError(f"{path}: expected text in UTF-8")
