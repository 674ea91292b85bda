"""The run that `seqlight fit` continues or starts."""

import contextlib
import inspect
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from seqlight.checkpoints.run_choice import AbandonedRun, ChosenRun, abandoned_run, choose_run, choosing_run
from seqlight.checkpoints.run_folder import RunFolder, RunInUseError
from seqlight.checkpoints.run_search import describe_training, unfinished_run
from seqlight.cli.flag_errors import UsageError
from seqlight.common.errors import CheckpointError
from seqlight.common.text import one_line, show
from seqlight.data.datamodule import SequenceDataModule
from seqlight.data.files import SequenceFiles
from seqlight.data.loader import SequenceLoader
from seqlight.training.classifier import SequenceClassifier

# With fewer validation sequences, the best checkpoint is worse than the last one: by 2.4 points of test accuracy on
# average, over ten data sets with 6 to 100 validation sequences.
ENOUGH_VALIDATION = 300

# Results do not depend on these arguments, so a run can continue with other values.
_IGNORED = ("config", "ensemble", "folds", "fresh", "import", "num_threads", "output", "quiet", "resume")
_IGNORED_OF_TRAINER = ("enable_progress_bar", "default_root_dir", "profiler")
_IGNORED_OF_EARLIER_VERSIONS = ("--trainer.profiler",)

# Flags that version 0.1.0 did not have. With these values they are left out, so that its runs continue.
_DEFAULTS: dict[str, Any] = {
    "model.init_args.warmup_steps": 0,
    "model.init_args.convolution": None,
    "data.init_args.in_memory": True,
    "data.init_args.labels_file": None,
    "model.init_args.recover": False,
    "data.init_args.missing": "refuse",
    "data.init_args.time_delta": False,
    "data.init_args.label_per": "sequence",
    "model.init_args.threshold": 0.5,
    "model.init_args.temperature_scaling": False,
    "model.init_args.regression_loss": "mse",
    "model.init_args.label_per": "sequence",
    "model.init_args.target_mean": None,
    "model.init_args.target_scale": None,
    "model.init_args.optimizer.class_path": "torch.optim.Adam",
    **{
        f"model.init_args.optimizer.init_args.{name}": argument.default
        for name, argument in inspect.signature(torch.optim.Adam).parameters.items()
    },
}


def describe_run(
    configuration: dict[str, Any], model: SequenceClassifier, datamodule: SequenceDataModule
) -> dict[str, str]:
    """Everything that the results depend on, by name: flags, modules of the user's classes, and data files.

    Args:
        configuration: the parsed command line.
        model: the classifier; its class and cells can be the user's own.
        datamodule: the data; it can have files.
    """
    first_checkpoint = configuration["ckpt_path"] if configuration["ckpt_path"] != "last" else None
    configuration = {name: value for name, value in configuration.items() if name not in _IGNORED}
    trainer = configuration["trainer"]
    configuration["trainer"] = {name: trainer[name] for name in trainer if name not in _IGNORED_OF_TRAINER}
    configuration["ckpt_path"] = first_checkpoint
    parts = [model, datamodule, *(layer.cell for layer in model.recurrent.layers), getattr(datamodule, "task", None)]
    classes = [*(type(part) for part in parts if part is not None), model.optimizer_class]
    given = dict(_flatten(configuration))
    flags = {f"--{name}": str(value) for name, value in given.items() if _DEFAULTS.get(name, given) != value}
    files = [first_checkpoint, *getattr(datamodule, "paths", {}).values()]
    return describe_training(
        flags, classes, files, datamodule.folders() if isinstance(datamodule, SequenceFiles) else {}
    )


