"""The folder of a run: `runs/<name>/version_<n>`. One process writes it at a time."""

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

from seqlight.checkpoints.files import make_folder, sync_folder, write_whole
from seqlight.common.errors import WriteError

_LOCK, _STATE = "lock", "run.json"
_OF_THE_START = (_LOCK, _STATE, "config.yaml", "hparams.yaml")  # what there is before the first step
_VERSION = re.compile(r"version_(\d+)")


class RunInUseError(Exception):
    """Another process writes into the folder of a run."""


class RunFolder:
    """A folder that this process alone writes.

    `run.json` in it says what is trained, and whether that is finished.

    Args:
        path: the folder.
        new_parents: of a new folder, those above that have been made for it, the lowest first.

    Raises:
        RunInUseError: if another process has it, naming that.
        WriteError: if it can't be written.
    """

    def __init__(self, path: Path, new_parents: Sequence[Path] | None = None) -> None:
        self.path = path
        self._new_parents = new_parents
        self._lock = FileLock(path / _LOCK)  # that of a process that has died is free
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
        """Write down what is trained here, and whether it is finished.

        Raises:
            WriteError: if it can't be written.
        """
        state = {"finished": finished, "process": os.getpid(), "training": training}
        write_whole(self.path / _STATE, json.dumps(state, indent=1).encode())

    def is_finished(self) -> bool:
        """Whether what is trained here is finished."""
        return bool(_state(self.path).get("finished"))

    def rewind(self, sizes: dict[str, int]) -> None:
        """Take back what was written to TensorBoard's files after a checkpoint.

        Args:
            sizes: of the files, as `event_sizes` gave them; others are removed.

        Raises:
            WriteError: if they can't be written.
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
        """Let others write.

        Args:
            has_begun: whether a step has been taken; a new run of which none has leaves nothing.
        """
        if self._new_parents is not None and not has_begun:
            for path in (*(self.path / name for name in _OF_THE_START), *_event_files(self.path)):
                with contextlib.suppress(OSError):
                    path.unlink()
            for folder in (self.path / "checkpoints", self.path, *self._new_parents):
                with contextlib.suppress(OSError):  # there is something else in it
                    folder.rmdir()
        self._lock.release()


def new_run_folder(parent: Path) -> RunFolder:
    """The folder of the next version, which this process alone has made.

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


def unfinished_run(parent: Path, training: dict[str, str]) -> Path | None:
    """The newest run in a folder that trains this, and is not finished."""
    for _, path in sorted(_versions(parent), reverse=True):
        state = _state(path)
        if state.get("training") == training:
            return None if state.get("finished") else path
    return None


def other_unfinished_run(parent: Path, training: dict[str, str]) -> tuple[Path, list[str]] | None:
    """The newest run in a folder, and in what it differs, if it trains something else and was ended unfinished."""
    path = max(_versions(parent), default=(0, None))[1]
    state = {} if path is None else _state(path)
    before = state.get("training")
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
    """What a training depends on, by name: the configuration, the modules of classes outside seqlight, data files."""
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
    """What `run.json` says; nothing if there is none."""
    try:
        state = json.loads((path / _STATE).read_text())
    except (OSError, RecursionError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _event_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("events.out.tfevents.*"))


def _versions(parent: Path) -> list[tuple[int, Path]]:
    if not parent.is_dir():
        return []
    found = ((_VERSION.fullmatch(path.name), path) for path in parent.iterdir())
    return [(int(match[1]), path) for match, path in found if match]
