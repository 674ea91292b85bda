"""Files that may be compressed by gzip, as a.csv.gz."""

import gzip
import io
import os
import struct
from pathlib import Path


def open_file(path: Path) -> io.BufferedIOBase:
    """The contents of a file, decompressed if its name ends in .gz."""
    return gzip.GzipFile(path, "rb") if _is_compressed(path) else open(path, "rb")


def position(file: io.BufferedIOBase) -> int:
    """The number of bytes that were read from the disk."""
    if isinstance(file, gzip.GzipFile) and file.fileobj:
        return int(file.fileobj.tell())  # type: ignore[union-attr] # it is a file
    return file.tell()


def contents_size(path: Path) -> int:
    """The size of the contents in bytes; an estimate if the file is compressed."""
    size = os.path.getsize(path)
    if not _is_compressed(path) or size < 4:
        return size
    with open(path, "rb") as file:
        file.seek(-4, os.SEEK_END)  # the format ends with the size of its last part, modulo 2^32
        return max(size, int(struct.unpack("<I", file.read(4))[0]))


def _is_compressed(path: Path) -> bool:
    return path.suffix.lower() == ".gz"
