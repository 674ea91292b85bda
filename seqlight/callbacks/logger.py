"""TensorBoard loggers for training, validation and tests.

`training/curves.py` computes the curves that they write.
"""

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import loggers
from lightning.pytorch.utilities import rank_zero_only

from seqlight.checkpoints.numbered_folders import new_folder
from seqlight.common.errors import WriteError
from seqlight.common.private_lightning import event_file_named_after, forget_writer, has_writer
from seqlight.common.private_torch import add_summary

LENGTHS_GROUP = "test_lengths"  # of the values that `AccuracyByLength` logs


class CurvesLogger(loggers.TensorBoardLogger):
    """Lightning's TensorBoardLogger, but scalars that are logged together are written as one event.

    Values in `LENGTHS_GROUP` are left out: `AccuracyByLength` writes them as one curve.

    Attributes:
        model_step: the steps that a loaded model has been trained for, at which its test or validation is drawn.
        model_epoch: the complete epochs of that training; 0 if no checkpoint was loaded.
    """

    model_step = model_epoch = 0

    @property
    def experiment(self) -> Any:
        """The SummaryWriter. Its file comes after those that the folder has, also if the clock was set back.

        TensorBoard reads files in the order of their names, which begin with the time.
        """
        if has_writer(self):
            return super().experiment
        names = (path.name.split(".") for path in Path(self.log_dir).glob("events.out.tfevents.*"))
        latest = max((int(parts[3]) for parts in names if parts[3].isdecimal()), default=-1)
        with event_file_named_after(latest + 1):
            return super().experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Write scalars as one event. Nested metrics are written as Lightning does."""
        if any(isinstance(value, Mapping) for value in metrics.values()):
            super().log_metrics(metrics, step)
        else:
            # Imported here, so that `import seqlight` does not wait for it.
            from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

            # Lightning adds the epoch to the metrics of `self.log`, which would be one more curve.
            names = [name for name in metrics if name != "epoch" and not name.startswith(f"{LENGTHS_GROUP}/")]
            values = [Summary.Value(tag=name, simple_value=float(metrics[name])) for name in names]
            if values:
                add_summary(self.experiment, Summary(value=values), self.model_step or step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the file. A Trainer that runs again, as `test` after `validate`, writes to a new one."""
        super().finalize(status)
        forget_writer(self)


def logger_of(folder: Path, *, kind: str | None = None) -> CurvesLogger:
    """The logger of a training run, or of its test or validation.

    Args:
        folder: the folder of the training run, `.../<name>/version_<n>`.
        kind: "test" or "validate" for a new subfolder, which no other process gets; None for the training run.
            TensorBoard would take a second curve in the same folder for a restart, and hide the first.

    Raises:
        WriteError: if there is no permission to write in the folder.
    """
    if not os.access(folder, os.W_OK):
        raise WriteError(f"can't write {folder}: {os.strerror(errno.EACCES)}")
    return CurvesLogger(
        folder.parent.parent,
        name=folder.parent.name,
        version=folder.name,
        sub_dir=new_folder(folder, kind, first=1).name if kind else None,
        default_hp_metric=False,
    )
