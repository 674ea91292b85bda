"""Runs in two processes: exact resume, one of them dying, signals to one of them."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.small_training import COMMAND, MODULE, assert_equal, result, whole_result

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
STEPS = 9  # three in an epoch


def begin(folder, happens="", process=0):
    """The command in a folder, under way; `happens` in the first or second of its processes."""
    folder.mkdir(exist_ok=True)
    (folder / "happens.py").write_text(MODULE)
    return subprocess.Popen(
        [sys.executable, "-m", "seqlight", *COMMAND, "--trainer.strategy=ddp", "--trainer.devices=2"],
        cwd=folder,
        env={**os.environ, "HAPPENS": happens, "HAPPENS_IN": str(process)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(command, folder):
    """Exit status, standard output and standard error; the second process is gone within ten seconds."""
    out, err = command.communicate(timeout=200)
    deadline, second = time.monotonic() + 10, int((folder / "process-1").read_text())
    while os.path.exists(f"/proc/{second}"):
        assert time.monotonic() < deadline, "it outlives its parent"
        time.sleep(0.1)
    return command.returncode, out, err


def train(folder, happens="", process=0):
    return end(begin(folder, happens, process), folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What the run gives that nothing ends."""
    return whole_result(tmp_path_factory.mktemp("whole"), train)


LOST = "seqlight: error: another process of this run has ended, so this one ends too\n"
STOPPED = "seqlight: stopped by SIGTERM; saved at step 5: the same command continues from there\n"


@pytest.mark.parametrize(
    ("happens", "process", "outcomes"),
    [
        ("SIGKILL@start4", 0, [(-signal.SIGKILL, "")]),
        # Lightning looks every five seconds whether all are there, and else kills the first.
        ("SIGKILL@start4", 1, [(1, LOST), (-signal.SIGKILL, LOST), (-signal.SIGKILL, "")]),
        ("SIGTERM@start4", 1, [(128 + signal.SIGTERM, STOPPED)]),
    ],
    ids=["first dies", "second dies", "second is told to stop"],
)
def test_a_run_that_ends_goes_on_as_if_it_had_not(happens, process, outcomes, whole, tmp_path):
    assert train(tmp_path, happens, process)[::2] in outcomes
    status, out, err = train(tmp_path)
    assert (status, err) == (0, "")
    assert "continues from step" in out
    for expected, got in zip(whole, result(tmp_path), strict=True):
        assert_equal(expected, got)


def test_a_process_that_waits_for_something_else_does_not_outlive_its_parent(tmp_path):
    command = begin(tmp_path, "WAIT@setup0", process=1)
    deadline = time.monotonic() + 100
    while not (tmp_path / "waiting").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    command.kill()
    assert end(command, tmp_path)[0] == -signal.SIGKILL
