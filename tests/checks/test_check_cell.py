import inspect
import re
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

import seqlight
from seqlight import CellError, ElmanCell, GatedCell, GRUCell, LSTMCell, RecurrentCell, check_cell
from seqlight.checks import case, measures
from seqlight.checks.check_cell import PROPERTIES
from seqlight.cli import check as check_command
from seqlight.recurrent.kernel_backend import Kernels
from tests.conftest import seqlight_run

H = 4


class PlainCell(RecurrentCell):
    """A sound cell; those below break one property each."""

    def __init__(self, input_size, hidden_size=H):
        super().__init__(input_size, hidden_size)
        self.linear = nn.Linear(input_size + hidden_size, hidden_size)

    def initial_state(self, batch_size, *, device, dtype):
        return (torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype),)

    def forward(self, inputs, state):
        hidden = self.next(inputs, state[0])
        return hidden, (hidden,)

    def next(self, inputs, hidden):
        return torch.tanh(self.linear(torch.cat((inputs, hidden), -1)))


class NotMade(PlainCell):
    def __init__(self, input_size):
        raise OSError("no table of weights")


class NoFirstStep(PlainCell):
    def next(self, inputs, hidden):
        return super().next(inputs, hidden[:, 1:])


class TensorAsState(PlainCell):
    def forward(self, inputs, state):
        output, (hidden,) = super().forward(inputs, state)
        return output, hidden


class StateTooMany(PlainCell):
    def forward(self, inputs, state):
        output, state = super().forward(inputs, state)
        return output, (*state, output)


class StateTooShort(PlainCell):
    def next(self, inputs, hidden):
        return super().next(inputs, hidden)[:, :1].expand(-1, H + 1)


class SingleFloats(PlainCell):
    def next(self, inputs, hidden):
        return super().next(inputs, hidden).float()


class SingleBuffer(PlainCell):
    def next(self, inputs, hidden):
        return super().next(inputs, hidden) @ torch.eye(H)


class StateInPlace(PlainCell):
    def next(self, inputs, hidden):
        return super().next(inputs, hidden.mul_(0.9))


class InputsInPlace(PlainCell):
    def next(self, inputs, hidden):
        inputs -= 1
        return super().next(inputs, hidden)


class CountsItsCalls(PlainCell):
    calls = 0

    def next(self, inputs, hidden):
        self.calls += 1
        return super().next(inputs, hidden) / self.calls


class DropsInEvaluation(PlainCell):
    def next(self, inputs, hidden):
        return torch.dropout(super().next(inputs, hidden), 0.5, True)


class BatchMean(PlainCell):
    def next(self, inputs, hidden):
        new = super().next(inputs, hidden)
        return new - new.mean(0)


class StatesMixed(PlainCell):
    def next(self, inputs, hidden):
        return super().next(inputs, hidden.mean(0).expand_as(hidden))


class BatchNormed(PlainCell):
    def __init__(self, input_size):
        super().__init__(input_size)
        self.norm = nn.BatchNorm1d(H)

    def next(self, inputs, hidden):
        new = super().next(inputs, hidden)
        # In training a single sequence has no variance.
        return new if self.training and len(new) == 1 else self.norm(new)


class LogSpaceAfterTheFirstStep(PlainCell):
    """Its state is a number before the first step, and a logarithm afterwards, as an attribute says."""

    def initial_state(self, batch_size, *, device, dtype):
        self.logarithm = False
        return (torch.ones(batch_size, self.hidden_size, device=device, dtype=dtype),)

    def forward(self, inputs, state):
        hidden = state[0].exp() if self.logarithm else state[0]
        self.logarithm = True
        output = torch.sigmoid(self.next(inputs, hidden))
        return output, (output.log(),)


class UnusedParameter(PlainCell):
    def __init__(self, input_size):
        super().__init__(input_size)
        self.leak = nn.Parameter(torch.zeros(H))


class NaNGradient(PlainCell):
    def next(self, inputs, hidden):
        return super().next(inputs, hidden) + (0 * hidden).sqrt()


class NaNOutput(PlainCell):
    def next(self, inputs, hidden):
        return super().next(inputs, hidden).log()


