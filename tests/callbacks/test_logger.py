"""TensorBoard's files of a run that continues, and the folders of tests."""

import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seqlight.callbacks.logger import CurvesLogger, logger_of
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
