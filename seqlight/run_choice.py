"""Which folder a training writes: that of a run that is not finished, or a new one."""

from pathlib import Path
from typing import Any, NamedTuple

from seqlight.checkpoint import read
from seqlight.checkpoint_file import CheckpointError, state_of_checkpoint
from seqlight.classifier import SequenceClassifier
from seqlight.data.datamodule import SequenceDataModule
from seqlight.resume import LAST, PREVIOUS
from seqlight.run_folder import RunFolder, new_run_folder, other_unfinished_run, training_of

# What may be otherwise when a run goes on: where it stands, what is shown, and what its results do not depend on.
_PASSED_OVER = ("config", "fresh", "import", "num_threads", "output", "resume")
_PASSED_OVER_OF_TRAINER = ("enable_progress_bar", "default_root_dir")


class ChosenRun(NamedTuple):
    """Where a training goes on or begins.

    Attributes:
        folder: the folder, which this process alone writes; None in all processes of a run but the first.
        checkpoint: what it goes on from; None from the start.
        message: what there is to say of it; empty for a new run.
    """

    folder: RunFolder | None
    checkpoint: Path | None
    message: str


def choose_run(parent: Path, training: dict[str, str], unfinished: Path | None, *, first_process: bool) -> ChosenRun:
    """The unfinished run, ready to go on, or a new one.

    Args:
        parent: the folder of the runs of that name.
        training: what is trained, as `described_training` has it.
        unfinished: the run that is to go on, as `unfinished_run` has found it, or None.
        first_process: whether this process writes the folder.

    Raises:
        CheckpointError: if it has checkpoints, and none can be used.
        RunInUseError, WriteError: as `RunFolder`.
    """
    folder, checkpoint, message = None, None, ""
    events: dict[str, int] = {}
    if unfinished is not None:
        folder = RunFolder(unfinished) if first_process else None
        if folder is not None and folder.is_finished():  # since it was found
            folder.close(has_begun=True)
            folder = unfinished = None
    if folder is not None:
        folder.describe(training, finished=False)  # whoever is refused is told of this process
    if unfinished is not None:
        checkpoint, message, events = _newest_checkpoint(unfinished)
        if checkpoint is not None and checkpoint.name == PREVIOUS and folder is not None:
            checkpoint.with_name(LAST).unlink(missing_ok=True)  # lest it be kept in place of the one that is whole
    elif first_process:
        folder = new_run_folder(parent)
        folder.describe(training, finished=False)
    if folder is not None:
        folder.rewind(events)
    return ChosenRun(folder, checkpoint, message)


def described_training(
    configuration: dict[str, Any], model: SequenceClassifier, datamodule: SequenceDataModule
) -> dict[str, str]:
    """What tells a training from others, whatever it takes to make it, by name."""
    began_with = configuration["ckpt_path"] if configuration["ckpt_path"] != "last" else None
    configuration = {name: value for name, value in configuration.items() if name not in _PASSED_OVER}
    trainer = configuration["trainer"]
    configuration["trainer"] = {name: trainer[name] for name in trainer if name not in _PASSED_OVER_OF_TRAINER}
    configuration["ckpt_path"] = began_with
    parts = [model, datamodule, *(layer.cell for layer in model.recurrent.layers), getattr(datamodule, "task", None)]
    classes = [type(part) for part in parts if part is not None]
    return training_of(configuration, classes, [began_with, *getattr(datamodule, "paths", {}).values()])


def left_behind(parent: Path, training: dict[str, str]) -> str:
    """What there is to say of an unfinished run that does not go on, as it trains something else; else nothing."""
    found = other_unfinished_run(parent, training)
    checkpoint = found and found[0] / "checkpoints" / LAST
    if not found or not checkpoint or not checkpoint.is_file():
        return ""
    names = found[1]
    differs = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{found[0]} is not finished, and other in {differs}; to go on from it: --ckpt_path {checkpoint}"


def _newest_checkpoint(folder: Path) -> tuple[Path | None, str, dict[str, int]]:
    """The newest whole checkpoint of a run, what there is to say, and the sizes of event files at that time."""
    refused = []
    for path in (folder / "checkpoints" / LAST, folder / "checkpoints" / PREVIOUS):
        if not path.is_file():
            continue
        try:
            state = read(path)
            with state_of_checkpoint():
                sizes = _event_sizes(state["callbacks"]["ResumeCheckpoint"]["events"])
        except CheckpointError as error:
            refused.append(str(error))
            continue
        goes_on = f"{folder} goes on from step {state['global_step']}; --fresh starts anew"
        return path, "\n".join([*refused, goes_on]), sizes
    if refused:
        raise CheckpointError("\n".join([*refused, "No other checkpoint is left; --fresh starts anew"]))
    return None, f"{folder} starts again: it had been ended before its first checkpoint", {}


def _event_sizes(sizes: dict[str, int]) -> dict[str, int]:
    if not all(isinstance(name, str) and type(size) is int and 0 <= size < 2**62 for name, size in sizes.items()):
        raise ValueError("sizes of TensorBoard's files must be numbers of bytes")
    return sizes
