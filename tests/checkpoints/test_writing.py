"""Files of a run are complete or absent: kills while it saves, full and read-only disks, two writers."""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from seqlight.checkpoints.files import read_plain
from tests.plain_data import assert_same
from tests.processes import Command
from tests.small_training import result, start, train, uninterrupted_result

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
SMALL = ("--data.num_train=8", "--data.num_val=8", "--trainer.max_epochs=1", "--figures.every_n_epochs=0")
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def last_inodes(folder):
    """The inode of the last checkpoint, in a list; empty if there is none."""
    with contextlib.suppress(FileNotFoundError):
        return [path.stat().st_ino for path in folder.rglob("last.ckpt")]
    return []


def checkpoints(folder):
    """The contents of checkpoints by name."""
    return {path.name: path.read_bytes() for path in folder.rglob("*.ckpt") if not path.name.startswith(".")}


def other_file_system(folder):
    """A folder on another file system, from which no file can be renamed into `folder`."""
    for place in ("/dev/shm", "/run", "/var/tmp"):
        if os.access(place, os.W_OK) and os.stat(place).st_dev != os.stat(folder).st_dev:
            return place
    return pytest.skip("there is only one file system")


def test_twenty_kills_while_checkpoints_are_written(tmp_path):
    temporary = tempfile.mkdtemp(dir=other_file_system(tmp_path))
    rng = random.Random(0)
    loaded = step = 0
    forever = ("--trainer.max_epochs=-1", "--model.lr_schedule=constant")
    for _ in range(20):
        last = last_inodes(tmp_path)
        command = start(tmp_path, *forever, environment={"TMPDIR": temporary})
        wait_for(lambda last=last: last_inodes(tmp_path) not in ([], last))
        time.sleep(rng.uniform(0, 0.1))
        os.kill(command.pid, signal.SIGKILL)
        status, _, err = command.wait()
        assert (status, err) == (-signal.SIGKILL, "")
        steps = [read_plain(path)["global_step"] for path in tmp_path.rglob("[lpb]*.ckpt")]  # raises if one is damaged
        step = max(step, *steps)
        # Between the two renames there is no last checkpoint: then the run continues from the previous one.
        loaded += max(steps) >= step - 1
    assert loaded == 20
    status, out, err = train(tmp_path, *forever, events=f"SIGTERM@start{step + 1}")
    assert re.search(rf"continues from step ({step - 1}|{step});", out)
    assert status == 128 + signal.SIGTERM, err
    [folder] = tmp_path.glob("runs/*/*/checkpoints")
    assert {path.name for path in folder.iterdir()} - {"best.ckpt"} == {"last.ckpt", "previous.ckpt"}
    assert os.listdir(temporary) == []
    os.rmdir(temporary)


@contextlib.contextmanager
def small_disk(folder, size):
    """Mount a file system of `size` on a folder."""
    mounted = IS_ROOT and shutil.which("mount")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if not mounted or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here; other tests inject the error")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The result of the run without interruption."""
    return uninterrupted_result(tmp_path_factory.mktemp("whole"))


def assert_continues(folder, step, uninterrupted, **options):
    status, out, err = train(folder, **options)
    assert (status, err) == (0, "")
    assert f"continues from step {step};" in out
    assert_same(result(folder), uninterrupted)


def test_full_disk(tmp_path, uninterrupted):
    with small_disk(tmp_path, "4m"):
        status, _, _ = train(tmp_path, events="SIGKILL@end8")
        assert status == -signal.SIGKILL
        before = checkpoints(tmp_path)
        filler = tmp_path / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1024))
        status, _, err = train(tmp_path)
        assert status == 5
        assert re.fullmatch(r"seqlight: error: can't write .+: No space left on device\n", err)
        assert checkpoints(tmp_path) == before
        filler.unlink()
        assert_continues(tmp_path, 7, uninterrupted)


def test_disk_becomes_full_while_saving(tmp_path, uninterrupted):
    status, _, err = train(tmp_path, events="FULL@start8")
    assert status == 5
    assert re.fullmatch(r"seqlight: error: can't write .*\.ckpt.part: No space left on device\n", err)
    assert read_plain(next(tmp_path.rglob("last.ckpt")))["global_step"] == 8
    assert read_plain(next(tmp_path.rglob("previous.ckpt")))["global_step"] == 7
    assert not list(tmp_path.rglob("*.part"))
    assert_continues(tmp_path, 8, uninterrupted)


