"""SIGINT and SIGTERM in every phase of a command: it ends soon, with the signal's status and without a traceback."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import Command, _seqlight
from tests.small_training import COMMAND, MODULE, start, train

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")
FOREVER = ("fit", "--trainer.max_epochs=100000", "--model.lr_schedule=constant", "--trainer.enable_progress_bar=false")
# The last line; before it, a training says that it waits for the save.
STOPPED = r"(seqlight: SIGINT: the run stops [^\n]*\n)?seqlight: stopped by {}(; [^\n]*)?\n"


def wait_until_handled(process):
    """Wait until a process handles SIGTERM. Python itself handles SIGINT from the start, but not SIGTERM."""
    handled = 0
    while not handled & 1 << signal.SIGTERM - 1:
        time.sleep(0.005)
        found = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{process}/status").read_text())
        handled = int(found[1], 16) if found else 0


def assert_stopped(status, err, signum):
    assert status == 128 + signum, err
    assert re.fullmatch(STOPPED.format(signum.name), err), err


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3, 0.8, 2.0])
def test_interrupt_while_modules_are_imported(delay, tmp_path):
    command = [sys.executable, "-m", "seqlight", *FOREVER]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_until_handled(process.pid)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=60)[1]
    assert_stopped(process.returncode, err, signal.SIGINT)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signal_at_any_time(signum, tmp_path):
    rng = random.Random(int(signum))
    for number in range(5):
        (tmp_path / str(number)).mkdir()
        command = Command(tmp_path / str(number), *FOREVER, "--device=cpu")
        wait_until_handled(command.pid)
        time.sleep(rng.uniform(0, 1.5) ** 2)
        os.kill(command.pid, signum)
        status, _, err = command.wait(60)
        assert_stopped(status, err, signum)


LOSE = '''
import os
import signal
import sys
import time

import lightning.pytorch as pl


class Deleted:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)


class Lose(pl.Callback):
    """`LOSE="setup except"`: send SIGINT in this hook and lose the exception."""

    def lose(self, hook):
        place, how = os.environ["LOSE"].split(" ")
        if place != hook:
            return
        if how == "del":
            Deleted()
        try:
            if how != "del":
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
        except BaseException:
            if how == "other":
                raise ValueError("a library has replaced the exception")

    def setup(self, *_, **__):
        self.lose("setup")

    def on_test_end(self, *_):
        self.lose("test")


if os.environ["LOSE"] == "import ":
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)
'''


LOSSES = [(hook, how) for hook in ("setup", "test") for how in ("except", "del", "other")]


@pytest.mark.parametrize(("hook", "how"), [*LOSSES, ("import", "")])
def test_interrupt_is_not_lost(hook, how, short_run, tmp_path):
    (tmp_path / "lose.py").write_text(LOSE)
    arguments = ["fit", "--trainer.max_epochs=2", "--data.num_train=8", "--data.num_val=8"]
    if hook == "test":
        shutil.copytree(short_run, tmp_path / "runs")
        arguments = ["test", f"--ckpt_path={next((tmp_path / 'runs').rglob('best.ckpt'))}"]
    environment = {"LOSE": f"{hook} {how}"}
    flags = ("--import=lose", "--trainer.callbacks+=lose.Lose", "--trainer.enable_progress_bar=false")
    status, out, err = Command(tmp_path, *arguments, *flags, environment=environment).wait()
    assert_stopped(status, err, signal.SIGINT)
    assert "checkpoint  " not in out


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    """The runs folder of a short training."""
    folder = tmp_path_factory.mktemp("short")
    status, _, err = train(folder, "--trainer.max_epochs=1")
    assert status == 0, err
    return folder / "runs"


def impatient(arguments):
    """Run seqlight, which ends one second after a signal that it can't obey, in place of eight."""
    from seqlight.checkpoints import signals

    signals._SECONDS = 1.0
    return _seqlight(arguments)


@pytest.mark.parametrize("place", ["setup0", "start2", "val6", "save2", "test0", "predict0"])
def test_terminated_while_c_code_runs(place, short_run, tmp_path):
    (tmp_path / "events.py").write_text(MODULE)
    command = list(COMMAND)
    if place in ("test0", "predict0"):
        shutil.copytree(short_run, tmp_path / "runs")
        command = [place[:-1], "--import=events", "--trainer.callbacks+=events.Events"]
        command.append(f"--ckpt_path={next((tmp_path / 'runs').rglob('last.ckpt'))}")
    running = start(tmp_path, command=command, events=f"STUCK@{place}", program=impatient)
    while not (tmp_path / "waiting").exists():
        assert running.process.exitcode is None, running.read("err")
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGTERM)
    status, _, err = running.wait(10)
    assert_stopped(status, err, signal.SIGTERM)
    trains = place in ("start2", "val6", "save2")
    assert ("the same command continues from the last checkpoint" in err) == trains
    if trains:
        status, out, err = train(tmp_path)
        assert (status, err) == (0, "")
        assert "continues from step" in out or "starts again" in out
        assert not list(tmp_path.rglob("*.part"))


def interrupted_twice(arguments):
    """Run seqlight while a thread presses Ctrl-C twice in code that no signal interrupts."""
    import threading

    def press():
        while not Path("waiting").exists():
            time.sleep(0.02)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)

    threading.Thread(target=press, daemon=True).start()
    return impatient(arguments)


def test_second_interrupt_ends_c_code(tmp_path):
    status, _, err = start(tmp_path, events="STUCK@start2", program=interrupted_twice).wait(60)
    assert_stopped(status, err, signal.SIGINT)


def forks(_arguments):
    """Fork a process that gets SIGTERM, as torch ends the workers of a DataLoader."""
    from seqlight.checkpoints import signals

    signals._SECONDS = 0.2
    with signals.signals_handled():
        signals.stop_requests.defer()
        process = os.fork()
        if process == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0 if signals.stop_requests.signum == signal.SIGTERM else 1)
        status = os.waitpid(process, 0)[1]
        time.sleep(1.5)
        return status if signals.stop_requests.signum is None else 1


def test_signal_to_a_forked_process_is_its_own(tmp_path):
    status, _, err = Command(tmp_path, program=forks).wait(60)
    assert (status, err) == (0, "")