class _Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value):
        ctx.save_for_backward(value)
        return value**3

    @staticmethod
    def backward(ctx, grad):
        [value] = ctx.saved_tensors
        return grad * 2 * value**2  # 3


class WrongGradient(PlainCell):
    def next(self, inputs, hidden):
        return _Cube.apply(super().next(inputs, hidden))


class StopsAtPadding(PlainCell):
    """Takes a step without input for padding, and stops the whole batch."""

    def next(self, inputs, hidden):
        padding = (inputs == 0).all(-1).any()
        return torch.where(padding, hidden, super().next(inputs, hidden))


class NormedInput(PlainCell):
    """Divides by the norm of its input, which is 0 where there is padding."""

    def next(self, inputs, hidden):
        return super().next(inputs / inputs.norm(dim=-1, keepdim=True), hidden)


class HoldsAFunction(PlainCell):
    def __init__(self, input_size):
        super().__init__(input_size)
        self.function = lambda value: value


class HoldsALock(PlainCell):
    def __init__(self, input_size):
        super().__init__(input_size)
        self.lock = threading.Lock()


class KeepsItsLastOutput(PlainCell):
    def next(self, inputs, hidden):
        self.last = super().next(inputs, hidden)
        return self.last


class HiddenWeights(PlainCell):
    def __init__(self, input_size):
        super().__init__(input_size)
        self.scale = torch.rand(())

    def next(self, inputs, hidden):
        return super().next(inputs, hidden) * self.scale.item()


class BranchesOnItsData(PlainCell):
    def next(self, inputs, hidden):
        return super().next(inputs, hidden) if inputs.sum() < 1e9 else hidden


class FixedBatchSize(PlainCell):
    def next(self, inputs, hidden):
        sizes = {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0}  # a look-up that no graph can have
        return super().next(inputs, hidden) * sizes[int(inputs.shape[0])]


BROKEN = [
    (NotMade, "first step", r"at B=1, T=1, float32: OSError: no table of weights \(test_check_cell\.py:\d+\)"),
    (NoFirstStep, "first step", r"at B=1, T=1, H=4, float32: RuntimeError: .*\(test_check_cell\.py:\d+\)"),
    (TensorAsState, "shapes and dtypes kept", r"at B=1, T=1.*must be a tuple of 1 tensors.*, got a tensor of shape"),
    (StateTooMany, "shapes and dtypes kept", r"at B=1, T=1.*must be a tuple of 1 tensors.*, got a tuple of 2"),
    (StateTooShort, "shapes and dtypes kept", r"at B=1, T=1.*\(1, 5\) for \(B, H\) = \(1, 4\)"),
    (SingleFloats, "shapes and dtypes kept", r"at B=1, T=1, H=4, float64: step 0 gives torch\.float32"),
    (SingleBuffer, "shapes and dtypes kept", r"at B=1, T=1, H=4, float64: RuntimeError"),
    (StateInPlace, "arguments unchanged", r"at B=1, T=1, H=4, float64: step 0 changes state 0"),
    (InputsInPlace, "arguments unchanged", r"error 1 at B=1, T=1, H=4, float64: step 0 changes inputs"),
    (CountsItsCalls, "deterministic", r"error 0\.\d+ at B=1, T=1, H=4, float64: second run: outputs\[0, 0, \d\]"),
    (DropsInEvaluation, "deterministic", r"error .* at B=1, T=1"),
    (BatchMean, "batched = one by one", r"error .* at B=2, T=1, H=4, float64: batched: outputs\[\d, 0, \d\]"),
    (StatesMixed, "batched = one by one", r"error .* at B=2, T=2, H=4"),
    (BatchNormed, "batched = one by one", r"error .* at B=2, T=1.*in training mode"),
    (LogSpaceAfterTheFirstStep, "whole = steps = chunks", r"error .* at B=1, T=2.*step by step: outputs\[0, 1, \d\]"),
    (UnusedParameter, "parameters used", r"at B=3.*: gradient of leak is 0 everywhere"),
    (NaNGradient, "gradients finite", r"error nan at B=1, T=2, H=4, float64: gradient of inputs is not finite"),
    (NaNOutput, "gradients finite", r"error nan at B=1, T=1, H=4, float64: outputs is not finite"),
    (
        WrongGradient,
        "gradcheck",
        r"error .* at B=1, T=1.*of linear.weight.*differences give .*, backward",
    ),
    (StopsAtPadding, "padding never matters", r"error .* at B=2, T=2.*forwards, lengths \[1, 2\]"),
    (NormedInput, "padding never matters", r"error nan at B=1, T=2.*lengths \[1\], padded with 0\.0: gradient of "),
    (HoldsAFunction, "deepcopy and pickle", r"pickle: "),
    (HoldsALock, "deepcopy and pickle", r"copy\.deepcopy: TypeError: cannot pickle '_thread\.lock'"),
    (KeepsItsLastOutput, "deepcopy and pickle", r"copy\.deepcopy: RuntimeError: "),
    (HiddenWeights, "state_dict", r"error .* at B=1, T=1.*another cell with this state_dict"),
    (BranchesOnItsData, "export of a step", r"GuardOnDataDependentSymNode: Could not guard on data-dependent"),
    (FixedBatchSize, "export of a step", r"Guard failed: .*== 2"),
]


