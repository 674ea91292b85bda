"""Checks that a file's contents fit into memory."""

import os
import tempfile
from pathlib import Path

import psutil

from seqlight.data.reading.raw import DataError

_CGROUPS = (  # limit and usage of a Linux container: version 2, version 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
    ),
)


def available() -> int:
    """Bytes available to this process without swapping, on the machine or within its container's limit."""
    free = int(psutil.virtual_memory().available)
    for limit, usage, stat in _CGROUPS:
        try:
            counted = dict(line.split() for line in Path(stat).read_text().splitlines())
            cached = sum(int(counted.get(name, 0)) for name in ("active_file", "inactive_file"))
            free = min(free, int(Path(limit).read_text()) - int(Path(usage).read_text()) + cached)
        except (OSError, ValueError):  # there is no such group, or its limit is "max"
            continue
    return max(free, 0)


def require(num_bytes: int, path: Path, *, in_memory: bool = True) -> None:
    """Refuse a file whose sequences need more memory than is free, if they are to be in memory.

    Raises:
        DataError: gives both amounts.
    """
    if not in_memory:
        return
    free = available()
    if num_bytes > free:
        raise DataError(
            f"{path}: expected a file that fits into memory: its sequences need about {_amount(num_bytes)}, "
            f"and {_amount(free)} are free.",
            "To keep them in a temporary file and read batches as they are needed: `in_memory=False`",
        )


def reserve_file(descriptor: int, num_bytes: int, path: Path) -> None:
    """Make room for a file: a mapped file on a full disk would end the process.

    Args:
        descriptor: the open file.
        num_bytes: its size.
        path: the user's file, for messages.

    Raises:
        DataError: the disk is full.
    """
    try:
        os.ftruncate(descriptor, num_bytes)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, num_bytes)
    except OSError as error:
        raise DataError(
            f"{path}: expected room for {_amount(num_bytes)} in {tempfile.gettempdir()}: {error.strerror}.",
            "The environment variable TMPDIR names another folder",
        ) from error


def _amount(num_bytes: int) -> str:
    power = min((len(str(num_bytes)) - 1) // 3, 5)
    return f"{num_bytes / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB', 'TB', 'PB')[power]}"
