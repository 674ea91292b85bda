"""The logger and profiler that replace slower ones of Lightning."""

import torch
from lightning.pytorch import loggers
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seqlight.callbacks.logger import CurvesLogger
from seqlight.callbacks.profiler import NoProfiler


def scalars(folder):
    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_logger_writes_the_same_as_lightnings_logger(tmp_path):
    written = []
    for name, kind in (("seqlight", CurvesLogger), ("lightning", loggers.TensorBoardLogger)):
        logger = kind(tmp_path, name=name, version=0)
        for step in range(3):
            logger.log_metrics({"train/loss": torch.tensor(1.5 / (step + 1)), "count": step}, step)
        logger.log_metrics({"nested": {"a": 1.0, "b": 2.0}}, 3)
        logger.finalize("success")
        written.append(scalars(logger.log_dir))
    assert written[0] == written[1]
    assert set(written[0]) == {"train/loss", "count"}


def test_profiler_profiles_nothing():
    with NoProfiler().profile("anything") as context:
        assert context is None