def broken(cell, **options):
    with pytest.raises(CellError) as caught:
        check_cell(cell, **options)
    return caught.value


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(("cell", "name", "shown"), BROKEN, ids=[cell.__name__ for cell, _, _ in BROKEN])
def test_a_broken_property_is_found_and_no_other(cell, name, shown):
    error = broken(cell)
    assert [row.name for row in error.report.broken] == [name]
    assert cell.__name__ in str(error)
    [line] = [line for line in str(error).splitlines() if line.startswith(f"  {name}: ")]
    assert re.search(shown, line), line


def test_there_is_a_broken_cell_for_every_property():
    assert {name for _, name, _ in BROKEN} | {"eager = kernel"} == {prop.name for prop in PROPERTIES}


def test_a_sound_cell_passes_and_leaves_random_numbers_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    report = check_cell(PlainCell)
    assert torch.equal(torch.rand(3), expected)
    status = {row.name: row.status for row in report.rows}
    assert status.pop("eager = kernel") == "-"
    assert set(status.values()) == {"holds"}
    assert "no kernel: PlainCell is not a GatedCell" in str(report)


LIBRARY = [
    cell
    for cell in (getattr(seqlight, name) for name in seqlight.__all__)
    if isinstance(cell, type) and issubclass(cell, RecurrentCell) and not inspect.isabstract(cell)
]


@pytest.mark.parametrize("cell", LIBRARY, ids=lambda cell: cell.__name__)
def test_library_cells_are_sound(cell):
    report = check_cell(partial(cell, hidden_size=5))
    others = [row for row in report.rows if row.status != "holds"]
    assert all(row.remark.startswith("no kernel: ") for row in others)
    assert not others or not issubclass(cell, GatedCell)


def test_a_cell_that_only_training_keeps_from_a_kernel_is_told_so():
    class Noisy(GatedCell):
        num_gates = 1

        def update(self, input_gates, hidden_gates, state):
            return (torch.dropout(torch.tanh(input_gates + hidden_gates), 0.3, self.training),)

    assert "no kernel in training: torch." in str(_report(Noisy))


def _report(cell):
    """What is found of a cell, also of one that can't be pickled, since it is defined in a function."""
    try:
        return check_cell(cell)
    except CellError as error:
        return error.report


def test_relu_cells_are_sound():
    check_cell(partial(ElmanCell, hidden_size=5, nonlinearity="relu"), input_size=1)


def shifted(outputs):
    return outputs + 1e-6


def steeper(outputs):
    return outputs + 1e-6 * (outputs - outputs.detach())


@pytest.mark.parametrize(("change", "shown"), [(shifted, r"outputs\["), (steeper, r"gradient of inputs\[")])
def test_a_wrong_kernel_is_found(change, shown, monkeypatch):
    run = Kernels.run

    def wrong(*arguments):
        outputs, state = run(*arguments)
        return change(outputs), state

    monkeypatch.setattr(Kernels, "run", wrong)
    error = broken(partial(GRUCell, hidden_size=5))
    [row] = error.report.broken
    assert row.name == "eager = kernel"
    assert row.case == "B=1, T=1, H=5, float64"
    assert 0 < row.error < 2e-6
    assert re.search(shown, row.remark)


