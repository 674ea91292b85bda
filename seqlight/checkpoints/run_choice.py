"""The folder for a training: the folder of an unfinished run, or a new one."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from seqlight.checkpoints.contents import read
from seqlight.checkpoints.event_files import rewind
from seqlight.checkpoints.numbered_folders import versions
from seqlight.checkpoints.resume import LAST, PREVIOUS
from seqlight.checkpoints.run_folder import LOCK, RunFolder, RunInUseError, drafts, new_run_folder, remove_parents
from seqlight.checkpoints.run_search import other_unfinished_run
from seqlight.common.errors import CheckpointError, WriteError, state_of_checkpoint
from seqlight.common.files import make_folder


class ResumePoint(NamedTuple):
    """The newest usable checkpoint of a run.

    Attributes:
        path: the file.
        contents: the contents of the file.
        refused: one message for each newer checkpoint that can't be used.
    """

    path: Path
    contents: dict[str, Any]
    refused: list[str]


class ChosenRun(NamedTuple):
    """The run that a training continues or begins.

    Attributes:
        folder: the folder, which only this process writes; None in all processes of a run except the first.
        unfinished: the unfinished run to continue; None for a new run.
        resume: the checkpoint to continue from; None to begin at the start.
    """

    folder: RunFolder | None
    unfinished: Path | None
    resume: ResumePoint | None


class AbandonedRun(NamedTuple):
    """An unfinished run that does not continue, since it trains something else.

    Attributes:
        folder: its folder.
        checkpoint: its last checkpoint.
        differences: the names of the settings and files that differ.
    """

    folder: Path
    checkpoint: Path
    differences: list[str]


@contextlib.contextmanager
def choosing_run(parent: Path) -> Iterator[list[Path]]:
    """Let no other process choose a run in this folder: equal commands that start at once would train the same thing.

    Yields the folders that were made for it, the lowest first; they are removed after an error.

    Raises:
        RunInUseError: if another process takes a minute to choose.
        WriteError: if the folder can't be written.
    """
    lock, new_parents = FileLock(parent / LOCK, timeout=60), list[Path]()
    try:
        while not (lock.is_locked and (parent / LOCK).exists()):  # another process can remove a folder that it made
            lock.release()
            new_parents = list(dict.fromkeys([*new_parents, *make_folder(parent)]))
            try:
                lock.acquire()
            except FileNotFoundError:
                continue
            except PermissionError:
                if not os.access(parent, os.W_OK):
                    raise
                break  # the lock of another user, who shares this folder
        for _, path in versions(parent):
            if drafts(path) and (path / LOCK).exists():
                with contextlib.suppress(RunInUseError, WriteError):
                    RunFolder(path).close(has_begun=True)  # which removes the drafts of a process that has died
    except Timeout:
        raise RunInUseError(f"another process keeps {os.path.relpath(parent / LOCK)} locked") from None
    except OSError as error:
        raise WriteError(f"can't write {parent}: {error.strerror}") from error
    try:
        yield new_parents
    except BaseException:
        remove_parents(new_parents)
        raise
    finally:
        lock.release()


def choose_run(
    parent: Path,
    training: dict[str, str],
    unfinished: Path | None,
    *,
    first_process: bool,
    new_parents: Sequence[Path] = (),
) -> ChosenRun:
    """Open the unfinished run to continue it, or a new run.

    Args:
        parent: the folder of all runs of this name.
        training: the description from `describe_training`.
        unfinished: the run to continue, from `unfinished_run`, or None.
        first_process: whether this process writes the folder.
        new_parents: the folders that were made for `parent`, from `choosing_run`.

    Raises:
        CheckpointError: if the run has checkpoints, but none can be used.
        RunInUseError, WriteError: as `RunFolder`.
    """
    if unfinished is None:
        folder = new_run_folder(parent, new_parents) if first_process else None
    else:
        folder = RunFolder(unfinished) if first_process else None
    return _opened(folder, training, unfinished)


def choose_part(path: Path, training: dict[str, str]) -> ChosenRun:
    """Open a run whose folder is known, as that of a fold, to begin or continue it.

    Args:
        path: the folder.
        training: the description from `describe_training`.

    Raises:
        CheckpointError, RunInUseError, WriteError: as `choose_run`.
    """
    unfinished = path if path.exists() else None
    return _opened(RunFolder(path, None if unfinished else ()), training, unfinished)


def _opened(folder: RunFolder | None, training: dict[str, str], unfinished: Path | None) -> ChosenRun:
    """The run in a folder; if it is an unfinished one, with the checkpoint to continue from."""
    resume = None
    if folder is not None:
        if unfinished is not None:
            folder.check_unfinished()
        folder.describe(training, finished=False)  # so that others who find the folder locked can name this process
    if unfinished is not None:
        resume = _newest_checkpoint(unfinished)
        if resume is not None and resume.path.name == PREVIOUS and folder is not None:
            resume.path.with_name(LAST).unlink(missing_ok=True)  # else the next save would keep it as previous.ckpt
    if folder is not None:
        rewind(folder.path, {} if resume is None else _event_sizes(resume.contents))
    return ChosenRun(folder, unfinished, resume)


def abandoned_run(parent: Path, training: dict[str, str], ignored: tuple[str, ...] = ()) -> AbandonedRun | None:
    """The newest unfinished run in a folder, if it trains something else and has a checkpoint."""
    found = other_unfinished_run(parent, training, ignored)
    if found is None or not (checkpoint := found[0] / "checkpoints" / LAST).is_file():
        return None
    return AbandonedRun(found[0], checkpoint, found[1])


def _newest_checkpoint(folder: Path) -> ResumePoint | None:
    refused: list[str] = []
    for path in (folder / "checkpoints" / LAST, folder / "checkpoints" / PREVIOUS):
        if not path.is_file():
            continue
        try:
            contents = read(path)
            _event_sizes(contents)
        except CheckpointError as error:
            refused.append(str(error))
        else:
            return ResumePoint(path, contents, refused)
    if refused:
        raise CheckpointError(*refused, "no other checkpoint is left")
    return None


def _event_sizes(contents: dict[str, Any]) -> dict[str, int]:
    """The sizes of TensorBoard's files at the time of a checkpoint, in bytes.

    Raises:
        CheckpointError: if the checkpoint does not hold them.
    """
    with state_of_checkpoint():
        sizes: dict[str, int] = contents["callbacks"]["ResumeCheckpoint"]["events"]
        if not all(isinstance(name, str) and type(size) is int and 0 <= size < 2**62 for name, size in sizes.items()):
            raise ValueError("sizes of TensorBoard's files must be numbers of bytes")
    return sizes
