"""The logger, progress bar and profiler that replace slower ones of Lightning."""

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch import loggers
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seqlight import SequenceClassifier, SumSign, SyntheticSequences
from seqlight.callbacks.logger import CurvesLogger
from seqlight.callbacks.profiler import NoProfiler
from seqlight.callbacks.progress_bar import TimedProgressBar


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


class Counted(TimedProgressBar):
    """A bar that records the batches at which it draws."""

    def __init__(self):
        super().__init__()
        self.drawn = []

    def get_metrics(self, trainer, pl_module):
        self.drawn.append((trainer.current_epoch, trainer.fit_loop.batch_idx))
        return super().get_metrics(trainer, pl_module)


@pytest.mark.parametrize("seconds", [0.0, 3600.0])
def test_progress_bar_is_drawn_at_intervals_and_at_the_end_of_an_epoch(seconds, monkeypatch):
    monkeypatch.setattr(TimedProgressBar, "_SECONDS", seconds)
    monkeypatch.setattr(TimedProgressBar, "_last_drawn", float("inf") if seconds else 0.0)
    bar = Counted()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False, callbacks=[bar], limit_val_batches=0
    )
    trainer.fit(SequenceClassifier(input_size=1), SyntheticSequences(SumSign(), num_train=96))
    batches = [0, 1, 2] if seconds == 0 else [2]
    assert sorted(set(bar.drawn)) == [(epoch, batch) for epoch in range(2) for batch in batches]


def test_profiler_profiles_nothing():
    with NoProfiler().profile("anything") as context:
        assert context is None
