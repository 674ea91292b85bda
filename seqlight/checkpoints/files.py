"""Checkpoint files: complete or absent, with a verified SHA-256, and plain data.

A file is a zip archive from `torch.save`, followed by a line with the SHA-256 of the archive. Programs that read zip
archives ignore that line.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import CheckpointIO

from seqlight.checkpoints.archive import ArchiveError, UnsafeError, unpack
from seqlight.checkpoints.saveable import pack
from seqlight.common.drafts import remove_abandoned
from seqlight.common.errors import CheckpointError, DamagedCheckpointError, WriteError
from seqlight.common.files import check_identity, identity, make_folder, read_regular, write_atomically

_SEAL = re.compile(rb"\nseqlight sha256 ([0-9a-f]{64})\n")
_SEAL_SIZE = 82  # bytes
_SEALED = "sealed"  # a key in each sealed checkpoint: without a seal, the file is damaged


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
