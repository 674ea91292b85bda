"""Which folder a training writes: that of a run that is not finished, or a new one."""

from pathlib import Path
from typing import Any, NamedTuple

from seqlight.checkpoint import read
from seqlight.checkpoint_file import CheckpointError, keep_as
from seqlight.classifier import SequenceClassifier
from seqlight.data.datamodule import SequenceDataModule
from seqlight.resume import LAST, PREVIOUS
from seqlight.run_folder import RunFolder, digest_of, new_run_folder

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


def choose_run(parent: Path, digest: str, unfinished: Path | None, *, first_process: bool) -> ChosenRun:
    """The unfinished run, ready to go on, or a new one.

    Args:
        parent: the folder of the runs of that name.
        digest: what is trained, as `digest_of_training` has it.
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
    if unfinished is not None:
        checkpoint, message, events = _newest_checkpoint(unfinished)
        if checkpoint is not None and checkpoint.name == PREVIOUS and folder is not None:
            keep_as(checkpoint, checkpoint.with_name(LAST))  # lest a damaged last one be kept in its place
    elif first_process:
        folder = new_run_folder(parent)
    if folder is not None:
        folder.rewind(events)
        folder.describe(digest, finished=False)
    return ChosenRun(folder, checkpoint, message)


def digest_of_training(configuration: dict[str, Any], model: SequenceClassifier, datamodule: SequenceDataModule) -> str:
    """What tells a training from others, whatever it takes to make it."""
    began_with = configuration["ckpt_path"] if configuration["ckpt_path"] != "last" else None
    configuration = {name: value for name, value in configuration.items() if name not in _PASSED_OVER}
    trainer = configuration["trainer"]
    configuration["trainer"] = {name: trainer[name] for name in trainer if name not in _PASSED_OVER_OF_TRAINER}
    parts = [model, datamodule, *(layer.cell for layer in model.recurrent.layers), getattr(datamodule, "task", None)]
    classes = [type(part) for part in parts if part is not None]
    configuration["ckpt_path"] = began_with
    return digest_of(configuration, classes, [began_with, *getattr(datamodule, "paths", {}).values()])


def _newest_checkpoint(folder: Path) -> tuple[Path | None, str, dict[str, int]]:
    """The newest whole checkpoint of a run, what there is to say, and the sizes of event files at that time."""
    refused = []
    for path in (folder / "checkpoints" / LAST, folder / "checkpoints" / PREVIOUS):
        if not path.is_file():
            continue
        try:
            state = read(path)
        except CheckpointError as error:
            refused.append(str(error))
            continue
        goes_on = f"{folder} goes on from step {state['global_step']}; --fresh starts anew"
        return path, "\n".join([*refused, goes_on]), state["callbacks"].get("ResumeCheckpoint", {}).get("events", {})
    if refused:
        raise CheckpointError("\n".join([*refused, "No other checkpoint is left; --fresh starts anew"]))
    return None, f"{folder} starts again: it had been ended before its first checkpoint", {}
