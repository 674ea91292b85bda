"""The progress of a command: a bar on a terminal, else a line for each epoch."""

import sys
import time
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.trainer.states import TrainerFn

from seqlight.callbacks.progress_line import ProgressLine, metric_texts
from seqlight.common.private_lightning import NotInEveryStep, call_after, forget_progress_bar
from seqlight.common.text import show


class TimedProgressBar(NotInEveryStep, TQDMProgressBar):
    """A bar of one line, drawn ten times a second; without a terminal, one line of text after each epoch.

    Validation takes the place of the training bar while it runs. The arguments are those of Lightning's
    TQDMProgressBar.
    """

    def __init__(self, refresh_rate: int = 1, process_position: int = 0, leave: bool = False) -> None:
        super().__init__(refresh_rate, process_position, leave)
        self._leave_epochs = leave
        self._on_terminal = False
        self._training: ProgressLine | None = None
        self._evaluation: ProgressLine | None = None  # a validation, test or prediction
        self._epoch_began = 0.0
        self._stop_reporting: Callable[[], None] | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Look whether the output is a terminal."""
        super().setup(trainer, pl_module, stage)
        self._on_terminal = sys.stdout.isatty()

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, int | str | float | Any]:
        """Metrics without the version, which Lightning shows as the last characters of its name."""
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}

    def print(self, *args: Any, sep: str = " ", **kwargs: Any) -> None:
        """Print above the bar; for `self.print` in a module."""
        ProgressLine.write(sep.join(map(str, args)), **kwargs)

    def _line(self, *, leave: bool) -> ProgressLine:
        """A new line on the terminal; without one, it shows nothing."""
        return ProgressLine(
            disable=not (self.is_enabled and self._on_terminal),
            leave=leave,
            position=2 * self.process_position,
            file=sys.stdout,
        )

    # Training.

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the bar. A run that continues within an epoch does not start that epoch."""
        self._training = self._line(leave=True)
        # A callback's hook runs before the module's, which logs the epoch's means.
        self._stop_reporting = call_after(
            pl_module, "on_train_epoch_end", lambda: self._report_epoch(trainer, pl_module)
        )
        self._begin_epoch(trainer, done=trainer.fit_loop.batch_idx + 1)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin an epoch."""
        if self._leave_epochs and self._training is not None:
            self._training.close()
            self._training = self._line(leave=True)
        self._begin_epoch(trainer)

    def _begin_epoch(self, trainer: pl.Trainer, done: int = 0) -> None:
        self._epoch_began = time.monotonic()
        if not self._on_terminal:
            forget_progress_bar(trainer)  # an epoch without validation has no val loss
        if self._training is not None:
            total = min(trainer.num_training_batches, self.total_train_batches + done)
            self._training.begin(f"Epoch {_number(trainer)}", total, done)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw if the interval has passed."""
        line = self._training
        if line is not None:
            line.n = batch_idx + 1
            if line.is_due and line.n % self.refresh_rate == 0:
                line.show_metrics(self.get_metrics(trainer, pl_module))
                line.draw()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Nothing: `_report_epoch` follows."""

    def _report_epoch(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw, or print the line of the epoch, with the epoch's means."""
        metrics = self.get_metrics(trainer, pl_module)  # in all processes: Lightning adds up over them at this time
        if self._training is not None:
            self._training.show_metrics(metrics)
            self._training.draw()
        if self.is_enabled and not self._on_terminal:
            seconds = f"{time.monotonic() - self._epoch_began:.1f} s"
            show(f"Epoch {_number(trainer)}: {', '.join([*metric_texts(metrics)[0], seconds])}")
            sys.stdout.flush()  # a file is often read while the run goes on

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End the bar."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """End the bar, so that the message begins a line."""
        self._close()

    def _close(self) -> None:
        if self._stop_reporting is not None:
            self._stop_reporting()
            self._stop_reporting = None
        for line in (self._evaluation, self._training):
            if line is not None:
                line.close()
        self._evaluation = self._training = None

    # Validation, test and prediction.

    def on_sanity_check_start(self, *_: Any) -> None:
        """Nothing: it is a validation."""

    def on_sanity_check_end(self, *_: Any) -> None:
        """Nothing: it is a validation."""

    def _begin_evaluation(self, trainer: pl.Trainer, *_: Any) -> None:
        self._evaluation = self._line(leave=trainer.state.fn != TrainerFn.FITTING)
        if self._training is not None:
            self._evaluation.metrics, self._evaluation.num_kept = self._training.metrics, self._training.num_kept

    def _begin_loader(self, description: str, batches: list[int | float], index: int) -> None:
        if self._evaluation is not None and self.has_dataloader_changed(index):
            number = f" {index + 1}/{len(batches)}" if len(batches) > 1 else ""
            self._evaluation.begin(f"{description}{number}", batches[index])

    def _end_batch(self, batch_idx: int) -> None:
        line = self._evaluation
        if line is not None:
            line.n = batch_idx + 1
            if line.is_due and line.n % self.refresh_rate == 0:
                line.draw()

    def _end_evaluation(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.reset_dataloader_idx_tracker()
        line, self._evaluation = self._evaluation, None
        if line is not None:
            line.close()
        if self._training is not None:
            self._training.show_metrics(self.get_metrics(trainer, pl_module))
            if line is not None and line.is_drawn:
                self._training.draw()

    on_validation_start = on_test_start = on_predict_start = _begin_evaluation  # type: ignore[assignment]
    on_validation_end = on_test_end = on_predict_end = _end_evaluation

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Begin a loader."""
        if trainer.sanity_checking:
            description, batches = self.sanity_check_description, trainer.num_sanity_val_batches
        else:
            description, batches = self.validation_description, trainer.num_val_batches
        if self._training is not None:
            description = f"{'Val':5} {_number(trainer)}"
        self._begin_loader(description, batches, dataloader_idx)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw if the interval has passed."""
        self._end_batch(batch_idx)

    def on_test_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Begin a loader."""
        self._begin_loader(self.test_description, trainer.num_test_batches, dataloader_idx)

    on_test_batch_end = on_validation_batch_end

    def on_predict_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Begin a loader."""
        self._begin_loader(self.predict_description, trainer.num_predict_batches, dataloader_idx)

    on_predict_batch_end = on_validation_batch_end


def _number(trainer: pl.Trainer) -> str:
    """The number of the epoch, as "3/10"; without the total if there is none."""
    number, last = trainer.current_epoch + 1, trainer.max_epochs
    return str(number) if last is None or last < 0 else f"{number:{len(str(last))}}/{last}"
