"""Checks that a file's contents fit into memory."""

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


def require(num_bytes: int, path: Path) -> None:
    """Refuse a file whose sequences need more memory than is free.

    Raises:
        DataError: gives both amounts.
    """
    free = available()
    if num_bytes > free:
        raise DataError(
            f"{path}: expected a file that fits into memory: its sequences need about {_amount(num_bytes)}, "
            f"and {_amount(free)} are free"
        )


def _amount(num_bytes: int) -> str:
    power = min((len(str(num_bytes)) - 1) // 3, 5)
    return f"{num_bytes / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB', 'TB', 'PB')[power]}"
