"""TensorBoard's files of a run that continues, and the folders of tests."""

import time
from itertools import accumulate
from pathlib import Path

import lightning.pytorch as pl
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seqlight import RunDescription, SequenceClassifier, SumSign, SyntheticSequences
from seqlight.callbacks.logger import CurvesLogger, logger_of
from seqlight.common.errors import CheckpointError
from tests.cli.commands import QUIET, run
from tests.conftest import seqlight_run

STOPS = """
import os, signal
import lightning.pytorch as pl
class Stops(pl.Callback):
    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == int(os.environ["STOP"]):
            os.kill(os.getpid(), signal.SIGINT)
"""
FLAGS = (
    *("fit", "--device=cpu", *QUIET, "--model.cell.hidden_size=2", "--trainer.max_steps=9", "--data.batch_size=8"),
    *("--data.num_train=24", "--data.num_val=8", "--trainer.log_every_n_steps=1", "--trainer.callbacks+=stops.Stops"),
)


@pytest.mark.parametrize("hours", [-24 * 365, -1, 0])
def test_curves_do_not_depend_on_the_clock(hours, tmp_path, monkeypatch, command_line_state):
    """The clock is set back by hours before each of two resumes."""
    monkeypatch.chdir(tmp_path)
    Path("stops.py").write_text(STOPS)
    real = time.time
    for number, stop in enumerate((4, 7)):
        monkeypatch.setenv("STOP", str(stop))
        monkeypatch.setattr(time, "time", lambda late=number: real() + late * hours * 3600)
        assert seqlight_run(*FLAGS)[0] == 130
    monkeypatch.setenv("STOP", "-1")
    monkeypatch.setattr(time, "time", lambda: real() + 2 * hours * 3600)
    run(*FLAGS)
    [folder] = Path("runs").glob("*/version_0")
    steps = [point.step for point in EventAccumulator(str(folder)).Reload().Scalars("train/loss")]
    assert steps == list(range(1, 10))
    losses, best = (
        [point.value for point in EventAccumulator(str(folder)).Reload().Scalars(tag)]
        for tag in ("val/loss", "val/best_loss")
    )
    assert best == list(accumulate(losses, min))
    sizes = {path.name: path.stat().st_size for path in folder.glob("events*")}
    assert len(sizes) == 3
    # In the order of reading, each file goes on where the one before ended.
    parts = [EventAccumulator(str(folder / name)).Reload().Scalars("train/loss") for name in sorted(sizes)]
    assert [[point.step for point in part] for part in parts] == [[1, 2, 3, 4], [5, 6, 7], [8, 9]]


def test_first_file_has_the_time(tmp_path):
    before = int(time.time())
    CurvesLogger(tmp_path, name="a", version=0).experiment.close()
    [path] = tmp_path.glob("a/version_0/events*")
    assert before <= int(path.name.split(".")[3]) <= time.time()


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        ((), "test"),
        (("test",), "test_2"),
        (("test", "test_2", "test_3"), "test_4"),
        (("test_2",), "test_3"),
        (("test", "test_3"), "test_4"),
        (("test", "test_9", "test_10"), "test_11"),
        (("test_x", "tests", "validate_7"), "test"),
    ],
)
def test_a_folder_is_not_used_again_if_an_earlier_one_was_deleted(existing, expected, tmp_path):
    for name in existing:
        (tmp_path / "run" / "version_0" / name).mkdir(parents=True)
    folder = tmp_path / "run" / "version_0"
    folder.mkdir(parents=True, exist_ok=True)
    assert Path(logger_of(folder, kind="test").log_dir) == folder / expected
    assert Path(logger_of(folder).log_dir) == folder


@pytest.mark.filterwarnings("ignore:The number of training batches")
@pytest.mark.parametrize("in_place", [True, False])
def test_best_results_are_those_of_the_run(in_place, tmp_path):
    """Not those of another run, whose checkpoint it starts from."""
    data = SyntheticSequences(SumSign(max_length=3), num_train=16, num_val=16)

    def trainer(epochs, version):
        logger = CurvesLogger(tmp_path, name="name", version=version)
        options = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
        return pl.Trainer(max_epochs=epochs, callbacks=[RunDescription()], logger=logger, accelerator="cpu", **options)

    first = trainer(1, 0)
    first.fit(SequenceClassifier(input_size=1), data)
    [description] = [each for each in first.callbacks if isinstance(each, RunDescription)]
    assert set(description.state_dict()["best"]) == {"val/best_accuracy", "val/best_loss"}
    description.load_state_dict({"backend": "kernel", "best": {"val/best_accuracy": 2.0, "val/best_loss": -1.0}})
    path = tmp_path / "name" / "version_0" / "checkpoints" / "a.ckpt"
    first.save_checkpoint(path)
    trainer(2, 0 if in_place else 1).fit(SequenceClassifier(input_size=1), data, ckpt_path=path)
    events = EventAccumulator(str(tmp_path / "name" / f"version_{0 if in_place else 1}")).Reload()
    best = events.Scalars("val/best_loss")[-1].value
    assert best == (-1 if in_place else events.Scalars("val/loss")[-1].value)
    RunDescription().load_state_dict({"backend": "kernel"})  # of an earlier version
    with pytest.raises(CheckpointError):
        RunDescription().load_state_dict({"backend": "kernel", "best": {"val/best_loss": "low"}})
