"""The reader for each suffix of users' files."""

import os
import stat
from pathlib import Path

from seqlight.common.label_per import LabelPer
from seqlight.data.reading.inputs import Inputs
from seqlight.data.reading.options import Empty, Layout, Missing, Options
from seqlight.data.reading.raw import Columns, DataError, RawSequences

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".jsonl", ".npz", ".ts", ".arff")
_TABLES = SUFFIXES[:5]
_OF_LAYOUT: dict[Layout, tuple[str, ...]] = {"wide": _TABLES, "channels_first": (".npz",)}
_GUESS = Columns()


def check_layout(path: str, layout: Layout, labels_file: str | None = None) -> None:
    """Raise DataError if a layout does not apply to the format of a file, or `labels_file` to what is no folder."""
    suffixes = _OF_LAYOUT.get(layout, ())
    if os.path.isdir(path):
        from seqlight.data.reading.folder_files import folder_files

        if layout == "wide" or (suffixes and folder_files(Path(path), labels_file).format != "npy"):
            kinds = "a file with a row for each sequence" if layout == "wide" else "a folder of .npy files"
            raise DataError(f'{path}: `layout="{layout}"` is for {kinds}, got a folder')
        return
    if labels_file is not None:
        raise DataError(f"{path}: `labels_file={labels_file!r}` is for a folder with a file for each sequence")
    if suffixes and not path.lower().endswith(suffixes):
        raise DataError(f'{path}: `layout="{layout}"` is for files that end in {", ".join(suffixes)}')


def read_sequences(
    path: str | os.PathLike[str],
    *,
    columns: Columns = _GUESS,
    inputs: Inputs = "auto",
    labelled: bool = True,
    empty: Empty = "refuse",
    layout: Layout = "long",
    labels_file: str | None = None,
    label_vectors: int | None = None,
    missing: Missing = "refuse",
    elapsed: bool = False,
    label_per: LabelPer = "sequence",
    in_memory: bool = True,
    numbers: bool = False,
) -> RawSequences:
    """Read the sequences of a file.

    Args:
        path: .csv, .tsv (both perhaps compressed, .csv.gz) or .parquet in long form, one row per time step; .jsonl,
            .npz, .ts or .arff; or a folder with a table or an array, .npy, for each sequence.
        columns: names of the columns of a table. A column that is None is guessed. `step=""` means no step column.
        inputs: "features" reads integers as numbers, "tokens" as tokens, one per time step. "auto" reads text as
            tokens, and integers as tokens in .jsonl and .npz, as a feature in .csv and .parquet; `guesses` then says
            which.
        labelled: whether each sequence must have a label.
        empty: "skip" leaves out sequences without time steps and counts them in `remarks`.
        layout: as in `Options`.
        labels_file: as in `Options`.
        label_vectors: as in `RawSequences`, from the training file; None decides it.
        missing: as in `Options`.
        elapsed: as in `Options`.
        label_per: as in `Options`.
        in_memory: as in `Options`.
        numbers: as in `Options`.

    Raises:
        DataError: the file can't be used; the message says where, and what was expected.
    """
    path = Path(path)
    options = Options(
        inputs,
        labelled,
        empty,
        layout,
        label_vectors,
        labels_file,
        missing,
        columns.group,
        elapsed,
        label_per,
        in_memory,
        numbers,
    )
    suffix = "".join(path.suffixes[-2:] if path.suffix.lower() == ".gz" else path.suffixes[-1:]).lower()
    is_folder = path.is_dir()
    if suffix not in SUFFIXES and not is_folder:
        raise DataError(f"{path}: expected a file that ends in {', '.join(SUFFIXES)}, got {suffix or 'no suffix'!r}")
    try:
        # A format's libraries are imported only when they are needed.
        if is_folder:
            from seqlight.data.reading.folder import read_folder

            return read_folder(path, columns, options)
        if not stat.S_ISREG(os.stat(path).st_mode):  # reading a pipe can wait forever
            raise DataError(f"{path}: expected a file, got a pipe or device")
        with open(path, "rb") as file:
            if not file.read(1):
                raise DataError(f"{path}: expected sequences, got an empty file")
        if suffix in _TABLES[:4]:
            from seqlight.data.reading.csv_file import read_csv

            return read_csv(path, columns, options)
        if suffix == ".parquet":
            from seqlight.data.reading.parquet_file import read_parquet

            return read_parquet(path, columns, options)
        if suffix == ".jsonl":
            from seqlight.data.reading.jsonl import read_jsonl

            return read_jsonl(path, options)
        if suffix == ".npz":
            from seqlight.data.reading.npz import read_npz

            return read_npz(path, options)
        if suffix == ".arff":
            from seqlight.data.reading.arff import read_arff

            return read_arff(path, columns, options)
        from seqlight.data.reading.ts import read_ts

        return read_ts(path, options)
    except DataError:
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # faults that no check covers
        raise DataError(f"{path}: can't read it: {type(error).__name__}: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: can't read it: {error.strerror or error}") from error
