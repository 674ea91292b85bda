"""Checkpoints from which a run continues as if it had not been interrupted.

`run_choice.py` finds the run that continues, and its checkpoint.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch import callbacks
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import distributed

from seqlight.checkpoints.event_files import EventFile, find_events
from seqlight.checkpoints.files import SealedCheckpointIO
from seqlight.checkpoints.saveable import pack
from seqlight.checkpoints.signals import Stopped, stop_requests
from seqlight.common.errors import state_of_checkpoint
from seqlight.common.files import rename
from seqlight.common.private_lightning import NotInEveryStep, begin_next_epoch, call_after, is_validation_next
from seqlight.common.random_state import random_state, set_random_state
from seqlight.common.validation import check_at_least

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


class ResumeCheckpoint(NotInEveryStep, callbacks.Checkpoint):
    """Save a run at the end of each epoch, and at intervals within epochs; keep the last two checkpoints.

    Besides the state that a Trainer saves, a checkpoint has the state of all random number generators and the sizes of
    TensorBoard's files. So a resumed run repeats nothing and leaves nothing out.

    A signal that `seqlight.checkpoints.signals` has noted ends the run here, once it is saved.

    With several processes, signals and time are checked after every tenth step: all processes must save together.

    Args:
        every_n_steps: save after every so many steps; if that is not possible at a step, at the next possible one.
            None: by time only.
        every_n_seconds: seconds between two checkpoints.

    Attributes:
        folder: the folder of the checkpoints; by default `checkpoints` in the Trainer's log folder, set by `setup`.
        metrics: the metrics at the checkpoint from which the run continues.

    Raises:
        TypeError, ValueError: if an argument is out of its range.
    """

    def __init__(self, every_n_steps: int | None = None, every_n_seconds: float = 60.0) -> None:
        if every_n_steps is not None:
            check_at_least("every_n_steps", every_n_steps, 1)
        if not every_n_seconds > 0:
            raise ValueError(f"every_n_seconds must be greater than 0, got {every_n_seconds}")
        self.every_n_steps = every_n_steps
        self.every_n_seconds = every_n_seconds
        self.folder: Path | None = None
        self.metrics: dict[str, float] = {}
        self._trainer: pl.Trainer | None = None
        self._restored: dict[str, Any] | None = None
        self._follows: tuple[str, int] | None = None
        self._events: dict[str, EventFile] = {}
        self._stop_saving: Callable[[], None] | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Set the folder."""
        self._trainer = trainer
        log_folder = Path(trainer.log_dir or trainer.default_root_dir)  # a collective call: in all processes
        self.folder = Path(trainer.strategy.broadcast(self.folder or log_folder / "checkpoints"))

    def state_dict(self) -> dict[str, Any]:
        """The state that a Trainer does not save itself."""
        trainer = self._trainer
        if trainer is None or self.folder is None:
            raise MisconfigurationException(
                "ResumeCheckpoint has no state before its Trainer runs: save a checkpoint during or after trainer.fit"
            )
        states = [random_state()]
        if trainer.world_size > 1:
            states = [{} for _ in range(trainer.world_size)]
            distributed.all_gather_object(states, random_state())
        for logger in trainer.loggers if trainer.is_global_zero else ():
            logger.save()
        return {
            "random": states,
            "events": {name: file.size for name, file in self._check_events(trainer).items()},
            "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
            "should_stop": trainer.should_stop,
            "follows": self._follows,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state for the start of training."""
        self._restored = state_dict

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Continue the run from the loaded state.

        Raises:
            CheckpointError: if the state is incomplete, or the state of another callback could not be saved.
        """
        if isinstance(
            trainer.strategy.checkpoint_io, SealedCheckpointIO
        ):  # before the first step, not at the first save
            for callback in trainer.callbacks:  # type: ignore[attr-defined] # set by its callback connector
                if callback is not self:
                    pack({"callbacks": {callback.state_key: callback.state_dict()}})
        stop_requests.defer()
        self._note_saved(trainer)
        self._events = {}
        self._check_events(trainer)
        restored, self._restored = self._restored, None
        if restored is not None:
            with state_of_checkpoint():
                self._restore(restored, trainer, pl_module)
        self._stop_saving = call_after(pl_module, "on_train_batch_end", lambda: self._save_if_due(trainer))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save if a checkpoint is due, so that a run with a validation after each batch is saved too."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._save_if_due(trainer, validated=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save: the epoch is complete."""
        _, signum = self._agree(trainer)
        self._save(trainer, "epoch", trainer.current_epoch + 1, signum)
        if trainer.fit_loop.restarting:  # Lightning leaves these schedulers out in the epoch in which a run resumes
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
            _step_schedulers(trainer, pl_module, metrics, "epoch", trainer.current_epoch + 1)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let signals end the command at once again.

        Raises:
            WriteError: if files of TensorBoard were deleted during the run.
        """
        stop_requests.deferred = False
        self._restore_hook()
        self._check_events(trainer)

    def _check_events(self, trainer: pl.Trainer) -> dict[str, EventFile]:
        before = self._events if trainer.is_global_zero else {}
        self._events = find_events(Path(str(self.folder)).parent, before)
        return self._events

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Restore the module's hook."""
        self._restore_hook()

    def _restore_hook(self) -> None:
        if self._stop_saving is not None:
            self._stop_saving()
            self._stop_saving = None

    def _restore(self, state: dict[str, Any], trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if len(state["random"]) == trainer.world_size:
            set_random_state(state["random"][trainer.global_rank])
        self.metrics = {str(name): float(value) for name, value in state["metrics"].items()}
        if Path(str(trainer.ckpt_path)).parent == self.folder:  # else a new run starts from this checkpoint
            trainer.should_stop = bool(state["should_stop"])
        if state["follows"] is not None:
            interval, count = state["follows"]
            if interval == "epoch":
                begin_next_epoch(trainer)
            # Lightning steps these schedulers after the save.
            _step_schedulers(trainer, pl_module, self.metrics, interval, count)

    def _save_if_due(self, trainer: pl.Trainer, validated: bool = False) -> None:
        due, signum = False, None
        if self.every_n_steps is not None:
            due = trainer.global_step // self.every_n_steps > self._saved_step // self.every_n_steps
        if due or trainer.world_size == 1 or trainer.global_step % 10 == 0:
            late, signum = self._agree(trainer)
            due = due or late or signum is not None
        if due and self._can_save_here(trainer, validated):
            self._save(trainer, "step", trainer.fit_loop.epoch_loop.batch_idx + 1, signum)

    def _can_save_here(self, trainer: pl.Trainer, validated: bool) -> bool:
        """Whether neither a validation nor the epoch's end follows: a resumed run would leave it out."""
        batches = trainer.fit_loop.epoch_loop.batch_idx + 1
        return not (
            trainer.is_last_batch
            or batches % trainer.accumulate_grad_batches != 0
            or 0 <= trainer.max_steps <= trainer.global_step
            or (not validated and is_validation_next(trainer))
        )

    def _agree(self, trainer: pl.Trainer) -> tuple[bool, int | None]:
        """Whether a checkpoint is due by time, and the signal that asks to stop; the same in all processes."""
        late = time.monotonic() - self._last_saved >= self.every_n_seconds
        if trainer.world_size == 1:
            return late, stop_requests.signum
        # Clocks differ, and a signal can reach only one process.
        wanted = torch.tensor([int(late), stop_requests.signum or 0], device=trainer.strategy.root_device)
        distributed.all_reduce(wanted, distributed.ReduceOp.MAX)
        return bool(wanted[0]), int(wanted[1]) or None

    def _save(self, trainer: pl.Trainer, interval: str, count: int, signum: int | None) -> None:
        """Save, after `count` steps or epochs; schedulers that monitor a metric have not been stepped for the last one.

        Raises:
            Stopped: if `signum` is a signal.
        """
        folder = Path(str(self.folder))
        draft, last = folder / f".{LAST}.part", folder / LAST
        self._follows = (interval, count)
        trainer.save_checkpoint(draft)
        self._follows = None
        if trainer.is_global_zero:  # the draft is on the disk before the older checkpoint is replaced
            rename((last, folder / PREVIOUS), (draft, last))
        self._note_saved(trainer)
        if signum is not None:
            raise Stopped(signum, f"saved at step {trainer.global_step}: the same command continues from there")

    def _note_saved(self, trainer: pl.Trainer) -> None:
        self._last_saved, self._saved_step = time.monotonic(), trainer.global_step


def _step_schedulers(
    trainer: pl.Trainer, pl_module: pl.LightningModule, metrics: dict[str, float], interval: str, count: int
) -> None:
    """Step the schedulers that monitor a metric, as Lightning does after `count` steps or epochs."""
    for config in trainer.lr_scheduler_configs if pl_module.automatic_optimization else ():
        metric = metrics.get(str(config.monitor)) if config.reduce_on_plateau else None
        if metric is not None and config.interval == interval and count % config.frequency == 0:
            pl_module.lr_scheduler_step(config.scheduler, metric)
