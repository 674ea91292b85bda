"""Output that can't be written or encoded does not change what a command does."""

import os
import subprocess
import sys

import pytest

from tests.processes import Command, _seqlight

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="it writes to /dev/full")
SMALL = ("--data.num_train=8", "--data.num_val=8", "--data.num_test=8", "--device=cpu")
FIT = ("fit", *SMALL, "--trainer.max_epochs=1", "--figures.every_n_epochs=0")
FULL = "seqlight: {}: can't write to standard output: No space left on device\n"


def into_full(arguments):
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    return _seqlight(arguments)


def into_closed_pipe(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)
    return _seqlight(arguments)


def closed(arguments):
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    sys.stdout = sys.stderr = None  # as Python starts then
    return _seqlight(arguments)


def errors_into_full(arguments):
    os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
    return _seqlight(arguments)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    assert Command(folder, *FIT).wait()[0] == 0
    return str(next(folder.rglob("last.ckpt")))


@pytest.mark.parametrize("command", ["fit", "test", "predict", "cells", "--version", "--print_config", "wrong"])
@pytest.mark.parametrize("program", [into_full, into_closed_pipe, closed, errors_into_full])
def test_status_does_not_depend_on_the_output(program, command, checkpoint, tmp_path):
    arguments = {
        "fit": FIT,
        "test": ("test", *SMALL, f"--ckpt_path={checkpoint}"),
        "predict": ("predict", *SMALL, f"--ckpt_path={checkpoint}"),
        "--print_config": (*FIT, "--print_config"),
        "wrong": ("cells", "--wrong"),
    }.get(command, (command,))
    status, _, err = Command(tmp_path, *arguments, program=program).wait()
    expected, kind = 2 if command == "wrong" else 0, "warning"
    if program is into_full and command in ("test", "cells", "--version", "--print_config"):
        expected, kind = 5, "error"  # nothing else has the result
    assert status == expected, err
    if program in (closed, errors_into_full):
        assert err == ""
    elif program is into_full and command != "wrong":
        assert err == FULL.format(kind)
    else:
        assert err == ("seqlight: error: cells takes only --import MODULE, got --wrong\n" if command == "wrong" else "")
    if command == "fit":
        [state] = tmp_path.rglob("run.json")
        assert '"finished": true' in state.read_text()


def test_version_into_a_full_disk():
    command = [sys.executable, "-m", "seqlight", "--version"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (5, FULL.format("error"))


NAMES = ("日本", "über", "a\ud800b")
ESCAPED = ("日本", "über", r"a\ud800b")


def strict(arguments):
    """Run seqlight with the output of a terminal that shows few characters."""
    sys.stdout.reconfigure(encoding=os.environ["SHOWS"], errors="strict")
    sys.stderr.reconfigure(encoding=os.environ["SHOWS"], errors="strict")
    return _seqlight(arguments)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_class_names_that_the_terminal_does_not_show(encoding, tmp_path):
    import numpy as np

    rng = np.random.default_rng(0)
    targets = np.array(NAMES)[np.arange(60) % 3]
    np.savez(tmp_path / "data.npz", inputs=rng.normal(size=(60, 5, 1)).astype(np.float32), targets=targets)
    flags = ("--data=SequenceFiles", "--data.train=data.npz", "--trainer.max_epochs=1", "--device=cpu")
    environment = {"SHOWS": encoding}
    status, _, err = Command(tmp_path, "fit", *flags, program=strict, environment=environment).wait()
    assert (status, err) == (0, "")
    shown = tmp_path.with_name(f"{tmp_path.name}.out").read_bytes()
    for name in NAMES:
        assert name.encode("utf-8", "backslashreplace").decode().encode(encoding, "backslashreplace") in shown
    [checkpoint] = tmp_path.rglob("best.ckpt")
    command = ("predict", f"--ckpt_path={checkpoint}", "--data.predict=data.npz", "--device=cpu")
    status, _, err = Command(tmp_path, *command, program=strict, environment=environment).wait()
    assert (status, err) == (0, "")
    header = (tmp_path / "predictions.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "id," + ",".join(f"probability_{name}" for name in sorted(ESCAPED)) + ",prediction,label"


def test_name_of_a_file_that_is_not_text(tmp_path):
    name = os.fsdecode(b"caf\xe9.csv")
    rows = [f"{index},{index % 2 + step}.5,{index % 2}\n" for index in range(20) for step in range(3)]
    (tmp_path / name).write_text("".join(["sequence,value,target\n", *rows]))
    flags = ("--data=SequenceFiles", f"--data.train={name}", "--trainer.max_epochs=1", "--device=cpu")
    status, _, err = Command(tmp_path, "fit", *flags).wait()
    assert "Traceback" not in err
    assert status in (0, 2)
