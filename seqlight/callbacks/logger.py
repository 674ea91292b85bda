"""TensorBoard's loggers of training and of tests."""

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import loggers
from lightning.pytorch.utilities import rank_zero_only

from seqlight.common.errors import WriteError


class CurvesLogger(loggers.TensorBoardLogger):
    """As Lightning's, but what is logged together is written together."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Write scalars as one event; what else there is as Lightning does."""
        if any(isinstance(value, Mapping) for value in metrics.values()):
            super().log_metrics(metrics, step)
        else:
            # Imported here: `import seqlight` need not wait for it.
            from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

            # Lightning adds the epoch to what `self.log` gives: a curve that nobody asked for.
            scalars = {name: float(value) for name, value in metrics.items() if name != "epoch"}
            values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
            self.experiment.file_writer.add_summary(Summary(value=values), step)


def logger_of(folder: Path, *, kind: str | None = None) -> CurvesLogger:
    """The logger of a run that writes `folder`, or of its test or validation.

    Args:
        folder: that of the training, `.../<name>/version_<n>`.
        kind: "test" or "validate", which have folders of their own within, as runs of their own: TensorBoard takes a
            second curve in the same folder for a restart, and hides the first.

    Raises:
        WriteError: if nothing may be written there.
    """
    if not os.access(folder, os.W_OK):
        raise WriteError(f"can't write {folder}: {os.strerror(errno.EACCES)}")
    earlier = len([*folder.glob(f"{kind}/"), *folder.glob(f"{kind}_*/")])
    return CurvesLogger(
        folder.parent.parent,
        name=folder.parent.name,
        version=folder.name,
        sub_dir=f"{kind}_{earlier + 1}" if kind and earlier else kind,
        default_hp_metric=False,
    )