def find_run(
    parent: Path,
    training: dict[str, str],
    *,
    ckpt_path: str | None,
    fresh: bool,
    saves: bool,
    first_process: bool,
    started: float,
) -> tuple[ChosenRun, str]:
    """The run to continue, or a new one, and a message about it (empty if there is nothing to report).

    Args:
        parent: the folder of all runs with the same name.
        training: the description of the training from `describe_run`.
        ckpt_path: the value of `--ckpt_path`.
        fresh: whether `--fresh` is given.
        saves: whether the run saves checkpoints; if not, it can't continue later.
        first_process: whether this process writes the folder.
        started: the time at which this command was started.

    Raises:
        UsageError: if `--ckpt_path last` is given and there is no unfinished run.
        CheckpointError: if the unfinished run has checkpoints, and none can be used.
        RunInUseError: if another process trains the same thing.
        WriteError: if the folder can't be written.
    """
    try:
        with contextlib.ExitStack() as stack:
            new_parents = stack.enter_context(choosing_run(parent)) if first_process else []
            unfinished = abandoned = None
            if not fresh:
                unfinished = unfinished_run(parent, training, _IGNORED_OF_EARLIER_VERSIONS, since=started)
                abandoned = None if unfinished else abandoned_run(parent, training, _IGNORED_OF_EARLIER_VERSIONS)
            if unfinished and not saves:
                if first_process:
                    RunFolder(unfinished).close(has_begun=True)  # raises if another process writes it
                unfinished = None
            if ckpt_path == "last" and unfinished is None:
                if fresh:
                    raise UsageError("--fresh contradicts --ckpt_path last")
                message = f"--ckpt_path last: there is no unfinished run of this configuration in {parent}"
                raise UsageError(message, describe_abandoned(abandoned))
            run = choose_run(parent, training, unfinished, first_process=first_process, new_parents=new_parents)
    except CheckpointError as error:
        *refused, last = error.args
        raise CheckpointError(*refused, f"{last}; --fresh starts a new run") from error
    except RunInUseError as error:
        raise RunInUseError(f"{error}; --fresh starts a new run") from error
    return run, describe_choice(run) or describe_abandoned(abandoned)


def describe_choice(run: ChosenRun) -> str:
    """A message about the run that continues; empty for a new run."""
    if run.unfinished is None:
        return ""
    if run.resume is None:
        return one_line(f"{run.unfinished} starts again: it ended before its first checkpoint")
    step = run.resume.contents["global_step"]
    continues = f"{run.unfinished} continues from step {step}; --fresh starts a new run"
    return "\n".join(map(one_line, [*run.resume.refused, continues]))


def record_backend(
    folder: RunFolder | None, training: dict[str, str], backend: str, reason: str, earlier: str | None
) -> None:
    """Write the backend of the recurrent layers to `run.json`, and report a change since the checkpoint.

    Args:
        folder: the run's folder, if this process writes it.
        training: the description from `describe_run`.
        backend: the backend's name.
        reason: the reason if it is not a kernel.
        earlier: the backend of the checkpoint from which the run continues; None if there is none.
    """
    text = f"{backend} ({reason})" if reason else backend
    if folder is not None:
        folder.backend = text
        folder.describe(training, finished=False)
    if earlier not in (None, backend):
        changed = f"backend: {text}; before the checkpoint it was {earlier}, so results can differ in their last digits"
        show(one_line(changed))


def few_validation(trainer: Trainer) -> int | None:
    """The number of validation sequences if they are too few to choose the best checkpoint; else None.

    Their loss is then lowest in an epoch that noise chose. None also if the user has chosen how the best checkpoint is
    found, by a callback for early stopping or another metric.

    Args:
        trainer: the Trainer after `fit`.
    """
    loader, best = trainer.val_dataloaders, trainer.checkpoint_callback
    chosen = isinstance(best, ModelCheckpoint) and (best.monitor, best.mode) != ("val/loss", "min")
    if chosen or trainer.early_stopping_callbacks or not isinstance(loader, SequenceLoader):
        return None
    batches = sum(trainer.num_val_batches)
    num_sequences = int(min(len(loader.data.lengths), batches * loader.batch_size * loader.world_size))
    return num_sequences if num_sequences < ENOUGH_VALIDATION else None


def describe_abandoned(run: AbandonedRun | None) -> str:
    """A message about how an abandoned run differs, and how to continue it; empty if there is none."""
    if run is None:
        return ""
    differs = ", ".join(run.differences[:5]) + (", ..." if len(run.differences) > 5 else "")
    return one_line(
        f"{run.folder} is unfinished, but differs in {differs}; to continue it: --ckpt_path {run.checkpoint}"
    )


def _flatten(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """Names and values of nested dicts, on one level."""
    if not (isinstance(value, dict) and value):
        return [(name, value)]
    return [pair for key, item in value.items() for pair in _flatten(item, f"{name}.{key}".removeprefix("."))]
