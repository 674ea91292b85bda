"""The folder of a run, `runs/<name>/version_<n>`, which one process writes at a time."""

import contextlib
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from seqlight.checkpoints.files import (
    check_identity,
    check_regular,
    identity,
    make_folder,
    read_regular,
    sync_folder,
    write_atomically,
)
from seqlight.common.errors import ShownError, WriteError

LOCK, _STATE, _EVENTS = "lock", "run.json", "events.out.tfevents."
_FILES_BEFORE_TRAINING = (LOCK, _STATE, "config.yaml", "hparams.yaml")


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

    Raises:
        RunInUseError: if another process writes the folder; it names the process.
        WriteError: if the folder can't be written.
    """

    def __init__(self, path: Path, new_parents: Sequence[Path] | None = None) -> None:
        self.path = path
        self.backend = str(_state(path).get("backend", ""))
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
        try:
            check_identity(self.path, self._identity)
        except OSError as error:
            raise WriteError(f"can't write {self.path / _STATE}: {error.strerror or error}") from error
        write_atomically(self.path / _STATE, json.dumps(state, indent=1).encode())

    def check_unfinished(self) -> None:
        """Raise RunInUseError if another process has finished the training."""
        if _state(self.path).get("finished"):
            raise _finished_meanwhile(self.path)

    def rewind(self, sizes: dict[str, int]) -> None:
        """Cut TensorBoard's files back to their sizes at a checkpoint.

        Args:
            sizes: the sizes from `event_sizes`, in bytes; other files are removed.

        Raises:
            WriteError: if the files can't be written.
        """
        try:
            for path in _event_files(self.path):
                check_regular(path)
                if path.name not in sizes:
                    path.unlink()
                elif path.stat().st_size > sizes[path.name]:
                    os.truncate(path, sizes[path.name])
        except WriteError:
            raise
        except OSError as error:
            raise WriteError(f"can't write {self.path}: {error.strerror}") from error

    def close(self, has_begun: bool) -> None:
        """Let other processes write the folder.

        Args:
            has_begun: whether a step has been taken; otherwise a new folder is removed.
        """
        if self._new_parents is not None and not has_begun:
            for path in (*(self.path / name for name in _FILES_BEFORE_TRAINING), *_event_files(self.path)):
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


def new_folder(parent: Path, stem: str, *, first: int) -> Path:
    """Make the folder `<stem>_<n>` with the number after the highest; two processes never get the same one.

    Args:
        parent: the folder in which it is made.
        stem: the beginning of its name.
        first: 0 for `<stem>_0`, or 1 for `<stem>`, if there is none.

    Raises:
        WriteError: if it can't be made.
    """
    try:
        make_folder(parent)
        number = max((1 + number for number, _ in _numbered(parent, stem)), default=first)
        while True:
            path = parent / (stem if number == first == 1 else f"{stem}_{number}")
            try:
                path.mkdir()
            except FileExistsError:
                number += 1
            else:
                sync_folder(parent)
                return path
    except OSError as error:
        raise WriteError(f"can't write {parent}: {error.strerror}") from error


def unfinished_run(
    parent: Path, training: dict[str, str], ignored: tuple[str, ...] = (), *, since: float = float("inf")
) -> Path | None:
    """The newest run in a folder with this training; None if that run is finished, or if there is none.

    Args:
        parent: the folder.
        training: what is trained, from `describe_training`.
        ignored: beginnings of names that earlier versions wrote, and that results do not depend on.
        since: the time at which this command was started.

    Raises:
        RunInUseError: if the run was finished after that time.
    """
    for _, path in sorted(versions(parent), reverse=True):
        state = _state(path)
        if _without(state.get("training"), ignored) == training:
            if not state.get("finished"):
                return path
            if (path / _STATE).stat().st_mtime > since:
                raise _finished_meanwhile(path)
            return None
    return None


def _finished_meanwhile(path: Path) -> RunInUseError:
    return RunInUseError(f"{os.path.relpath(path)} was finished by process {_process(path)} while this command started")


def other_unfinished_run(
    parent: Path, training: dict[str, str], ignored: tuple[str, ...] = ()
) -> tuple[Path, list[str]] | None:
    """The newest run in a folder and the names that differ, if it trains something else and was interrupted.

    The arguments are those of `unfinished_run`.
    """
    path = max(versions(parent), default=(0, None))[1]
    state = {} if path is None else _state(path)
    before = _without(state.get("training"), ignored)
    process = state.get("process")
    if path is None or not (isinstance(before, dict) and isinstance(process, int)) or state.get("finished"):
        return None
    if psutil.pid_exists(process):
        return None
    names = [name for name in {**before, **training} if before.get(name) != training.get(name)]
    return (path, names) if names else None


def describe_training(
    configuration: dict[str, str], classes: Iterable[type], files: Iterable[str | None]
) -> dict[str, str]:
    """Everything that a training depends on, by name.

    Args:
        configuration: the settings, as text.
        classes: the classes in use; modules outside seqlight and torch are added with their SHA-256.
        files: data files, which are added with their SHA-256; paths that are not files are left out.
    """
    training = dict(configuration)
    modules = {cls.__module__ for cls in classes if not cls.__module__.startswith(("seqlight.", "torch."))}
    sources = [getattr(sys.modules.get(name), "__file__", None) for name in modules]
    for path in sorted({str(path) for path in (*sources, *files) if path and os.path.isfile(path)}):
        with open(path, "rb") as file:
            training[os.path.basename(path)] = hashlib.file_digest(file, "sha256").hexdigest()
    return training


def event_sizes(folder: Path, before: dict[str, int]) -> dict[str, int]:
    """The sizes of TensorBoard's files in a folder, in bytes.

    Args:
        folder: the folder of a run.
        before: the sizes at an earlier time of the run.

    Raises:
        WriteError: if a file is missing or has become smaller.
    """
    sizes = {path.name: path.lstat().st_size for path in _event_files(folder)}
    if lost := [name for name in before if sizes.get(name, -1) < before[name]]:
        raise WriteError(f"can't write {os.path.relpath(folder / lost[0])}: it was deleted or replaced during the run")
    return sizes


def is_event_file(path: Any) -> bool:
    """Whether a path is that of a file of TensorBoard."""
    return isinstance(path, str | bytes) and os.path.basename(os.fsdecode(path)).startswith(_EVENTS)


def _process(path: Path) -> Any:
    """The process that writes a run's folder."""
    return _state(path).get("process", "unknown")


