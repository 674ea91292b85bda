"""Parquet files."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from seqlight.data.reading.options import Options
from seqlight.data.reading.place import reason
from seqlight.data.reading.progress import progress
from seqlight.data.reading.raw import Columns, DataError, RawSequences
from seqlight.data.reading.table import Table, read_table
from seqlight.data.reading.wide import read_wide


def read_parquet(path: Path, columns: Columns, options: Options) -> RawSequences:
    """Read a table from a Parquet file.

    Raises:
        DataError: the file can't be used; the message gives the reason.
    """
    with open(path, "rb") as file:
        try:
            # With a buffer, a column of a row group is not read at once.
            source = parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
            num_rows = source.metadata.num_rows

            def batches(wanted: list[str]) -> Iterator[pa.RecordBatch]:
                with progress(path, num_rows, unit=" rows") as bar:
                    for batch in source.iter_batches(1 << 16, columns=wanted, use_threads=False):
                        yield batch
                        bar.update(batch.num_rows)

            table = Table(path, source.schema_arrow.names, batches, lambda rows: max(rows, num_rows), typed=True)
            read = read_wide if options.layout == "wide" else read_table
            return read(table, columns, options)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: can't be read as Parquet: {reason(error)}") from None
