"""The separator between the cells of a CSV file."""

from pathlib import Path

from seqlight.data.reading.csv_rows import count_cells, rows
from seqlight.data.reading.raw import DataError

_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "'|'"}


def separator_of(path: Path, longest: int) -> tuple[str, tuple[str, ...]]:
    """The separator, and a line about it if it is not the usual one: a comma, or a tab in .tsv.

    Another one is taken if it divides the header and the first row into the same number of cells, and into more of
    them.

    Raises:
        DataError: the header can't be read; see `csv_rows.rows`.
    """
    usual = "\t" if ".tsv" in (suffix.lower() for suffix in path.suffixes[-2:]) else ","
    header, fits = _cells(path, longest, usual)
    found, most = usual, header if fits else 1
    for separator in _NAMES:
        if separator != usual:
            try:
                number, fits = _cells(path, longest, separator)
            except DataError:
                continue
            # If the first row is wrong, the message about it must count cells by a separator that the header has.
            if number > most and (fits or header == 1):
                found, most = separator, number
    return found, () if found == usual else (f"{path}: columns are separated by {_NAMES[found]}",)


def _cells(path: Path, longest: int, separator: str) -> tuple[int, bool]:
    """The number of cells in the header, and whether the first row has as many."""
    found = rows(path, longest, separator)
    header = count_cells(next(found), separator)
    try:
        first = next(found, None)
    except DataError:
        return header, False
    return header, first is None or count_cells(first, separator) == header
