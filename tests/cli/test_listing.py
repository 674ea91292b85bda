import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import seqlight
from seqlight import SequenceTask, TaskExample
from seqlight.cli.listing import command_lines
from tests.conftest import seqlight_run
from tests.processes import Command

# Parameters of each gate at F = 1, H = 32: W_ih 32, b_ih 32, W_hh 32 * 32, b_hh 32.
AFFINE, NO_RECURRENCE = 32 + 32 + 32 * 32 + 32, 32 + 32
EXPECTED = {  # parameters, states, gates
    "ElmanCell": (AFFINE, 1, "1"),
    "GRUCell": (3 * AFFINE, 1, "3"),
    "IndRNNCell": (NO_RECURRENCE + 32, 1, "1"),
    "JANETCell": (2 * AFFINE, 1, "2"),
    "LayerNormLSTMCell": (4 * (32 + 32 * 32) + 2 * 2 * 4 * 32 + 2 * 32, 2, "step"),
    "LSTMCell": (4 * AFFINE, 2, "4"),
    "MGUCell": (2 * AFFINE, 1, "2"),
    "MinGRUCell": (2 * NO_RECURRENCE, 1, "2"),
    "MinLSTMCell": (3 * NO_RECURRENCE, 1, "3"),
    "PeepholeLSTMCell": (4 * AFFINE + 3 * 32, 2, "4"),
    "SLSTMCell": (4 * AFFINE, 4, "4"),
    "UGRNNCell": (2 * AFFINE, 1, "2"),
}

MYCELLS = '''
import torch
from seqlight import GatedCell, LSTMCell, RecurrentCell


class LeakyCell(GatedCell):
    """Leaks.

    And more.
    """

    num_gates = 1

    def update(self, input_gates, hidden_gates, state):
        return (0.9 * state[0] + input_gates,)


class Unfinished(GatedCell):
    pass


class Last(RecurrentCell):
    def __init__(self, input_size):
        super().__init__(input_size, input_size)

    def initial_state(self, batch_size, *, device, dtype):
        return (torch.zeros(batch_size, 1), torch.zeros(batch_size, 1))

    def forward(self, inputs, state):
        return inputs, state


class Demanding(LeakyCell):
    def __init__(self, input_size, rate):
        super().__init__(input_size)
'''


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("listed_cells", None)


def cells(*arguments):
    """The header, and for each cell three numbers and the remaining text."""
    status, out, err = seqlight_run("cells", *arguments)
    assert status == 0, err
    header, *lines = out.splitlines()
    text = re.sub(r"\n  +", "  ", "\n".join(lines))  # the summary follows in lines of its own
    rows = [re.match(r"(\S+) +(\S+) +(\S+) +(\S+)  (.*)$", line).groups() for line in text.splitlines()]
    rows = [(*row[:4], re.sub(" +", " ", row[4])) for row in rows]
    # Other tests define cells too.
    return header, {row[0]: row[1:] for row in rows if "." not in row[0] or row[0].startswith("listed_cells.")}


def test_each_cell_has_a_line():
    header, rows = cells()
    assert header.endswith("(input_size 1, hidden_size 32)")
    assert {name: (int(row[0]), int(row[1]), row[2]) for name, row in rows.items()} == EXPECTED
    for name, row in rows.items():
        assert row[3] == inspect.getdoc(getattr(seqlight, name)).splitlines()[0]
        assert len(row[3]) > 10


@pytest.mark.parametrize("flag", [("--import=listed_cells",), ("--import", "listed_cells")])
def test_imported_cells_are_listed(flag):
    Path("listed_cells.py").write_text(MYCELLS)
    _, rows = cells(*flag)
    mine = {name.partition(".")[2]: row for name, row in rows.items() if name.startswith("listed_cells.")}
    assert list(mine) == ["Demanding", "Last", "LeakyCell"]
    assert mine["LeakyCell"] == (str(AFFINE), "1", "1", "Leaks.")
    assert mine["Last"] == ("0", "2", "step", "no description")
    assert mine["Demanding"][:3] == ("-", "-", "-")
    assert re.search("can't be created with default arguments: .*'rate'", mine["Demanding"][3])
    assert list(rows)[: len(EXPECTED)] == sorted(EXPECTED, key=str.lower)


MYTASKS = '''
from dataclasses import dataclass
from seqlight import SequenceTask, TaskExample


@dataclass(frozen=True)
class Labels(SequenceTask):
    """Several at once."""

    number: int = 3

    input_size, target = 2, "multilabel"
    example = TaskExample(task={"number": 4})

    @property
    def num_outputs(self):
        return self.number

    def sample(self, num_samples, rng):
        raise NotImplementedError


class Demanding(Labels):
    def __init__(self, other):
        pass
'''


