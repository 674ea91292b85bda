"""Commands whose kernels can't be built: the compiler hangs, is killed, or is no longer there."""

import json
import os
import shlex
import signal
import sys
import time

import psutil
import pytest
import torch

from tests.plain_data import assert_same
from tests.small_training import MODULE, result, start, train, uninterrupted_result

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")

# It is built twice: for training, and for the first validation, when signals wait for a step to be saved.
CELL = """

class Changing(GatedCell):
    num_gates = 1

    def update(self, input_gates, hidden_gates, state):
        return (torch.tanh(input_gates + hidden_gates) * (0.9 if self.training else 0.8),)
"""
FLAGS = ("--model.cell=events.Changing", "--model.cell.hidden_size=8")
# Writes its process number, and those of the compiler's children. From the call `$CALL` on, it does `$DEED`.
COMPILER = """#!/bin/sh
cd {folder}
echo $$ >> compilers
if [ $(wc -l < compilers) -lt ${{CALL:-1000}} ]; then cd "$OLDPWD"; exec g++ "$@" -O0; fi
if [ $DEED = hang ]; then sh -c 'echo $$ >> compilers; touch hangs; trap "" INT TERM; sleep 1000' & wait; fi
echo 'g++: fatal error: Killed signal terminated program cc1plus' >&2
exit 1
"""


@pytest.fixture
def environment(tmp_path):
    """An empty cache of kernels, and a compiler that can fail, for runs in `tmp_path / "run"`."""
    (tmp_path / "compiler").write_text(COMPILER.format(folder=shlex.quote(str(tmp_path))))
    (tmp_path / "compiler").chmod(0o755)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "events.py").write_text(MODULE + CELL)
    return {"CXX": str(tmp_path / "compiler"), "SEQLIGHT_CACHE": str(tmp_path / "cache")}


def is_running(number, cache):
    """Whether a process is a compiler of this cache, and not a later process with the same number."""
    try:
        return psutil.Process(number).environ().get("SEQLIGHT_CACHE") == str(cache)
    except psutil.Error:
        return False


def stop(folder, environment, call, signum):
    """Send a signal while the compiler of this call hangs; returns what the command prints to standard error."""
    for name in ("compilers", "hangs"):
        (folder / name).unlink(missing_ok=True)
    command = start(folder / "run", *FLAGS, environment=environment | {"CALL": str(call), "DEED": "hang"})
    while not (folder / "hangs").exists():
        assert command.process.is_alive(), command.read("err")
        time.sleep(0.02)
    compilers = [int(number) for number in (folder / "compilers").read_text().split()]
    assert any(is_running(number, folder / "cache") for number in compilers)
    os.kill(command.pid, signum)
    status, _, err = command.wait(10)
    assert status == 128 + signum
    deadline = time.monotonic() + 10
    for number in map(int, (folder / "compilers").read_text().split()):
        while is_running(number, folder / "cache"):  # a process that was killed exists for a moment longer
            assert time.monotonic() < deadline, number
            time.sleep(0.02)
    assert not list((folder / "cache").glob("tmp*"))
    return err


def backends(run):
    """The backend in a run's description, and in its last checkpoint."""
    [version] = run.glob("runs/*/version_*")
    checkpoint = torch.load(version / "checkpoints" / "last.ckpt", weights_only=True)
    return json.loads((version / "run.json").read_text())["backend"], checkpoint["callbacks"]["RunDescription"][
        "backend"
    ]


def test_stopped_and_killed_builds_save_nothing_and_the_run_continues_exactly(tmp_path, environment):
    run = tmp_path / "run"
    assert (
        stop(tmp_path, environment, 1, signal.SIGINT)
        == "seqlight: stopped by SIGINT; it was not training, so nothing is lost\n"
    )
    assert not list(run.glob("runs"))
    err = stop(tmp_path, environment, 3, signal.SIGTERM)
    assert err == "seqlight: stopped by SIGTERM; the same command continues from the last checkpoint\n"
    status, out, err = train(run, *FLAGS, environment=environment | {"CALL": "1", "DEED": "die"})
    assert (status, "continues from step 5") == (5, out.splitlines()[0][-47:-26])
    assert err.startswith("seqlight: error: ")
    assert "Killed signal terminated program cc1plus" in err
    assert "--model.backend eager" in err
    assert len(err.splitlines()) <= 5
    assert backends(run) == ("kernel", "kernel")
    status, out, err = train(run, *FLAGS, environment=environment)
    assert (status, err) == (0, "")
    assert "backend" not in out
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "events.py").write_text(MODULE + CELL)
    assert_same(result(run), uninterrupted_result(tmp_path / "whole", *FLAGS, environment=environment))


def test_run_that_continues_with_another_backend_says_so(tmp_path, environment):
    run = tmp_path / "run"
    stop(tmp_path, environment, 1, signal.SIGTERM)
    stop(tmp_path, environment, 3, signal.SIGINT)
    assert backends(run) == ("kernel", "kernel")
    status, out, _ = train(run, *FLAGS, environment=environment | {"CXX": "no-such-compiler"})
    assert status == 0
    text = "eager (no C++ compiler (no-such-compiler) on this machine)"
    assert f"backend: {text}; before the checkpoint it was kernel, so results can differ" in out
    assert backends(run) == (text, "eager")
