"""The folder for a training: the folder of an unfinished run, or a new one."""

from pathlib import Path
from typing import Any, NamedTuple

from seqlight.checkpoints.contents import read
from seqlight.checkpoints.resume import LAST, PREVIOUS
from seqlight.checkpoints.run_folder import RunFolder, new_run_folder, other_unfinished_run
from seqlight.common.errors import CheckpointError, state_of_checkpoint


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


def choose_run(parent: Path, training: dict[str, str], unfinished: Path | None, *, first_process: bool) -> ChosenRun:
    """Open the unfinished run to continue it, or a new run.

    Args:
        parent: the folder of all runs of this name.
        training: the description from `describe_training`.
        unfinished: the run to continue, from `unfinished_run`, or None.
        first_process: whether this process writes the folder.

    Raises:
        CheckpointError: if the run has checkpoints, but none can be used.
        RunInUseError, WriteError: as `RunFolder`.
    """
    folder, resume = None, None
    if unfinished is not None:
        folder = RunFolder(unfinished) if first_process else None
        if folder is not None and folder.is_finished():  # another process has finished it in the meantime
            folder.close(has_begun=True)
            folder = unfinished = None
    if folder is not None:
        folder.describe(training, finished=False)  # so that others who find the folder locked can name this process
    if unfinished is not None:
        resume = _newest_checkpoint(unfinished)
        if resume is not None and resume.path.name == PREVIOUS and folder is not None:
            resume.path.with_name(LAST).unlink(missing_ok=True)  # else the next save would keep it as previous.ckpt
    elif first_process:
        folder = new_run_folder(parent)
        folder.describe(training, finished=False)
    if folder is not None:
        folder.rewind({} if resume is None else _event_sizes(resume.contents))
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
        raise CheckpointError("\n".join([*refused, "no other checkpoint is left"]))
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