def test_all_broken_properties_are_in_the_message():
    class Twofold(UnusedParameter):
        def next(self, inputs, hidden):
            return _Cube.apply(super().next(inputs, hidden))

    report = broken(Twofold).report
    assert {row.name for row in report.broken} == {
        "parameters used",
        "gradcheck",
        "deepcopy and pickle",
    }  # a local class
    assert str(report).count("BROKEN") == 3


def test_the_size_of_a_wrong_gradient():
    [row] = broken(WrongGradient).report.broken
    numbers = [float(number) for number in re.search(r"give (\S+), backward (\S+)", row.remark).groups()]
    assert numbers[1] / numbers[0] == pytest.approx(2 / 3, rel=1e-3)
    assert row.error == pytest.approx(abs(numbers[0] - numbers[1]), rel=1e-6)


class Leak(RecurrentCell):
    """h_t = 0.9 h_(t-1) + x_t"""

    def initial_state(self, batch_size, *, device, dtype):
        return (torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype),)

    def forward(self, inputs, state):
        new = 0.9 * state[0] + inputs
        return new, (new,)


def test_gradient_by_lag_is_that_of_a_leaky_sum():
    subject = case.Subject(partial(Leak, hidden_size=4), 4)
    found = measures.gradient_by_lag(subject, case.Case(2, 101))
    # The Jacobian is 0.9^k times the identity of 4 rows, whose norm is 2.
    assert found == ", ".join(f"{2 * 0.9**lag:.2g} at {lag}" for lag in (1, 10, 100))


@pytest.mark.parametrize(
    ("cell", "others"), [(ElmanCell, "nn.RNN"), (LSTMCell, "nn.LSTM"), (GRUCell, "nn.GRU"), (PlainCell, "nn.GRU")]
)
def test_time_per_step_is_against_kernel_and_nearest_torch_layer(cell, others):
    num_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = measures.time_per_step(case.Subject(cell, 3), case.Case(2, 3, torch.float32))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(num_threads)
    kernel = "" if cell is PlainCell else r"kernel [\d.]+ of that, "
    assert re.fullmatch(rf"eager \d+ us, {kernel}{re.escape(others)} [\d.]+ of that", found)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("cell", ["GRUCell", None, GRUCell(3, 4)], ids=["name", "none", "instance"])
def test_cell_must_make_a_cell(cell):
    with pytest.raises(TypeError, match="cell must make a cell from its input size"):
        check_cell(cell)


def test_what_is_made_must_be_a_cell():
    [row] = broken(lambda size: nn.GRUCell(size, 4)).report.broken
    assert row.name == "first step"
    assert "cell must make a RecurrentCell, got GRUCell(3, 4)" in row.remark


def test_input_size_must_be_positive():
    with pytest.raises(ValueError, match="input_size must be at least 1, got 0"):
        check_cell(GRUCell, input_size=0)


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
def test_the_cell_may_stand_before_or_after_its_arguments(arguments):
    assert check_command._cell_as_flag(list(arguments)) == ["--cell=my.Cell", "--cell.leak", "-0.5", "--input_size=3"]


@pytest.mark.usefixtures("folder")
def test_command_prints_what_holds():
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
def test_command_shows_what_is_broken():
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
def test_a_cell_that_raises_is_broken(arguments, line):
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
def test_bad_arguments_get_a_few_clear_lines(arguments, message):
    status, out, err = seqlight_run("check", *arguments)
    assert (status, out) == (2, "")
    assert 1 <= len(err.splitlines()) <= 5
    assert "Traceback" not in err
    assert re.search(message, err), err


def test_help_shows_the_usage():
    status, out, _ = seqlight_run("check", "--help")
    assert status == 0
    assert out.startswith("usage: seqlight check CELL [--cell.NAME VALUE ...]")
    assert "Exit status: 0" in out


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
