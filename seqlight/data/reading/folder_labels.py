"""Columns for the files of a folder: the names of their folders, and their rows in the table of labels."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from seqlight.data.reading.arrow import plain
from seqlight.data.reading.columns import check_distinct, guess, names_of
from seqlight.data.reading.csv_file import csv_table
from seqlight.data.reading.folder_files import FolderFiles, without_suffix
from seqlight.data.reading.groups import Groups
from seqlight.data.reading.labels import Labels
from seqlight.data.reading.names import as_text
from seqlight.data.reading.options import Options
from seqlight.data.reading.parquet_file import parquet_table
from seqlight.data.reading.place import Place, shown
from seqlight.data.reading.raw import Columns, DataError

_FILE = ("file", "filename", "file_name", "filepath", "file_path", "path", "recording", "name")


@dataclass(frozen=True)
class FileColumns:
    """Columns with a value for each file of a folder.

    Attributes:
        values: columns with a value for each file; null where the table of labels has no row.
        label: the column of the table with the label; None if there is none.
        remarks: lines about the table.
    """

    values: dict[str, pa.Array]
    label: str | tuple[str, ...] | None = None
    remarks: tuple[str, ...] = ()


def file_columns(folder: FolderFiles, request: Columns, options: Options) -> FileColumns:
    """The columns "folder", or "folder_1", "folder_2", ..., and those of the table of labels.

    The arguments and errors are those of `read_labels`.
    """
    known = FileColumns({name: pa.array(names) for name, names in folder.folders().items()})
    if folder.labels is None:
        return known
    found = read_labels(folder.labels, folder, request, options)
    return replace(found, values={**known.values, **found.values})


def read_labels(path: Path, folder: FolderFiles, request: Columns, options: Options) -> FileColumns:
    """Read the table of labels.

    Files are found by their paths within the folder, with or without suffix, or by their names alone if those are
    distinct.

    Args:
        path: the table: a column with the names of files, one with their labels, and perhaps others.
        folder: the files.
        request: names of columns; that of the label is guessed if it is None.
        options: what the caller asks for.

    Raises:
        DataError: the table can't be used; the message gives the reason.
    """
    table = parquet_table(path) if path.suffix.lower() == ".parquet" else csv_table(path)
    check_distinct(path, table.names)
    batches = [batch for batch in table.batches(table.names) if batch.num_rows]
    if not batches:
        raise DataError(f"{path}: expected rows, got only the names of columns")
    rows = pa.concat_batches(batches)
    file_column = _file_column(path, table.names)
    files, unknown = _files_of(rows[file_column], folder)
    others = [name for name in table.names if name != file_column]
    label = None if options.label_per == "step" else _label(request, others)
    known = np.flatnonzero(files >= 0)
    place = Place(path, 1, lambda row: (path, int(known[row - 1]) + 1))
    row_of_file = np.full(len(folder.ids), -1)
    for index, (row, file) in enumerate(zip(known.tolist(), files[known].tolist(), strict=True)):
        if row_of_file[file] >= 0:
            got = f"{shown(folder.ids[file])} again, as in row {row_of_file[file] + 1}"
            raise place.error(index, file_column, "one row for each file", got)
        row_of_file[file] = row
    without = np.flatnonzero(row_of_file < 0)
    if len(without) and label is not None and options.labelled:
        more = f" and {len(without) - 1} others" if len(without) > 1 else ""
        raise DataError(
            f"{path}: expected a row for each file of {folder.path}, got none for {shown(folder.ids[without[0]])}{more}"
        )
    # Labels and groups are checked here, since messages about the folder's rows would not name this table.
    found = rows.take(pa.array(known))
    if label is not None:
        Labels(label, options, "").append(
            found, files[known], {name: file for file, name in enumerate(folder.ids)}, place
        )
    if request.group in others:
        Groups(str(request.group)).append(found, files[known], folder.ids, place)
    values = rows.take(pa.array(row_of_file, mask=row_of_file < 0))
    remarks = table.remarks
    if unknown:
        number = f"{len(unknown)} of {len(files)} rows name{'s' if len(unknown) == 1 else ''}"
        remarks += (f"{path}: {number} no file of {folder.path}, such as {unknown[0]}",)
    return FileColumns({name: values[name] for name in others}, label, remarks)


def _file_column(path: Path, names: list[str]) -> str:
    spelled = {name.strip().lower(): name for name in reversed(names)}
    found = next((spelled[name] for name in _FILE if name in spelled), None) or guess("id", list(names))
    if found is None:
        listed = ", ".join(map(shown, names[:20]))
        raise DataError(f"{path}: expected a column 'file' with the names of files, got columns {listed}")
    return found


def _files_of(column: pa.Array, folder: FolderFiles) -> tuple[np.ndarray, list[str]]:
    """The file of each row, or -1; and the names that are those of no file."""
    places = {name: file for file, name in enumerate(folder.ids)}
    ends = [name.rpartition("/")[2] for name in folder.ids]
    if len(set(ends)) == len(ends):
        places = {**{name: file for file, name in enumerate(ends)}, **places}
    files, unknown = [], []
    for value in plain(column).to_pylist():
        name = "" if value is None else as_text(value).strip().replace("\\", "/").removeprefix("./")
        file = places.get(name, places.get(without_suffix(name), -1))
        files.append(file)
        if file < 0:
            unknown.append(shown(name))
    return np.array(files, np.int32), unknown


def _label(request: Columns, names: list[str]) -> str | tuple[str, ...] | None:
    """The column with the label: the one asked for, or one with a usual name, or the only one."""
    if request.label is not None and set(names_of(request.label)) <= set(names):
        return request.label
    if request.label is not None and request.left_out is None:
        return None
    free = [name for name in names if name != request.group]
    return guess("label", list(free)) or (free[0] if len(free) == 1 else None)
