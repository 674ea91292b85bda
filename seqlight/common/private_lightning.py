"""Uses of private parts of Lightning and TensorBoard, which can change in any version.

Each attribute with an underscore, replaced method and parsed message has one function here. Its docstring states the
assumption, and why there is no public way. Each function has one test in
`tests/common/test_private_lightning.py`: if a new version breaks an assumption, the test with its name
fails.

Nothing here imports Lightning, because cells and tasks do not need it.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from seqlight.common.tracebacks import error_files, is_in

if TYPE_CHECKING:
    import lightning.pytorch as pl


class NotInEveryStep:
    """Mixin for callbacks without hooks inside a training step. It must be the first base class.

    Lightning makes ten hook calls per step for each callback, even if the hooks are empty.
    """

    on_train_batch_start: Any = None
    on_before_zero_grad: Any = None
    on_before_backward: Any = None
    on_after_backward: Any = None
    on_before_optimizer_step: Any = None


class EpochFromTrainer:
    """Mixin for a loader that needs the number of the epoch, for its order.

    Lightning calls `set_epoch` on a loader's `sampler`, which is the loader itself here. If there is a sampler, it also
    looks for a `batch_sampler`.
    """

    batch_sampler = None

    @property
    def sampler(self) -> Any:
        """The loader."""
        return self


class FastHookName:
    """Mixin for a LightningModule. It must be the first base class.

    Lightning sets `_current_fx_name` on the module fifty times per step. `nn.Module.__setattr__` searches parameters
    and submodules each time, which takes a tenth of a small model's step.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute."""
        if name == "_current_fx_name":
            vars(self)[name] = value
        else:
            super().__setattr__(name, value)


def call_after(module: "pl.LightningModule", hook: str, function: Callable[[], None]) -> Callable[[], None]:
    """Call a function after each call of a module's hook; returns a function that ends this.

    The hook is replaced on the object. A callback's hook of the same name runs before the module's, which can still
    change the state that a checkpoint saves.
    """
    original, replaced = getattr(module, hook), vars(module).get(hook)

    def replacement(*args: Any) -> None:
        original(*args)
        function()

    def restore() -> None:
        if replaced is None:
            vars(module).pop(hook, None)
        else:
            setattr(module, hook, replaced)

    setattr(module, hook, replacement)
    return restore


def is_validation_next(trainer: "pl.Trainer") -> bool:
    """Whether Lightning validates after the current batch. It has no public function for this rule of six cases."""
    loop = trainer.fit_loop
    return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)  # type: ignore[arg-type]


def begin_next_epoch(trainer: "pl.Trainer") -> None:
    """Continue with the next epoch if a checkpoint was saved at the end of one.

    With `max_steps`, Lightning 2.6 would end the saved epoch a second time, and count it twice.
    """
    loop = trainer.fit_loop
    if loop.restarting:
        loop._restarting = loop.epoch_loop.restarting = False
        loop.reset_restart_stage()
        loop.epoch_progress.increment_completed()


def completed_epochs(checkpoint: dict[str, Any]) -> int:
    """The number of complete epochs in the loop state of a checkpoint.

    `checkpoint["epoch"]` does not tell whether the last one is complete. Raises LookupError or TypeError if the state
    has another form.
    """
    loop = checkpoint["loops"]["fit_loop"]
    begun, completed = (loop["epoch_progress"]["current"][name] for name in ("ready", "completed"))
    # Callbacks save after an epoch's batches, before the epoch counts as completed.
    return int(completed) + bool(begun > completed and loop["epoch_loop.batch_progress"]["is_last_batch"])


def lambda_schedule_state(step: int, rates: list[float]) -> dict[str, Any]:
    """The state of a LambdaLR scheduler at a step, as its `state_dict` gives it. torch has no way to set the step.

    Args:
        step: the number of steps made.
        rates: the learning rate of each group of parameters.
    """
    nothing = [None for _ in rates]
    return {"base_lrs": rates, "_last_lr": rates, "lr_lambdas": nothing, "last_epoch": step, "_step_count": step + 1}


def keep_file_name(checkpoint: Any) -> None:
    """Let a ModelCheckpoint overwrite its file, like `enable_version_counter=False` in its `__init__`."""
    checkpoint._enable_version_counter = False


def show_in_progress_bar(trainer: "pl.Trainer", values: dict[str, float]) -> None:
    """Show values in the progress bar. `LightningModule.log` takes a quarter of a small model's step.

    `progress_bar_metrics` is the dictionary itself, not a copy.
    """
    trainer.progress_bar_metrics.update(values)


def forget_metrics(trainer: "pl.Trainer", names: Iterable[str]) -> None:
    """Forget metrics of earlier epochs, which Lightning keeps until they are logged again.

    `callback_metrics` and `logged_metrics` are the dictionaries themselves, not copies.
    """
    for metrics in (trainer.callback_metrics, trainer.logged_metrics):
        for name in names:
            metrics.pop(name, None)


def forget_progress_bar(trainer: "pl.Trainer") -> None:
    """Remove all values from the progress bar. Lightning keeps them to the end of a run, also if they are outdated."""
    trainer.progress_bar_metrics.clear()


def has_writer(logger: Any) -> bool:
    """Whether a TensorBoardLogger has begun its file. To read its `experiment` would begin one."""
    return logger._experiment is not None


def forget_writer(logger: Any) -> None:
    """Let a TensorBoardLogger begin a new file when it logs again."""
    logger._experiment = None


@contextlib.contextmanager
def event_file_named_after(seconds: float) -> Iterator[None]:
    """Give TensorBoard's next file a name as of this time at least. Its name has the time, which can't be chosen."""
    from tensorboard.summary.writer import event_file_writer  # type: ignore[import-untyped]

    clock = event_file_writer.time
    times = iter([max(seconds, clock.time())])  # only the first is for the name
    event_file_writer.time = SimpleNamespace(time=lambda: next(times, None) or clock.time())
    try:
        yield
    finally:
        event_file_writer.time = clock


def subcommand_parser(cli: Any, subcommand: str) -> Any:
    """The parser of a LightningCLI's subcommand, whose defaults depend on the other arguments."""
    return cli._subcommand_parsers[subcommand]


def is_of_finder(path: Any) -> bool:
    """Whether a checkpoint is one that Lightning's finders write before their search, and restore after it."""
    return os.path.basename(str(path)).startswith((".lr_find_", ".scale_batch_size_"))


def is_raised_for_callback(error: Exception) -> bool:
    """Whether one of Lightning's callbacks reads something that the model or data module does not have."""
    callers = error_files(error)
    while callers and is_in(callers[-1], "torch"):  # Module.__getattr__
        callers.pop()
    return bool(callers) and is_in(callers[-1], "lightning.pytorch.callbacks")


def is_raised_while_restoring(error: Exception) -> bool:
    """Whether Lightning raised the error while it restored a checkpoint, from the file names in the traceback."""
    return any(is_in(file, "lightning") and file.endswith("checkpoint_connector.py") for file in error_files(error))
