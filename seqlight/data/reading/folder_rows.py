"""The rows of a folder's files, one file after the other."""

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from seqlight.data.reading.arrow import plain
from seqlight.data.reading.compression import contents_size
from seqlight.data.reading.csv_file import csv_table
from seqlight.data.reading.folder_files import FolderFiles
from seqlight.data.reading.npy_file import npy_table
from seqlight.data.reading.options import Options
from seqlight.data.reading.parquet_file import parquet_table
from seqlight.data.reading.place import shown
from seqlight.data.reading.progress import progress
from seqlight.data.reading.raw import DataError
from seqlight.data.reading.table import Table

_ROWS = 1 << 16  # small files are joined to batches of so many rows


class FolderRows:
    """The rows of all files, which must have the same columns.

    Attributes:
        first: the first file that is not empty.
        nameless: whether columns have no names, as those of arrays, or of text whose first row has only numbers.
        empty: the files without rows, after all were read.

    Raises:
        DataError: the first file can't be used, or all are empty.
    """

    def __init__(self, folder: FolderFiles, options: Options) -> None:
        self._folder, self._channels_first = folder, options.layout == "channels_first"
        first = next((file for file in folder.files if os.path.getsize(file)), None)
        if first is None:
            raise DataError(f"{folder.path}: expected sequences, got empty files")
        self.first = self._table(first, None)
        self.nameless = folder.format == "npy" or self.first.first_row is not None
        self.empty: list[Path] = []
        self._starts: list[int] = []  # the number of rows before each file
        self._sizes = [contents_size(file) for file in folder.files]
        self._read = 0  # bytes

    def batches(self, known: dict[str, pa.Array], wanted: list[str]) -> Iterator[pa.RecordBatch]:
        """Batches of rows with the wanted columns.

        Args:
            known: columns with one value for each file.
            wanted: the names of columns of the files, or of these.

        Raises:
            DataError: a file can't be read, or its columns differ.
        """
        return _joined(self._batches(known, wanted))

    def locate(self, row: int) -> tuple[Path, int]:
        """The file of a row, and the row's number in it; rows are counted from 1."""
        index = bisect_right(self._starts, row - 1) - 1
        return self._folder.files[index], row - self._starts[index]

    def estimate(self, num_rows: int) -> int:
        """The total number of rows, given the number in the first batch."""
        return max(num_rows, num_rows * sum(self._sizes) // max(self._read, 1) * 51 // 50)

    def _batches(self, known: dict[str, pa.Array], wanted: list[str]) -> Iterator[pa.RecordBatch]:
        self.empty, self._starts, self._read = [], [], 0
        own = [name for name in wanted if name not in known]
        num_rows = 0
        with progress(self._folder.path, sum(self._sizes)) as bar:
            for number, (file, size) in enumerate(zip(self._folder.files, self._sizes, strict=True)):
                self._starts.append(num_rows)
                if size:
                    table = self._table(file, self.first)
                    for batch in table.batches(own):
                        num_rows += batch.num_rows
                        self._read += size * batch.num_rows // max(table.estimate(batch.num_rows), 1)
                        columns = [
                            pa.repeat(known[name][number], batch.num_rows) if name in known else plain(batch[name])
                            for name in wanted
                        ]
                        yield pa.record_batch(columns, wanted)
                if num_rows == self._starts[-1]:
                    self.empty.append(file)
                bar.update(size)

    def _table(self, file: Path, first: Table | None) -> Table:
        if self._folder.format == "parquet":
            table = parquet_table(file)
        elif self._folder.format == "npy":
            table = npy_table(file, channels_first=self._channels_first)
        else:
            table = csv_table(file, fewest_unnamed=1, separator=None if first is None else first.separator)
        if first is not None and set(table.names) != set(first.names):
            expected, got = (", ".join(map(shown, names[:10])) for names in (first.names, table.names))
            raise DataError(f"{file}: expected the columns of {first.path}, {expected}; got {got}")
        return table


def _joined(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Batches of the same rows, of which none is small."""
    waiting: list[pa.RecordBatch] = []
    num_rows = 0
    for batch in batches:
        if waiting and (num_rows + batch.num_rows > _ROWS or batch.schema != waiting[0].schema):
            yield pa.concat_batches(waiting)
            waiting, num_rows = [], 0
        waiting.append(batch)
        num_rows += batch.num_rows
    if waiting:
        yield pa.concat_batches(waiting)