def tasks(*arguments):
    """The header, the columns by the first one, and the lines below each task."""
    status, out, err = seqlight_run("tasks", *arguments)
    assert status == 0, err
    header, *lines = out.splitlines()
    rows, texts, name = {}, {}, ""
    for line in lines:
        row = re.match(r"(--\S+ \S+|\S+) +" + r"(\S+) +" * 5 + r"(\S+)$", line)
        if row is None:
            texts[name].append(line)
            continue
        first, *columns = row.groups()
        name = name if first.startswith("--") else first
        rows[name, first.removeprefix(name)] = columns
        texts.setdefault(name, [])
    shown = {name for name in texts if "." not in name or name.startswith("listed_cells.")}  # other tests define tasks
    rows = {key: columns for key, columns in rows.items() if key[0] in shown}
    return header, rows, {name: lines for name, lines in texts.items() if name in shown}


def test_each_task_has_its_baselines():
    header, rows, texts = tasks()
    public = {name: getattr(seqlight, name) for name in seqlight.__all__}
    names = [name for name, value in public.items() if isinstance(value, type) and issubclass(value, SequenceTask)]
    names.remove("SequenceTask")
    variants = {("Tomita", f"--data.task.number {number}"): {"number": number} for number in (1, 2, 4, 5, 6, 7)}
    variants["ModularArithmetic", "--data.task.precedence false"] = {"precedence": False}
    assert list(rows) == sorted([*((name, "") for name in names), *variants])
    assert len(names) >= 13
    assert header.split() == ["task", "target", "outputs", "chance", "majority", "last", "bag"]
    chances = {1: "0.50", 4: "0.25", 5: "0.20"}
    for (name, flags), row in rows.items():
        task = getattr(seqlight, name)(**variants.get((name, flags), {}))
        known = task.baselines
        if known is None:  # no accuracies, as of a regression task
            assert row[:2] == [task.target, str(task.num_outputs)]
            continue
        accuracies = [f"{value:.2f}" for value in (known.majority, known.last_symbol, known.bag_of_symbols)]
        assert row == [task.target, str(task.num_outputs), chances[task.num_outputs], *accuracies]
        assert texts[name][0] == f"  {inspect.getdoc(type(task)).splitlines()[0]}"


@pytest.mark.parametrize("command", ["cells", "tasks"])
def test_table_fits_into_80_columns(command, tmp_path):
    status, out, _ = Command(tmp_path, command).wait()  # without the classes of other tests
    assert status == 0
    assert max(map(len, out.splitlines())) <= 80


def test_each_task_has_a_command_that_a_shell_reads():
    for name, lines in tasks()[2].items():
        assert lines[1].startswith(f"  seqlight fit --data.task {name}")
        assert all(line.endswith(" \\") for line in lines[1:-1])
        assert all(line == line.rstrip() and len(line) <= 80 for line in lines)
        command = " ".join(line.strip().removesuffix(" \\") for line in lines[1:])
        words = subprocess.run(
            ["sh", "-c", "seqlight() { printf '%s\\n' \"$@\"; }\n" + "\n".join(lines[1:])],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        assert words == command.split()[1:]


def test_command_of_an_example_has_its_arguments_as_flags():
    example = TaskExample(
        task={"number": 2, "exact": True},
        data={"num_train": 500, "test_lengths": "5:9"},
        cell="GRUCell",
        max_epochs=3,
    )
    text = " ".join(line.strip(" \\") for line in command_lines("own.Task", example))
    assert text == (
        "seqlight fit --data.task own.Task --data.task.number 2 --data.task.exact true --data.num_train 500 "
        "--data.test_lengths 5:9 --model.cell GRUCell --trainer.max_epochs 3"
    )
    assert command_lines("Parity", TaskExample()) == ["  seqlight fit --data.task Parity"]


def test_imported_tasks_are_listed():
    Path("listed_cells.py").write_text(MYTASKS)
    _, rows, texts = tasks("--import", "listed_cells")
    assert list(rows)[-2:] == [("listed_cells.Demanding", ""), ("listed_cells.Labels", "")]
    assert rows["listed_cells.Labels", ""] == ["multilabel", "3", "0.50", "-", "-", "-"]
    assert texts["listed_cells.Labels"] == [
        "  Several at once.",
        "  seqlight fit --data.task listed_cells.Labels --data.task.number 4",
    ]
    assert rows["listed_cells.Demanding", ""] == ["-"] * 6
    assert re.search("  can't be created with default arguments: .*'other'", texts["listed_cells.Demanding"][0])


@pytest.mark.parametrize("command", ["cells", "tasks"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["LSTMCell"], "takes only --import MODULE, got LSTMCell"),
        (["--data.task", "Parity"], "got --data.task Parity"),
        (["--import"], "--import: expected one argument"),
        (["--import", "nomodule"], "--import nomodule: .*No module named 'nomodule'"),
    ],
)
def test_other_arguments_are_refused_in_one_line(command, arguments, message):
    status, out, err = seqlight_run(command, *arguments)
    assert status == 2
    assert not out
    assert re.fullmatch(f"seqlight: error: .*{message}\n", err)