def drafts(path: Path) -> list[Path]:
    """Temporary files in a run's folder."""
    return [*path.glob(".*.part"), *path.glob("checkpoints/.*.part")]


def _state(path: Path) -> dict[str, Any]:
    """The contents of `run.json`; empty if there is none.

    Raises:
        WriteError: if it is not a regular file.
    """
    check_regular(path / _STATE)
    try:
        state = json.loads(read_regular(path / _STATE))
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
        *_event_files(folder),
        *checkpoints.glob("*.ckpt"),
    ):
        check_regular(path)


def _without(training: Any, ignored: tuple[str, ...]) -> Any:
    if not isinstance(training, dict):
        return training
    return {name: value for name, value in training.items() if not name.startswith(ignored)}


def _event_files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_EVENTS}*"))


def versions(parent: Path) -> list[tuple[int, Path]]:
    """The numbers and folders of all runs in a folder."""
    return _numbered(parent, "version") if parent.is_dir() else []


def _numbered(parent: Path, stem: str) -> list[tuple[int, Path]]:
    """The files and folders `<stem>_<n>`, and `<stem>` with the number 1."""
    found = ((re.fullmatch(rf"{stem}(?:_(\d+))?", path.name), path) for path in parent.iterdir())
    return [(int(match[1] or 1), path) for match, path in found if match]