def test_read_only_disk(tmp_path):
    with small_disk(tmp_path, "4m"):
        assert train(tmp_path, "--trainer.max_epochs=1")[0] == 0
        before = checkpoints(tmp_path)
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path)], check=True)
        status, _, err = train(tmp_path, "--trainer.max_epochs=1")
        assert status == 5
        assert re.fullmatch(r"seqlight: error: can't write runs.*: Read-only file system\n", err)
        assert checkpoints(tmp_path) == before


def test_unwritable_folder_is_reported_before_the_first_step(tmp_path):
    tmp_path.chmod(0o555)
    status, _, err = Command(tmp_path, "fit", *SMALL, bound=IS_ROOT).wait()
    tmp_path.chmod(0o755)
    assert status == 5
    assert err == "seqlight: error: can't write runs/SumSign-LSTMCell: Permission denied\n"
    assert list(tmp_path.iterdir()) == []


def test_lost_permission(tmp_path, uninterrupted):
    status, _, err = train(tmp_path, events="LOCK@start3", bound=IS_ROOT)
    assert status == 5
    assert re.fullmatch(r"seqlight: error: can't write .*\.ckpt.part: Permission denied\n", err)
    [checkpoints_folder] = tmp_path.glob("runs/*/*/checkpoints")
    assert read_plain(checkpoints_folder / "last.ckpt")["global_step"] == 3
    checkpoints_folder.chmod(0o755)
    assert_continues(tmp_path, 3, uninterrupted, bound=IS_ROOT)


def test_second_run_in_a_folder_is_refused(tmp_path, uninterrupted):
    first = start(tmp_path, events="WAIT@start3")
    wait_for((tmp_path / "waiting").exists)
    status, _, err = train(tmp_path)
    assert status == 2
    assert re.fullmatch(
        rf"seqlight: error: runs/.*version_0 is being written by process {first.pid}; --fresh starts a new run\n",
        err,
    )
    status, out, err = train(tmp_path, "--fresh")
    assert status == 0, err
    assert "version_1" in out
    shutil.rmtree(next(tmp_path.glob("runs/*/version_1")))
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert_continues(tmp_path, 3, uninterrupted)  # the lock of a process that has died is free


def test_second_interrupt_exits_at_once(tmp_path, uninterrupted):
    command = start(tmp_path, events="WAIT@start3")
    wait_for((tmp_path / "waiting").exists)
    os.kill(command.pid, signal.SIGINT)
    wait_for(lambda: "SIGINT" in command.read("err"))
    assert command.process.exitcode is None  # it waits for the end of the step
    os.kill(command.pid, signal.SIGINT)
    status, _, err = command.wait(10)
    assert status == 128 + signal.SIGINT
    assert err == "seqlight: SIGINT: the run stops when it is saved; press Ctrl-C again to exit at once\n"
    assert_continues(tmp_path, 3, uninterrupted)


def test_run_that_never_began_leaves_no_files(tmp_path):
    status, _, err = train(tmp_path, "--trainer.gradient_clip_algorithm=other")
    assert status == 2, err
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"events.py"}


def test_damaged_checkpoint_never_replaces_a_complete_one(tmp_path, uninterrupted):
    assert train(tmp_path, events="SIGKILL@end8")[0] == -signal.SIGKILL
    [last] = tmp_path.rglob("last.ckpt")
    assert not last.samefile(last.with_name("previous.ckpt"))
    last.write_bytes(last.read_bytes()[:-1000])
    status, out, _ = train(tmp_path, events="FULL@start6")  # it continues from step 6, and can't save step 7
    assert status == 5
    assert re.search(r"last\.ckpt .*damaged", out)
    assert_continues(tmp_path, 6, uninterrupted)


def test_unfinished_run_that_does_not_continue_is_reported(tmp_path):
    assert train(tmp_path, events="SIGKILL@end3")[0] == -signal.SIGKILL
    status, out, err = train(tmp_path, "--trainer.max_epochs=2")
    assert out.startswith(
        "runs/SumSign-LSTMCell/version_0 is unfinished, but differs in --trainer.max_epochs; to continue it"
    )
    status, out, err = train(tmp_path, "--trainer.max_epochs=5", "--ckpt_path=last")
    assert status == 2
    status, out, err = train(tmp_path, "--fresh", "--ckpt_path=last")
    assert (status, err) == (2, "seqlight: error: --fresh contradicts --ckpt_path last\n")
