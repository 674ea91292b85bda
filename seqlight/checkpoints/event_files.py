"""TensorBoard's files in the folder of a run."""

import os
from pathlib import Path
from typing import Any

from seqlight.common.errors import WriteError
from seqlight.common.files import check_regular

_PREFIX = "events.out.tfevents."


def event_files(folder: Path) -> list[Path]:
    """TensorBoard's files in a folder, sorted."""
    return sorted(folder.glob(f"{_PREFIX}*"))


def is_event_file(path: Any) -> bool:
    """Whether a path is that of a file of TensorBoard."""
    return isinstance(path, str | bytes) and os.path.basename(os.fsdecode(path)).startswith(_PREFIX)


def event_sizes(folder: Path, before: dict[str, int]) -> dict[str, int]:
    """The sizes of TensorBoard's files in a folder, in bytes.

    Args:
        folder: the folder of a run.
        before: the sizes at an earlier time of the run.

    Raises:
        WriteError: if a file is missing or has become smaller.
    """
    sizes = {path.name: path.lstat().st_size for path in event_files(folder)}
    if lost := [name for name in before if sizes.get(name, -1) < before[name]]:
        raise WriteError(f"can't write {os.path.relpath(folder / lost[0])}: it was deleted or replaced during the run")
    return sizes


def rewind(folder: Path, sizes: dict[str, int]) -> None:
    """Cut TensorBoard's files back to their sizes at a checkpoint.

    Args:
        folder: the folder of a run.
        sizes: the sizes from `event_sizes`, in bytes; other files are removed.

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
