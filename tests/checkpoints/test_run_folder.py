"""The folder of a run: commands that start at once, and folders and files that vanish during a run."""

import re
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.processes import Command, _seqlight
from tests.small_training import start, train

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
SMALL = ("--data.num_train=8", "--data.num_val=8", "--data.num_test=8", "--trainer.enable_progress_bar=false")
FIT = ("fit", *SMALL, "--trainer.max_epochs=1", "--figures.every_n_epochs=0", "--device=cpu")


def together(arguments):
    """Run seqlight when all are ready."""
    Path("ready", arguments[0]).touch()
    while not Path("ready", "go").exists():
        time.sleep(0.01)
    return _seqlight(arguments[1:])


def run_together(folder, *commands):
    """Run commands at once in one folder; returns their statuses and errors."""
    (folder / "ready").mkdir()
    started = []
    for number, arguments in enumerate(commands):
        started.append(Command(folder, str(number), *arguments, program=together, output=f"{folder}-{number}"))
    while len([*(folder / "ready").iterdir()]) < len(commands):
        time.sleep(0.02)
    (folder / "ready" / "go").touch()
    return [command.wait()[::2] for command in started]


@pytest.mark.parametrize("flags", [(), ("--trainer.enable_checkpointing=false",)], ids=["saves", "does not save"])
def test_equal_runs_at_once_train_once(flags, tmp_path):
    outcomes = run_together(tmp_path, *[(*FIT, *flags)] * 8)
    refused = [err for status, err in outcomes if status == 2]
    assert sorted(status for status, _ in outcomes) == [0] + 7 * [2], outcomes
    for err in refused:
        assert re.fullmatch(
            r"seqlight: error: runs/SumSign-LSTMCell/version_0 (is being written by process \d+"
            r"|was finished by process \d+ while this command started); --fresh starts a new run\n",
            err,
        )
    [version] = (tmp_path / "runs" / "SumSign-LSTMCell").glob("version_*")
    assert len([*version.glob("events.*")]) == 1
    assert Command(tmp_path, *FIT, *flags).wait()[0] == 0  # later, the same command trains again
    assert len([*version.parent.glob("version_*")]) == 2


def test_fresh_and_different_runs_at_once_have_their_own_folders(tmp_path):
    commands = [*[(*FIT, "--fresh")] * 3, (*FIT, "--model.learning_rate=0.1"), (*FIT, "--model.learning_rate=0.2")]
    assert run_together(tmp_path, *commands) == [(0, "")] * 5
    for number in range(5):
        [folder] = tmp_path.glob(f"runs/*/version_{number}")
        assert len([*folder.glob("events.*")]) == 1


@pytest.mark.parametrize("in_run", [True, False])
def test_tests_and_validations_at_once_have_their_own_folders(in_run, tmp_path):
    assert Command(tmp_path, *FIT).wait()[0] == 0
    [checkpoint] = tmp_path.rglob("last.ckpt")
    if not in_run:
        checkpoint = checkpoint.rename(tmp_path / "model.ckpt")
    command = ("--ckpt_path", str(checkpoint), *SMALL, "--device=cpu")
    outcomes = run_together(tmp_path, *[("test", *command)] * 4, *[("validate", *command)] * 2)
    assert outcomes == [(0, "")] * 6
    [parent] = tmp_path.glob("runs/*/version_0" if in_run else "runs/*")
    folders = sorted(path.name for path in parent.iterdir() if path.is_dir() and path.name != "checkpoints")
    if in_run:
        assert folders == ["test", "test_2", "test_3", "test_4", "validate", "validate_2"]
    else:
        assert folders == [f"version_{number}" for number in range(7)]
    assert all(len([*(parent / folder).glob("events.*")]) == 1 for folder in folders)


def test_folder_of_a_test_has_a_new_number_and_is_removed_if_empty(tmp_path):
    assert Command(tmp_path, *FIT).wait()[0] == 0
    [version] = tmp_path.glob("runs/*/version_0")
    (version / "test_3").mkdir()
    command = ("--ckpt_path", str(version / "checkpoints" / "last.ckpt"), *SMALL, "--device=cpu")
    assert Command(tmp_path, "test", *command).wait()[0] == 0
    assert Command(tmp_path, "test", *command, "--data.num_test=0").wait()[0] == 2
    assert {path.name for path in version.glob("test*")} == {"test_3", "test_4"}


VANISH = ["DELETE@start3", "DELETE@epoch18", "DELETE_CHECKPOINTS@val6", "DELETE_EVENTS@start3", "DELETE_EVENTS@epoch18"]


@pytest.mark.parametrize("event", [*VANISH, "RENAME@start0", "RENAME@epoch18", "REPLACE@val6"])
def test_folder_that_vanishes_is_reported(event, tmp_path):
    status, out, err = train(tmp_path, events=event)
    assert status == 5, err
    assert re.fullmatch(r"seqlight: error: can't write runs[^\n]*: (\S+ was|it was|No such file)[^\n]*\n", err), err
    assert "checkpoint  " not in out


def test_folder_that_vanishes_without_checkpoints_is_reported(tmp_path):
    flags = ("--trainer.enable_checkpointing=false", "--trainer.logger=false")
    status, _, err = train(tmp_path, *flags, events="DELETE@val6")
    assert status == 5
    assert err.endswith("was deleted or renamed during the run\n")


def test_drafts_of_a_killed_run_are_removed_when_another_starts(tmp_path):
    assert train(tmp_path, events="SIGKILL@end3")[0] == -signal.SIGKILL
    [version] = tmp_path.glob("runs/*/version_0")
    dead = [version / ".run.json.1.part", version / "checkpoints" / ".last.ckpt.part"]
    other = version.parent / "version_7" / ".last.ckpt.part"  # no lock: another program's
    other.parent.mkdir()
    for path in (*dead, other):
        path.touch()
    running = start(tmp_path, "--model.learning_rate=0.1", events="WAIT@start3")
    while not (tmp_path / "waiting").exists():
        time.sleep(0.02)
    assert not any(path.exists() for path in dead)
    assert other.exists()
    live = next(path for path in tmp_path.glob("runs/*/version_8")) / "checkpoints" / ".last.ckpt.part"
    live.touch()
    assert train(tmp_path, "--model.learning_rate=0.2", "--trainer.max_epochs=1")[0] == 0
    assert live.exists()
    (tmp_path / "go").touch()
    assert running.wait()[0] == 0


def test_lock_of_another_user_is_no_obstacle(tmp_path):
    assert Command(tmp_path, *FIT).wait()[0] == 0
    [lock] = tmp_path.glob("runs/*/lock")
    lock.chmod(0o444)
    assert Command(tmp_path, *FIT, bound=True).wait()[::2] == (0, "")
    assert len([*tmp_path.glob("runs/*/version_*")]) == 2
