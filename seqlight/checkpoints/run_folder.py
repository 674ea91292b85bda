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

from seqlight.checkpoints.files import make_folder, sync_folder, write_atomically
from seqlight.common.errors import WriteError

_LOCK, _STATE = "lock", "run.json"
_FILES_BEFORE_TRAINING = (_LOCK, _STATE, "config.yaml", "hparams.yaml")
_VERSION = re.compile(r"version_(\d+)")


class RunInUseError(Exception):
    """Another process writes the folder of a run."""


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
        self._lock = FileLock(path / _LOCK)  # free again when its process dies
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(blocking=False)
            for stray in (*path.glob(".*.part"), *path.glob("checkpoints/.*.part")):
                stray.unlink(missing_ok=True)
        except Timeout:
            process = _state(path).get("process", "unknown")
            raise RunInUseError(f"{os.path.relpath(path)} is being written by process {process}") from None
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
        write_atomically(self.path / _STATE, json.dumps(state, indent=1).encode())

    def is_finished(self) -> bool:
        """Whether the training is finished."""
        return bool(_state(self.path).get("finished"))

    def rewind(self, sizes: dict[str, int]) -> None:
        """Cut TensorBoard's files back to their sizes at a checkpoint.

        Args:
            sizes: the sizes from `event_sizes`, in bytes; other files are removed.

        Raises:
            WriteError: if the files can't be written.
        """
        try:
            for path in _event_files(self.path):
                if path.name not in sizes:
                    path.unlink()
                elif path.stat().st_size > sizes[path.name]:
                    os.truncate(path, sizes[path.name])
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
            for folder in (self.path / "checkpoints", self.path, *self._new_parents):
                with contextlib.suppress(OSError):  # it holds other files
                    folder.rmdir()
        self._lock.release()


def new_run_folder(parent: Path) -> RunFolder:
    """Make the folder of the next version; two processes never get the same one.

    Raises:
        WriteError: if it can't be made.
    """
    try:
        new_parents = make_folder(parent)
        number = 1 + max((number for number, _ in _versions(parent)), default=-1)
        while True:
            path = parent / f"version_{number}"
            try:
                path.mkdir()
            except FileExistsError:
                number += 1
            else:
                sync_folder(parent)
                return RunFolder(path, new_parents)
    except OSError as error:
        raise WriteError(f"can't write {parent}: {error.strerror}") from error


def unfinished_run(parent: Path, training: dict[str, str], ignored: tuple[str, ...] = ()) -> Path | None:
    """The newest run in a folder with this training; None if that run is finished, or if there is none.

    Args:
        parent: the folder.
        training: what is trained, from `describe_training`.
        ignored: beginnings of names that earlier versions wrote, and that results do not depend on.
    """
    for _, path in sorted(_versions(parent), reverse=True):
        state = _state(path)
        if _without(state.get("training"), ignored) == training:
            return None if state.get("finished") else path
    return None


def other_unfinished_run(
    parent: Path, training: dict[str, str], ignored: tuple[str, ...] = ()
) -> tuple[Path, list[str]] | None:
    """The newest run in a folder and the names that differ, if it trains something else and was interrupted.

    The arguments are those of `unfinished_run`.
    """
    path = max(_versions(parent), default=(0, None))[1]
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


def event_sizes(folder: str | os.PathLike[str] | None) -> dict[str, int]:
    """The sizes of TensorBoard's files in a folder, in bytes."""
    return {} if folder is None else {path.name: path.stat().st_size for path in _event_files(Path(folder))}


def _state(path: Path) -> dict[str, Any]:
    """The contents of `run.json`; empty if there is none."""
    try:
        state = json.loads((path / _STATE).read_text())
    except (OSError, RecursionError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _without(training: Any, ignored: tuple[str, ...]) -> Any:
    if not isinstance(training, dict):
        return training
    return {name: value for name, value in training.items() if not name.startswith(ignored)}


def _event_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("events.out.tfevents.*"))


def _versions(parent: Path) -> list[tuple[int, Path]]:
    if not parent.is_dir():
        return []
    found = ((_VERSION.fullmatch(path.name), path) for path in parent.iterdir())
    return [(int(match[1]), path) for match, path in found if match]
