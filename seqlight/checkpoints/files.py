"""Checkpoint files: complete or absent, with a verified SHA-256, and plain data.

A file is a zip archive from `torch.save`, followed by a line with the SHA-256 of the archive. Programs that read zip
archives ignore that line.
"""

import contextlib
import errno
import hashlib
import os
import re
import stat
from pathlib import Path
from typing import IO, Any

from lightning.pytorch.plugins.io import CheckpointIO

from seqlight.checkpoints.archive import ArchiveError, UnsafeError, unpack
from seqlight.checkpoints.saveable import pack
from seqlight.common.drafts import draft_of, remove_abandoned
from seqlight.common.errors import CheckpointError, DamagedCheckpointError, WriteError

_SEAL = re.compile(rb"\nseqlight sha256 ([0-9a-f]{64})\n")
_SEAL_SIZE = 82  # bytes
_SEALED = "sealed"  # a key in each sealed checkpoint: without a seal, the file is damaged


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


class SealedCheckpointIO(CheckpointIO):
    """A Trainer's plugin for checkpoints that are complete or absent: `Trainer(plugins=[SealedCheckpointIO()])`.

    Args:
        already_read: contents of checkpoints by path, as `read_plain` returned them. Each is used once, instead of
            reading the file again.

    Raises:
        WriteError: if a checkpoint can't be written.
        CheckpointError: if a file to load is damaged or not a checkpoint, or a checkpoint to save holds more than
            tensors and plain values.
    """

    def __init__(self, already_read: dict[str, dict[str, Any]] | None = None) -> None:
        self._already_read = dict(already_read or {})
        self._folders: dict[Path, tuple[int, int]] = {}  # those of earlier checkpoints

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save a checkpoint with its SHA-256."""
        try:
            content = pack({**checkpoint, _SEALED: True})
        except CheckpointError as error:
            first, *others = error.args
            raise CheckpointError(f"{path} {first}", *others, "earlier checkpoints are unchanged") from error
        folder = Path(path).parent
        try:
            if folder not in self._folders:
                make_folder(folder)
                remove_abandoned(folder)
                self._folders[folder] = identity(folder)
            check_identity(folder, self._folders[folder])
        except OSError as error:
            raise WriteError(f"can't write {path}: {error.strerror or error}") from error
        write_atomically(path, content + b"\nseqlight sha256 " + hashlib.sha256(content).hexdigest().encode() + b"\n")

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Load a checkpoint with `read_plain`; tensors are on the CPU, whatever `map_location` is."""
        contents = self._already_read.pop(str(path), None)
        return read_plain(path) if contents is None else contents

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a file, unless its path has `..`: Lightning reads the names of files to remove from checkpoints."""
        if ".." not in Path(path).parts:
            Path(path).unlink(missing_ok=True)


def read_plain(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint: tensors, on the CPU, and plain values. No code from it is run.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedCheckpointError: if the file is damaged.
        CheckpointError: if it is not a checkpoint.
    """
    if "://" in str(path):
        raise CheckpointError(f"{path}: expected a file on this machine, not a URL")
    if not Path(path).is_file():
        what = "it is a folder, pipe or device" if os.path.lexists(path) and Path(path).exists() else "there is no file"
        raise FileNotFoundError(f"no checkpoint at {path}: {what}")
    try:
        content = read_regular(path)
    except OSError as error:
        raise CheckpointError(f"{path}: can't read it: {error.strerror}") from error
    sealed = _check_seal(path, content)
    try:
        checkpoint = unpack(content)
    except UnsafeError as error:
        raise CheckpointError(f"{path} is not a seqlight checkpoint: {error}") from error
    except ArchiveError as error:
        raise DamagedCheckpointError(f"{path} is not a seqlight checkpoint: {error}") from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{path} is a torch file, but not a checkpoint of a seqlight model")
    if _SEALED in checkpoint and not sealed:
        raise DamagedCheckpointError(f"{path} is damaged: its checksum is missing")
    return checkpoint


def _check_seal(path: str | os.PathLike[str], content: bytes) -> bool:
    """Whether the file has a seal; raises DamagedCheckpointError if the seal does not match."""
    found = _SEAL.fullmatch(content[-_SEAL_SIZE:])
    if found and hashlib.sha256(memoryview(content)[:-_SEAL_SIZE]).hexdigest().encode() != found[1]:
        raise DamagedCheckpointError(f"{path} is damaged: checksum mismatch")
    return found is not None
