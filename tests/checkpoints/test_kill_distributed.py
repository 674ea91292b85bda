"""Runs in two processes: exact resume, one of them dying, signals to one of them."""

import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.plain_data import assert_same
from tests.small_training import COMMAND, result, start, uninterrupted_result

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
COMMAND = [*COMMAND, "--trainer.strategy=ddp", "--trainer.devices=2"]  # nine steps, three in an epoch
LOST = "seqlight: error: another process of this run has ended, so this one ends too\n"
STOPPED = "seqlight: stopped by SIGTERM; saved at step 5: the same command continues from there\n"


def start_two(folder, events="", process=0):
    """Start the command in a folder; `events` happen in the first or second of its processes."""
    environment = {"EVENTS": events, "EVENTS_RANK": str(process)}
    return start(folder, command=COMMAND, environment=environment, launcher="lightning")


def assert_ends(process):
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{process}"):
        assert time.monotonic() < deadline, "it outlives its parent"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def wait():
    """Wait for a command; its second process must end within ten seconds of it, while the tests continue."""
    with ThreadPoolExecutor() as pool:
        checks = []

        def wait_for(command):
            outcome = command.wait()
            checks.append(pool.submit(assert_ends, int((command.folder / "process-1").read_text())))
            return outcome

        yield wait_for
        for check in checks:
            check.result()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, wait):
    """The result of the run without interruption."""
    return uninterrupted_result(tmp_path_factory.mktemp("whole"), train=lambda folder: wait(start_two(folder)))


def test_waiting_process_ends_with_its_parent(wait, tmp_path):
    command = start_two(tmp_path, "WAIT@setup0", process=1)
    deadline = time.monotonic() + 100
    while not (tmp_path / "waiting").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(command.pid, signal.SIGKILL)
    assert wait(command)[0] == -signal.SIGKILL


@pytest.mark.parametrize(
    ("events", "process", "outcomes"),
    [
        ("SIGKILL@start4", 0, [(-signal.SIGKILL, "")]),
        # Lightning checks every five seconds that all processes are alive, and else kills the first.
        ("SIGKILL@start4", 1, [(1, LOST), (-signal.SIGKILL, LOST), (-signal.SIGKILL, "")]),
        ("SIGTERM@start4", 1, [(128 + signal.SIGTERM, STOPPED)]),
    ],
    ids=["first is killed", "second is killed", "second is told to stop"],
)
def test_interrupted_run_continues_exactly(events, process, outcomes, uninterrupted, wait, tmp_path):
    assert wait(start_two(tmp_path, events, process))[::2] in outcomes
    status, out, err = wait(start_two(tmp_path))
    assert (status, err) == (0, "")
    assert "continues from step" in out
    assert_same(result(tmp_path), uninterrupted)
