"""`check_cell`: broken properties are found, and sound cells pass."""

import inspect
import re
from functools import partial

import pytest
import torch
from torch import nn

import seqlight
from seqlight import CellError, ElmanCell, GatedCell, GRUCell, RecurrentCell, check_cell
from seqlight.checks.check_cell import PROPERTIES
from seqlight.recurrent.kernel_backend import Kernels
from tests.checks.broken_cells import BROKEN, Cube, PlainCell, UnusedParameter, WrongGradient
from tests.checks.sound_cells import SOUND, UNTRAINED, SkipTwo


def broken(cell, **options):
    with pytest.raises(CellError) as caught:
        check_cell(cell, **options)
    return caught.value


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(("cell", "name", "shown"), BROKEN, ids=[cell.__name__ for cell, _, _ in BROKEN])
def test_only_the_broken_property_is_found(cell, name, shown):
    error = broken(cell)
    assert [row.name for row in error.report.broken] == [name]
    assert cell.__name__ in str(error)
    [line] = [line for line in str(error).splitlines() if line.startswith(f"  {name}: ")]
    assert re.search(shown, line), line


def test_every_property_has_a_broken_cell():
    assert {name for _, name, _ in BROKEN} | {"eager = kernel"} == {prop.name for prop in PROPERTIES}


def test_sound_cell_passes_and_random_state_is_unchanged():
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


@pytest.mark.parametrize("cell", [*SOUND, *UNTRAINED], ids=lambda cell: cell.__name__)
def test_unusual_cells_are_sound(cell):
    report = check_cell(cell, measure=cell in UNTRAINED)
    others = [row for row in report.rows if row.status != "holds" and not row.name.startswith(("gradient at", "time"))]
    assert [row.remark.startswith("no kernel: ") for row in others] == [True] * (not issubclass(cell, GatedCell))


def test_wrong_gradients_of_later_states_are_found():
    """Gradcheck sees each state, also one after a state that needs no gradient."""

    class Wrong(SkipTwo):
        def update(self, input_gates, hidden_gates, state):
            older, newer = super().update(input_gates, hidden_gates, state)
            return older, Cube.apply(newer)

    [row] = [row for row in _report(Wrong).broken if row.name != "deepcopy and pickle"]
    assert row.name == "gradcheck"


def test_report_says_that_training_mode_prevents_a_kernel():
    class Noisy(GatedCell):
        num_gates = 1

        def update(self, input_gates, hidden_gates, state):
            return (torch.dropout(torch.tanh(input_gates + hidden_gates), 0.3, self.training),)

    assert "no kernel in training: torch." in str(_report(Noisy))


def _report(cell):
    """The report on a cell, also on a local class, which is broken because it can't be pickled."""
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
def test_wrong_kernel_is_found(change, shown, monkeypatch):
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


def test_message_lists_all_broken_properties():
    class Twofold(UnusedParameter):
        def next(self, inputs, hidden):
            return Cube.apply(super().next(inputs, hidden))

    report = broken(Twofold).report
    assert {row.name for row in report.broken} == {
        "parameters used",
        "gradcheck",
        "deepcopy and pickle",
    }  # pickle can't find a local class
    assert str(report).count("BROKEN") == 3


def test_error_of_a_wrong_gradient_is_its_size():
    [row] = broken(WrongGradient).report.broken
    numbers = [float(number) for number in re.search(r"give (\S+), backward (\S+)", row.remark).groups()]
    assert numbers[1] / numbers[0] == pytest.approx(2 / 3, rel=1e-3)
    assert row.error == pytest.approx(abs(numbers[0] - numbers[1]), rel=1e-6)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("cell", ["GRUCell", None, GRUCell(3, 4)], ids=["name", "none", "instance"])
def test_cell_must_make_a_cell(cell):
    with pytest.raises(TypeError, match="cell must make a cell from its input size"):
        check_cell(cell)


def test_cell_must_make_a_recurrent_cell():
    [row] = broken(lambda size: nn.GRUCell(size, 4)).report.broken
    assert row.name == "first step"
    assert "cell must make a RecurrentCell, got GRUCell(3, 4)" in row.remark


def test_input_size_must_be_positive():
    with pytest.raises(ValueError, match="input_size must be at least 1, got 0"):
        check_cell(GRUCell, input_size=0)
