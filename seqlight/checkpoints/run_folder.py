"""The folder of a run, `runs/<name>/version_<n>`, which one process writes at a time."""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from seqlight.checkpoints.event_files import event_files
from seqlight.checkpoints.numbered_folders import new_folder
from seqlight.common.errors import ShownError, WriteError
from seqlight.common.files import check_identity, check_regular, identity, read_regular, write_atomically

LOCK, STATE = "lock", "run.json"
_FILES_BEFORE_TRAINING = (LOCK, STATE, "config.yaml", "hparams.yaml")


class RunInUseError(ShownError):
    """Another process trains the same thing."""


class RunFolder:
    """A folder that only this process writes.

    Its `run.json` describes the training, its backend, and whether it is finished.

    Args:
        path: the folder.
        new_parents: for a new folder, the parents that were made for it, the lowest first.

    Attributes:
        backend: the backend of the recurrent layers, and the reason if it is not a kernel; empty before training.
        few_validation: the number of validation sequences if they are too few to choose the best checkpoint, else None;
            tests then take the last one.

    Raises:
        RunInUseError: if another process writes the folder; it names the process.
        WriteError: if the folder can't be written.
    """

    def __init__(self, path: Path, new_parents: Sequence[Path] | None = None) -> None:
        self.path = path
        self.backend = str(read_state(path).get("backend", ""))
        self.few_validation: int | None = None
        self._new_parents = new_parents
        self._lock = FileLock(path / LOCK)  # free again when its process dies
        try:
            path.mkdir(parents=True, exist_ok=True)
            _check_files(path)
            self._lock.acquire(blocking=False)
            self._identity = identity(path)
            for stray in drafts(path):
                stray.unlink(missing_ok=True)
        except Timeout:
            raise RunInUseError(f"{os.path.relpath(path)} is being written by process {_process(path)}") from None
        except WriteError:
            raise
        except OSError as error:
            raise WriteError(f"can't write {path}: {error.strerror}") from error

    def describe(self, training: dict[str, str], finished: bool) -> None:
        """Write `run.json`.

        Args:
            training: the description from `describe_training`.
            finished: whether the training is finished.

        Raises:
            WriteError: if the file can't be written.
        """
        state = {"finished": finished, "process": os.getpid(), "backend": self.backend, "training": training}
        if self.few_validation is not None:
            state["few_validation"] = self.few_validation
        try:
            check_identity(self.path, self._identity)
        except OSError as error:
            raise WriteError(f"can't write {self.path / STATE}: {error.strerror or error}") from error
        write_atomically(self.path / STATE, json.dumps(state, indent=1).encode())

    def check_unfinished(self) -> None:
        """Raise RunInUseError if another process has finished the training."""
        if read_state(self.path).get("finished"):
            raise finished_meanwhile(self.path)

    def close(self, has_begun: bool) -> None:
        """Let other processes write the folder.

        Args:
            has_begun: whether a step has been taken; otherwise a new folder is removed.
        """
        if self._new_parents is not None and not has_begun:
            for path in (*(self.path / name for name in _FILES_BEFORE_TRAINING), *event_files(self.path)):
                with contextlib.suppress(OSError):
                    path.unlink()
            for folder in (self.path / "checkpoints", self.path):
                with contextlib.suppress(OSError):  # it holds other files
                    folder.rmdir()
            if self._new_parents:
                with contextlib.suppress(OSError, Timeout), FileLock(self.path.parent / LOCK, timeout=0):
                    remove_parents(self._new_parents)
        self._lock.release()


def remove_parents(new_parents: Sequence[Path]) -> None:
    """Remove folders that were made for a run, the lowest first, if they are empty except for the lock."""
    with contextlib.suppress(OSError):
        if new_parents and [path.name for path in new_parents[0].iterdir()] == [LOCK]:
            (new_parents[0] / LOCK).unlink()
        for folder in new_parents:
            folder.rmdir()


def new_run_folder(parent: Path, new_parents: Sequence[Path] = ()) -> RunFolder:
    """Make the folder of the next version; two processes never get the same one.

    Args:
        parent: the folder of all versions.
        new_parents: as for RunFolder.

    Raises:
        WriteError: if it can't be made.
    """
    return RunFolder(new_folder(parent, "version", first=0), new_parents)


def finished_meanwhile(path: Path) -> RunInUseError:
    """The error for a run that another process has finished since this command was started."""
    return RunInUseError(f"{os.path.relpath(path)} was finished by process {_process(path)} while this command started")


def _process(path: Path) -> Any:
    """The process that writes a run's folder."""
    return read_state(path).get("process", "unknown")


def drafts(path: Path) -> list[Path]:
    """Temporary files in a run's folder."""
    return [*path.glob(".*.part"), *path.glob("checkpoints/.*.part")]


def read_state(path: Path) -> dict[str, Any]:
    """The contents of `run.json`; empty if there is none.

    Raises:
        WriteError: if it is not a regular file.
    """
    check_regular(path / STATE)
    try:
        state = json.loads(read_regular(path / STATE))
    except (OSError, RecursionError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _check_files(folder: Path) -> None:
    """Check that what a run opens or replaces in its folder are regular files.

    Raises:
        WriteError: if one is not.
    """
    checkpoints = folder / "checkpoints"
    if checkpoints.is_symlink():
        raise WriteError(f"can't write {checkpoints}: expected a folder, got a link")
    for path in (
        *(folder / name for name in _FILES_BEFORE_TRAINING),
        *event_files(folder),
        *checkpoints.glob("*.ckpt"),
    ):
        check_regular(path)
