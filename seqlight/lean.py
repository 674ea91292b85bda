"""Lightning's parts, at less cost in every step: a small model's step is mostly what is done around it."""

import contextlib
import time
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch import callbacks, loggers
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.utilities import rank_zero_only


class NoProfiler(PassThroughProfiler):
    """As Lightning's, which makes a generator for each of the fifty parts of a step."""

    _NOTHING = contextlib.nullcontext()

    def profile(self, action_name: str) -> Any:
        """A context that does nothing, the same one each time."""
        return self._NOTHING


class LeanModule(pl.LightningModule):
    """As Lightning's, but a name that it sets some fifty times a step is set at once."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute."""
        if name == "_current_fx_name":
            # torch's way, which looks through parameters and modules, makes that a tenth of a small model's step.
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)


class NotInEveryStep(pl.Callback):
    """A callback without hooks within a step: Lightning calls even empty ones, and passes over what is None."""

    on_train_batch_start: Any = None
    on_before_zero_grad: Any = None
    on_before_backward: Any = None
    on_after_backward: Any = None
    on_before_optimizer_step: Any = None


class BestCheckpoint(callbacks.ModelCheckpoint, NotInEveryStep):
    """As Lightning's."""


class TimedProgressBar(callbacks.TQDMProgressBar, NotInEveryStep):
    """As Lightning's, but drawn ten times a second and not at every so many steps."""

    _SECONDS = 0.1
    _last_drawn = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Draw, if it is time to, or the epoch ends."""
        now = time.monotonic()
        if now - self._last_drawn >= self._SECONDS or trainer.is_last_batch:
            self._last_drawn = now
            super().on_train_batch_end(trainer, pl_module, *args)


class CurvesLogger(loggers.TensorBoardLogger):
    """As Lightning's, but what is logged together is written together."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Write scalars as one event; what else there is as Lightning does."""
        if self._prefix or any(isinstance(value, Mapping) for value in metrics.values()):
            super().log_metrics(metrics, step)
        else:
            # Imported here: `import seqlight` need not wait for it.
            from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

            # Lightning adds the epoch to what `self.log` gives: a curve that nobody asked for.
            scalars = {name: float(value) for name, value in metrics.items() if name != "epoch"}
            values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
            self.experiment.file_writer.add_summary(Summary(value=values), step)
