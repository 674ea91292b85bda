"""Folders with a file for each sequence, whose rows are its time steps."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from seqlight.data.reading.columns import guess, names_of, not_found
from seqlight.data.reading.empty import empty_sequences
from seqlight.data.reading.folder_files import FolderFiles, folder_files
from seqlight.data.reading.folder_labels import FileColumns, file_columns
from seqlight.data.reading.folder_rows import FolderRows
from seqlight.data.reading.options import Options
from seqlight.data.reading.place import shown
from seqlight.data.reading.raw import Columns, DataError, RawSequences
from seqlight.data.reading.table import Table, read_table


def read_folder(path: Path, request: Columns, options: Options) -> RawSequences:
    """Read all files of a folder as one table, with columns for what is known about each file.

    Args:
        path: the folder.
        request: names of columns. Label and group can be columns of the files or of the file of labels, or "folder",
            the name of the folder that a file is in. What is None is guessed.
        options: what the caller asks for.

    Raises:
        DataError: the folder can't be used; the message gives the reason.
    """
    if request.id is not None and request.left_out is None:
        got = ", ".join(map(shown, names_of(request.id)))
        raise DataError(f"{path}: expected no id column, since each file of a folder is a sequence, got {got}")
    folder = folder_files(path, options.labels_file)
    known, rows = file_columns(folder, request, options), FolderRows(folder, options)
    names = [*known.values, *(name for name in rows.first.names if name not in known.values)]
    if request.left_out is None and request.group is not None and request.group not in names:
        raise not_found(path, names, f"expected a column {shown(request.group)}", "group")
    label = _label(folder, known, rows.first.names, request, options)
    given = {*names_of(label), *names_of(request.group)}
    file = next(name for name in ("file", *(f"file_{number}" for number in range(len(names)))) if name not in names)
    used = {file: pa.array(folder.ids), **{name: values for name, values in known.values.items() if name in given}}
    own = [name for name in rows.first.names if name not in used]
    columns = replace(request, id=file, label=label)
    without_names = rows.nameless and request.features is None
    if without_names:
        columns = replace(columns, step="", features=tuple(name for name in own if name not in given))
    table = Table(
        path,
        [*used, *own],
        lambda wanted: rows.batches(used, wanted),
        rows.estimate,
        typed=rows.first.typed,
        separator=rows.first.separator,
        remarks=(*folder.remarks, *known.remarks, *rows.first.remarks),
        locate=rows.locate,
    )
    raw = read_table(table, columns, options)
    assert raw.columns is not None
    empty = empty_sequences(len(rows.empty), len(folder.files), str(next(iter(rows.empty), "")), path, options.empty)
    about = f"{path}: each file is a sequence"
    found = replace(raw.columns, id=None)
    if label is not None and set(names_of(label)) <= known.values.keys():
        where = f" from {folder.labels}" if folder.labels and label == known.label else ""
        about += f", label {', '.join(map(shown, names_of(label)))}{where}"
        found = replace(found, label=None)
    return replace(
        raw,
        columns=None if without_names else found,
        guesses=(about, *raw.guesses),
        remarks=(*raw.remarks, *empty),
    )


def _label(
    folder: FolderFiles, known: FileColumns, own: list[str], request: Columns, options: Options
) -> str | tuple[str, ...] | None:
    """The columns with the label; None if they are to be guessed among the files' own.

    Raises:
        DataError: there are none of the name asked for, or several may be meant.
    """
    path = folder.path
    names = [*known.values, *own]
    if options.label_per == "step":  # labels of steps are in the files
        return request.label
    if request.label is not None and set(names_of(request.label)) <= set(names):
        return request.label
    if request.label is not None and request.left_out is None and options.labelled:
        missing = next(name for name in names_of(request.label) if name not in names)
        raise not_found(path, names, f"expected a column {shown(missing)}", "label")
    if known.label is not None:
        return known.label
    levels = folder.folders()
    if not options.labelled:  # for a trained model, a column that may look like a label is a feature
        return request.label if request.left_out is None and "folder" not in levels else "folder"
    if splits := folder.splits():
        remedy = ", ".join(f'`{split}="{path / name}"`' for split, name in sorted(splits.items(), reverse=True))
        raise DataError(
            f"{path}: expected sub-folders named by labels, got {', '.join(splits.values())}.", f"Give {remedy}"
        )
    in_files = guess("label", list(own))
    if levels and in_files is not None and in_files.lower() != "y":  # beside x, y is a coordinate
        raise DataError(
            f"{path}: expected one label for each file, got the name of its folder and a column {shown(in_files)}.",
            f'Say which: `label_column="{next(iter(levels))}"` or `label_column="{in_files}"`',
        )
    if len(levels) > 1:
        examples = ", ".join(f"{name} is {shown(level[0])}" for name, level in levels.items())
        raise DataError(
            f"{path}: expected files in folders named by labels, got folders in folders: {examples}.",
            f'Say which has the label: `label_column="{next(reversed(levels))}"`',
        )
    if not levels and in_files is None:
        raise DataError(
            f"{path}: expected a label for each file: the name of the sub-folder that it is in, or a table labels.csv "
            'with columns file and label; another table is named by `labels_file="FILE"`, a column of the files by '
            '`label_column="NAME"`'
        )
    return next(iter(levels), None)
