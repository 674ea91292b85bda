"""Lightning's parts, at less cost in every step: a small model's step is mostly what is done around it."""

import contextlib
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch import callbacks
from lightning.pytorch.profilers import PassThroughProfiler
from torch import Tensor

from seqlight.non_finite import NonFiniteError, check_metric


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
    """As Lightning's, but a run that goes on has all of its state, and no metric that is not finite saves anything."""

    def belong_to(self, run: Path | None) -> None:
        """Save into the folder of a run, which may have a best one already, unless another folder is given.

        Args:
            run: the folder; None in all processes but the first, which tells the others.
        """
        if self.dirpath is None:
            self._enable_version_counter = False
            self.dirpath = None if run is None else str(run / "checkpoints")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The score of what was saved last too."""
        super().load_state_dict(state_dict)
        self.current_score = state_dict["current_score"]

    def check_monitor_top_k(self, trainer: pl.Trainer, current: Tensor | None = None) -> bool:
        """As Lightning's.

        Raises:
            NonFiniteError: if the monitored metric is not finite.
        """
        check_metric(trainer, str(self.monitor), current)
        return super().check_monitor_top_k(trainer, current)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """As Lightning's, which `save_on_exception` would let write over the best checkpoint."""
        if not isinstance(exception, NonFiniteError):
            super().on_exception(trainer, pl_module, exception)


class TimedProgressBar(callbacks.TQDMProgressBar, NotInEveryStep):
    """As Lightning's, but drawn ten times a second and not at every so many steps."""

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, int | str | float | Any]:
        """Without the number of the version, of which Lightning shows the last characters of the name."""
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}

    _SECONDS = 0.1
    _last_drawn = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Draw, if it is time to, or the epoch ends."""
        now = time.monotonic()
        if now - self._last_drawn >= self._SECONDS or trainer.is_last_batch:
            self._last_drawn = now
            super().on_train_batch_end(trainer, pl_module, *args)
