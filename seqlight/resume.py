"""Checkpoints from which a run goes on as if nothing had ended it."""

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch import callbacks
from torch import distributed

from seqlight.checkpoint_file import keep_as
from seqlight.classifier import SequenceClassifier
from seqlight.lean import NotInEveryStep
from seqlight.random_state import random_state, set_random_state
from seqlight.run_folder import event_sizes
from seqlight.stopping import Stopped, requests
from seqlight.validation import check_at_least

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


class ResumeCheckpoint(callbacks.Checkpoint, NotInEveryStep):
    """Saves a run at the end of each epoch and, within epochs, every so often; keeps the last two.

    Beside what a Trainer saves a checkpoint has the state of all random number generators, and how far the files of
    TensorBoard had come, so that a run that goes on repeats nothing and leaves nothing out.

    A signal that `seqlight.stopping` has noted ends the run here, once it is saved.

    With several processes, signals and seconds are looked at after every tenth step: all processes must save together.

    Args:
        every_n_steps: save after each so many steps; None: by time alone.
        every_n_seconds: save when so many seconds have passed since the last time.

    Attributes:
        folder: where to save; None until set-up, for `checkpoints` in the Trainer's log folder.
        metrics: those that the run had where it goes on.

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

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Learn where to save."""
        self._trainer = trainer
        log_folder = Path(trainer.log_dir or trainer.default_root_dir)  # all processes must ask for it, or none
        self.folder = Path(trainer.strategy.broadcast(self.folder or log_folder / "checkpoints"))

    def state_dict(self) -> dict[str, Any]:
        """What a Trainer does not save by itself."""
        trainer = self._trainer
        assert trainer is not None
        assert self.folder is not None
        states = [random_state()]
        if trainer.world_size > 1:
            states = [{} for _ in range(trainer.world_size)]
            distributed.all_gather_object(states, random_state())
        for logger in trainer.loggers if trainer.is_global_zero else ():
            logger.save()
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        return {"random": states, "events": event_sizes(self.folder.parent), "metrics": metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep it for the start of training."""
        self._restored = state_dict

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on with the random numbers where they were left."""
        requests.defer()
        self._last_saved = time.monotonic()
        restored, self._restored = self._restored, None
        if restored is not None and len(restored["random"]) == trainer.world_size:
            set_random_state(restored["random"][trainer.global_rank])
            self.metrics = restored["metrics"]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Save when it is time to; but not where a validation or the epoch's end follows: it would be left out."""
        due = self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        signum = None
        if due or trainer.world_size == 1 or trainer.global_step % 10 == 0:
            late, signum = self._agree(trainer)
            due = due or late or signum is not None
        if due and self._can_save_here(trainer):
            if isinstance(pl_module, SequenceClassifier):
                pl_module.write_due_point()  # whose own hook comes after this one
            self._save_and_stop(trainer, signum)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save: all that belongs to the epoch is done."""
        _, signum = self._agree(trainer)
        self._save_and_stop(trainer, signum)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From here on, a signal ends the command at once."""
        requests.deferred = False

    def _can_save_here(self, trainer: pl.Trainer) -> bool:
        loop = trainer.fit_loop.epoch_loop
        return not (
            trainer.is_last_batch
            or loop._should_accumulate()
            or loop._should_check_val_fx(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]
            or 0 <= trainer.max_steps <= trainer.global_step
        )

    def _agree(self, trainer: pl.Trainer) -> tuple[bool, int | None]:
        """Whether it is time to save, and the signal that has asked to stop, in all processes alike."""
        late = time.monotonic() - self._last_saved >= self.every_n_seconds
        if trainer.world_size == 1:
            return late, requests.signum
        # Clocks differ, and a signal may reach one alone.
        wanted = torch.tensor([int(late), requests.signum or 0], device=trainer.strategy.root_device)
        distributed.all_reduce(wanted, distributed.ReduceOp.MAX)
        return bool(wanted[0]), int(wanted[1]) or None

    def _save_and_stop(self, trainer: pl.Trainer, signum: int | None) -> None:
        self._save(trainer)
        if signum is not None:
            raise Stopped(signum, f"saved at step {trainer.global_step}: the same command goes on from there")

    def _save(self, trainer: pl.Trainer) -> None:
        assert self.folder is not None
        last = self.folder / LAST
        if trainer.is_global_zero and last.exists():
            keep_as(last, self.folder / PREVIOUS)  # so that there is a last one at every moment
        trainer.save_checkpoint(last)
        self._last_saved = time.monotonic()
