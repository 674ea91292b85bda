"""Parquet files."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from seqlight.data.reading.arrow import lists_of
from seqlight.data.reading.lists import read_typed
from seqlight.data.reading.options import Options
from seqlight.data.reading.place import reason
from seqlight.data.reading.progress import progress
from seqlight.data.reading.raw import Columns, DataError, RawSequences
from seqlight.data.reading.table import Table

_ROWS = 1 << 16  # read at a time


def read_parquet(path: Path, columns: Columns, options: Options) -> RawSequences:
    """Read a table from a Parquet file.

    Raises:
        DataError: the file can't be used; the message gives the reason.
    """
    with _faults(path):
        return read_typed(parquet_table(path), columns, options)


def parquet_table(path: Path) -> Table:
    """The table in a Parquet file.

    Raises:
        DataError: it is no such file.
    """
    with _faults(path), parquet.ParquetFile(path) as source:
        schema, num_rows = source.schema_arrow, source.metadata.num_rows
    lists = lists_of(schema)
    return Table(
        path,
        schema.names,
        lambda wanted: _batches(path, wanted, _ROWS // 64 if lists else _ROWS),
        estimate=lambda rows: max(rows, num_rows),
        typed=True,
        lists=lists,
    )


def _batches(path: Path, wanted: list[str], num_rows: int) -> Iterator[pa.RecordBatch]:
    """Batches of rows with the wanted columns."""
    # With a buffer, a column of a row group is not read at once.
    with (
        _faults(path),
        open(path, "rb") as file,
        parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False) as source,
        progress(path, source.metadata.num_rows, unit=" rows") as bar,
    ):
        for batch in source.iter_batches(num_rows, columns=wanted, use_threads=False):
            yield batch
            bar.update(batch.num_rows)


@contextlib.contextmanager
def _faults(path: Path) -> Iterator[None]:
    """Turn exceptions of Arrow into a DataError."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: can't be read as Parquet: {reason(error)}") from None
