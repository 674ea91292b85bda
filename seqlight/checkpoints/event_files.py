"""TensorBoard's files in the folder of a run."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from seqlight.common.errors import WriteError
from seqlight.common.files import check_regular

_PREFIX = "events.out.tfevents."
_BEGIN = 64  # bytes


def event_files(folder: Path) -> list[Path]:
    """TensorBoard's files in a folder, sorted."""
    return sorted(folder.glob(f"{_PREFIX}*"))


def is_event_file(path: Any) -> bool:
    """Whether a path is that of a file of TensorBoard."""
    return isinstance(path, str | bytes) and os.path.basename(os.fsdecode(path)).startswith(_PREFIX)


class EventFile(NamedTuple):
    """The size of one of TensorBoard's files, and its first bytes, which contain the time of its beginning."""

    size: int
    begin: bytes


def find_events(folder: Path, before: dict[str, EventFile]) -> dict[str, EventFile]:
    """TensorBoard's files in a folder, by name.

    Args:
        folder: the folder of a run.
        before: the files at an earlier time of the run.

    Raises:
        WriteError: if a file is missing, has become smaller, or begins with something else: TensorBoard makes a file
            anew that was deleted.
    """
    found = {}
    for path in event_files(folder):
        begin = b""
        if path.is_file():
            with path.open("rb") as file:
                begin = file.read(_BEGIN)
        found[path.name] = EventFile(path.lstat().st_size, begin)
    for name, earlier in before.items():
        now = found.get(name, EventFile(-1, b""))
        if now.size < earlier.size or not now.begin.startswith(earlier.begin):
            raise WriteError(f"can't write {os.path.relpath(folder / name)}: it was deleted or replaced during the run")
    return found


def rewind(folder: Path, sizes: dict[str, int]) -> None:
    """Cut TensorBoard's files back to their sizes at a checkpoint.

    Args:
        folder: the folder of a run.
        sizes: the sizes from `find_events`, in bytes; other files are removed.

    Raises:
        WriteError: if the files can't be written.
    """
    try:
        for path in event_files(folder):
            check_regular(path)
            if path.name not in sizes:
                path.unlink()
            elif path.stat().st_size > sizes[path.name]:
                os.truncate(path, sizes[path.name])
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(f"can't write {folder}: {error.strerror}") from error
