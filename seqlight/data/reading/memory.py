"""Whether what a file holds fits into memory."""

from pathlib import Path

import psutil

from seqlight.data.reading.raw import DataError

_CGROUPS = (  # where Linux says what a container may use, and uses: version 2, version 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
    ),
)


def available() -> int:
    """Bytes that this process can still get without swapping: the machine's, or less in a container."""
    free = int(psutil.virtual_memory().available)
    for limit, usage, stat in _CGROUPS:
        try:
            counted = dict(line.split() for line in Path(stat).read_text().splitlines())
            cached = sum(int(counted.get(name, 0)) for name in ("active_file", "inactive_file"))
            free = min(free, int(Path(limit).read_text()) - int(Path(usage).read_text()) + cached)
        except (OSError, ValueError):  # no such group, or "max": no limit
            continue
    return max(free, 0)


def require(num_bytes: int, path: Path) -> None:
    """Refuse a file whose sequences take more memory than there is.

    Raises:
        DataError: says how much is needed and how much is free.
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
