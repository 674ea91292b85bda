"""Files and folders: written completely or not at all, synced to the disk, and only regular files."""

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import IO, Any

from seqlight.common.drafts import draft_of
from seqlight.common.errors import WriteError


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file completely or not at all: write a draft beside it, sync it to the disk, and rename it.

    Raises:
        WriteError: if it can't be written.
    """
    path = Path(path)
    draft = draft_of(path)
    try:
        check_regular(path)
        try:
            with new_draft(draft, path) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(path.parent)
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(f"can't write {path}: {error.strerror or error}") from error


def check_regular(path: Path) -> None:
    """Check that a path of a run does not exist, or is a regular file: what a link leads to would be changed too.

    Raises:
        WriteError: if it is a link, pipe, device or folder.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise WriteError(
                f"can't write {path}: expected a regular file, got a link, pipe, device or folder; remove it"
            )


def new_draft(draft: Path, path: Path, **options: Any) -> IO[Any]:
    """Open a new file that will replace `path`, with its permissions and group if it exists.

    Args:
        draft: the new file; a file or link in its place is removed.
        path: the file to replace. If it is a draft itself, `.NAME.part`, NAME is what it stands for.
        options: for `open`; bytes by default.
    """
    draft.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(draft, flags, 0o666)  # the umask applies
    name = path.name.removeprefix(".").removesuffix(".part") if path.name.endswith(".part") else path.name
    with contextlib.suppress(OSError, AttributeError):  # there is none, or the system has no such permissions
        replaced = os.stat(path.with_name(name))
        mode = replaced.st_mode & 0o777
        try:
            os.fchown(descriptor, -1, replaced.st_gid)
        except OSError:
            mode &= 0o707  # the rights are not another group's
        os.fchmod(descriptor, mode)
    file: IO[Any] = os.fdopen(descriptor, **{"mode": "wb", **options})
    return file


def read_regular(path: str | os.PathLike[str]) -> bytes:
    """Read a file. A pipe, device or folder is refused, and never waited for.

    Raises:
        OSError: if it can't be read.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "expected a file, got a pipe or device")
        return file.read()


def make_folder(folder: Path) -> list[Path]:
    """Make a folder and its parents, synced to the disk; returns the new ones, the lowest first."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in reversed(missing):
        sync_folder(each.parent)
    return missing


def rename(*pairs: tuple[Path, Path]) -> None:
    """Rename files, in this order; a file that does not exist is left out, and an existing target is replaced.

    Args:
        pairs: the path and the new path of each file.

    Raises:
        WriteError: if a folder can't be written.
    """
    for path, other in pairs:
        try:
            if path.exists():
                path.replace(other)
            sync_folder(other.parent)
        except OSError as error:
            raise WriteError(f"can't write {other}: {error.strerror or error}") from error


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder to the disk, if the system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def identity(folder: Path) -> tuple[int, int]:
    """Numbers that tell a folder from another one that takes its place."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def check_identity(folder: Path, before: tuple[int, int]) -> None:
    """Raise OSError if a folder is missing, or another one has taken its place."""
    if not folder.is_dir() or identity(folder) != before:
        raise OSError(f"{os.path.relpath(folder)} was deleted or renamed during the run")
