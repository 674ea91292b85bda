"""The lines of a text file with a series of numbers in each."""

import os
from collections.abc import Generator
from pathlib import Path

from seqlight.data.reading.options import Options
from seqlight.data.reading.place import not_utf8
from seqlight.data.reading.progress import progress
from seqlight.data.reading.raw import DataError


def check_series(path: Path, options: Options) -> None:
    """Raise DataError if tokens or labels per step are expected, which such a file can't have."""
    kind = path.suffix.lower()
    if options.inputs == "tokens":
        raise DataError(f'{path}: expected text or integers (`inputs="tokens"`), got a {kind} file, which has numbers')
    if options.label_per == "step":
        raise DataError(f'{path}: expected a label per step (`label_per="step"`), got a {kind} file: one per sequence')


def series_lines(path: Path, comment: str) -> Generator[tuple[int, str, int], None, None]:
    """The number of each line from 1, its text, and the bytes up to its end; empty lines and comments are left out.

    Args:
        path: the file.
        comment: the characters with which a comment begins.

    Raises:
        DataError: a line is not text in UTF-8.
    """
    num_bytes = 0
    with open(path, "rb") as file, progress(path, os.path.getsize(path)) as bar:
        for number, raw in enumerate(file, 1):
            num_bytes += len(raw)
            bar.update(len(raw))
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise not_utf8(f"{path}: line {number}", error) from None
            if line and line[0] not in comment:
                yield number, line, num_bytes
