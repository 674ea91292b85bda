"""Checkpoint files: whole or absent, and plain data.

A file is what `torch.save` writes, which is a zip archive, and a line with the SHA-256 of all before it; programs that
read zip archives pass over what follows one.
"""

import hashlib
import io
import os
import re
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO

from seqlight.checkpoints.archive import ArchiveError, UnsafeError, unpack
from seqlight.common.errors import CheckpointError, DamagedCheckpointError, WriteError

_SEAL = re.compile(rb"\nseqlight sha256 ([0-9a-f]{64})\n")
_SEAL_SIZE = 82  # bytes
_SEALED = "sealed"  # a checkpoint that says so has lost its seal if it has none


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file whole or not at all: beside its target first, on the disk, then renamed.

    Raises:
        WriteError: if it can't be written.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        make_folder(path.parent)
        try:
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise WriteError(f"can't write {path}: {error.strerror or error}") from error


def make_folder(folder: Path) -> list[Path]:
    """Make a folder and those above it, on the disk; gives those that were missing, the lowest first."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in reversed(missing):
        sync_folder(each.parent)
    return missing


def rename(*pairs: tuple[Path, Path]) -> None:
    """Give files of a folder other names, as far as they are there, in place of what had these.

    Raises:
        WriteError: if the folder can't be written.
    """
    for path, other in pairs:
        try:
            if path.exists():
                path.replace(other)
            sync_folder(other.parent)
        except OSError as error:
            raise WriteError(f"can't write {other}: {error.strerror or error}") from error


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, where the system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class SealedCheckpointIO(CheckpointIO):
    """How a Trainer writes checkpoints whole or not at all: `Trainer(plugins=[SealedCheckpointIO()])`.

    Args:
        already_read: contents of checkpoints by their paths, as `read_plain` gave them. Each is handed over once, in
            place of reading the file again.

    Raises:
        WriteError: if a checkpoint can't be written.
        CheckpointError: if one that is to be read is damaged, or no checkpoint; or if one that is to be written holds
            more than tensors and plain values.
    """

    def __init__(self, already_read: dict[str, dict[str, Any]] | None = None) -> None:
        self._already_read = dict(already_read or {})

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write it, with its seal."""
        buffer = io.BytesIO()
        torch.save({**checkpoint, _SEALED: True}, buffer)
        content = buffer.getvalue()
        try:
            unpack(content)
        except ArchiveError as error:
            raise CheckpointError(f"{path}: a checkpoint of this run could not be read again: {error}") from error
        write_whole(path, content + b"\nseqlight sha256 " + hashlib.sha256(content).hexdigest().encode() + b"\n")

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read it, by `read_plain`, to the CPU, whatever is asked for."""
        contents = self._already_read.pop(str(path), None)
        return read_plain(path) if contents is None else contents

    def remove_checkpoint(self, path: Any) -> None:
        """Remove it, unless the path leads elsewhere: Lightning takes names of files to remove from a checkpoint."""
        if ".." not in Path(path).parts:
            Path(path).unlink(missing_ok=True)


def read_plain(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The contents of a checkpoint: tensors, on the CPU, and plain values. No code from it is run.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedCheckpointError: if it is not as it was written.
        CheckpointError: if it is none.
    """
    if "://" in str(path):
        raise CheckpointError(f"{path}: expected a file on this machine, not a URL")
    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: can't read it: {error.strerror}") from error
    sealed = _check_seal(path, content)
    try:
        checkpoint = unpack(content)
    except UnsafeError as error:
        raise CheckpointError(f"{path} is no checkpoint of seqlight: {error}") from error
    except ArchiveError as error:
        raise DamagedCheckpointError(f"{path} is no checkpoint of seqlight: {error}") from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{path} is a file of torch, but no checkpoint of a seqlight model")
    if _SEALED in checkpoint and not sealed:
        raise DamagedCheckpointError(f"{path} is damaged: its SHA-256 is missing")
    return checkpoint


def _check_seal(path: str | os.PathLike[str], content: bytes) -> bool:
    """Whether there is a seal; a file with one is as it was written."""
    found = _SEAL.fullmatch(content[-_SEAL_SIZE:])
    if found and hashlib.sha256(memoryview(content)[:-_SEAL_SIZE]).hexdigest().encode() != found[1]:
        raise DamagedCheckpointError(f"{path} is damaged: its SHA-256 is another one than when it was written")
    return found is not None
