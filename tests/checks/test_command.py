"""`seqlight check`, and `seqlight fit` with a cell that breaks the contract."""

import re
import sys
from pathlib import Path

import pytest

from seqlight.checks.check_cell import PROPERTIES
from seqlight.cli import check as check_command
from tests.conftest import seqlight_run

MYCELLS = """
import torch
from seqlight import GatedCell


class LeakyCell(GatedCell):
    num_gates = 1

    def __init__(self, input_size: int, hidden_size: int = 8, leak: float = 0.3, mixes: bool = False):
        super().__init__(input_size, hidden_size)
        self.leak, self.mixes = leak, mixes

    def update(self, input_gates, hidden_gates, state):
        new = torch.tanh(input_gates + hidden_gates)
        if self.mixes:
            new = new - new.mean(0)
        return ((1 - self.leak) * state[0] + self.leak * new,)


class TensorCell(GatedCell):
    num_gates = 1

    def update(self, input_gates, hidden_gates, state):
        return torch.tanh(input_gates + hidden_gates)


class NoGates(LeakyCell):
    num_gates = None
"""


@pytest.fixture
def folder(tmp_path, monkeypatch, command_line_state):
    """A user's folder with mycells.py."""
    monkeypatch.chdir(tmp_path)
    Path("mycells.py").write_text(MYCELLS)
    sys.modules.pop("mycells", None)  # of another test file
    yield tmp_path
    sys.modules.pop("mycells", None)


@pytest.mark.parametrize(
    "arguments",
    [
        ("my.Cell", "--cell.leak", "-0.5", "--input_size=3"),
        ("--cell.leak", "-0.5", "--input_size=3", "my.Cell"),
        ("--cell.leak", "-0.5", "my.Cell", "--input_size=3"),
    ],
)
def test_cell_can_come_before_or_after_its_arguments(arguments):
    assert check_command._cell_as_flag(list(arguments)) == ["--cell=my.Cell", "--cell.leak", "-0.5", "--input_size=3"]


@pytest.mark.usefixtures("folder")
def test_command_prints_properties_and_measurements():
    status, out, err = seqlight_run("check", "mycells.LeakyCell", "--cell.hidden_size", "6", "--cell.leak=0.5")
    assert (status, err) == (0, "")
    title, _, *rows = out.splitlines()
    assert title == "LeakyCell(input_size=3, hidden_size=6) of 66 parameters"
    assert [row[:24].strip() for row in rows] == [prop.name for prop in PROPERTIES] + [
        "gradient at lag",
        "time per step",
    ]
    assert {row[24:30].strip() for row in rows[:-2]} == {"holds"}


@pytest.mark.usefixtures("folder")
def test_command_shows_a_broken_property():
    status, out, err = seqlight_run("check", "mycells.LeakyCell", "--cell.mixes", "true")
    assert (status, err) == (1, "")
    [line] = [line for line in out.splitlines() if "BROKEN" in line]
    assert re.match(r"batched = one by one +BROKEN +error 0\.\d+ at B=2, T=1, H=8, float64: batched: outputs\[", line)


@pytest.mark.usefixtures("folder", "without_type_checks")
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("mycells.NoGates",), r"first step +BROKEN +at B=1, T=1, float32: TypeError: "),
        (("mycells.LeakyCell", "--cell.hidden_size=0"), r"first step .* hidden_size must be at least 1, got 0"),
        (("mycells.TensorCell",), r"first step .* TensorCell: update\(\) must be a tuple of 1"),
    ],
)
def test_cell_that_raises_is_broken(arguments, line):
    status, out, err = seqlight_run("check", *arguments)
    assert (status, err) == (1, "")
    assert re.search(line, out, re.MULTILINE), out


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), r"check needs a cell\nusage: seqlight check CELL"),
        (("--cell.hidden_size=3",), r"check needs a cell\nusage: seqlight check CELL"),
        (("--cell",), r"--cell: expected one argument"),
        (("NoCell",), r"--cell: expected .*ElmanCell, .*GRUCell, .*LSTMCell.* got NoCell"),
        (("nomodule.Cell",), r"--cell: No module named 'nomodule'"),
        (("mycells.NoCell",), r"--cell: module 'mycells' has no attribute 'NoCell'"),
        (("torch.nn.GRU",), r"--cell: Expected 'torch\.nn\.GRU' to be a subclass of <class 'RecurrentCell'>"),
        (("os.getcwd",), r"--cell: "),
        (("LSTMCell", "--cell.hiden_size=3"), r"--cell\.hiden_size: there is no such argument"),
        (("LSTMCell", "--cell.hidden_size=big"), r"--cell\.hidden_size: expected int, got big"),
        (("mycells.LeakyCell", "--cell.leak=fast"), r"--cell\.leak: expected float, got fast"),
        (("LSTMCell", "GRUCell"), r"unrecognized arguments: GRUCell"),
        (("LSTMCell", "--input_size=0"), r"--input_size must be at least 1, got 0"),
        (("LSTMCell", "--input_size=many"), r"--input_size: expected int, got many"),
        (("LSTMCell", "--import=nomodule"), r"--import nomodule: .*No module named 'nomodule'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_arguments_give_a_short_message(arguments, message):
    status, out, err = seqlight_run("check", *arguments)
    assert (status, out) == (2, "")
    assert 1 <= len(err.splitlines()) <= 5
    assert "Traceback" not in err
    assert re.search(message, err), err


@pytest.mark.parametrize("arguments", [("--help",), ("GRUCell", "-h")])
def test_help_shows_usage_and_exit_status(arguments):
    status, out, _ = seqlight_run("check", *arguments)
    assert status == 0
    assert out.startswith("usage: seqlight check CELL [--cell.NAME VALUE ...]")
    assert "Exit status: 0" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.usefixtures("folder", "without_type_checks")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mycells.TensorCell",), r"TensorCell: update\(\) must be a tuple of 1 .*, got a tensor"),
        (("mycells.LeakyCell", "--model.cell.mixes=true"), r"LeakyCell mixes the sequences of a batch"),
    ],
)
def test_fit_names_a_cell_that_breaks_the_contract(arguments, message):
    status, _, err = seqlight_run("fit", "--model.cell", *arguments, "--device=cpu")
    assert status == 2
    assert len(err.splitlines()) == 1
    assert re.search(message, err), err
