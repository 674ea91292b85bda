"""Choice of kernels: configurations of a cell, refusals, autocast."""

import copy
import threading

import pytest
import torch
from torch.nn.utils import prune

from seqlight import GatedCell, GRUCell, LSTMCell, RecurrentLayer, unroll
from seqlight.kernels import build
from seqlight.recurrent.kernel_backend import KernelWarning
from tests.kernels.cells import Peephole


class Configured(GatedCell):
    num_gates = 1

    def __init__(self, value):
        super().__init__(2, 4)
        self._value = value

    def update(self, input_gates, hidden_gates, state):
        return ((input_gates + hidden_gates) * self._value + torch.copysign(state[0] ** 2, torch.tensor(self._value)),)


@pytest.mark.parametrize(("before", "after"), [(0.1, 0.9), (1, True), (2, 2.5)])
def test_changed_attribute_makes_a_new_kernel(before, after, monkeypatch):
    monkeypatch.setattr(build, "FLAGS", [*build.FLAGS, "-O0"])  # only this test builds these kernels
    cell = Configured(before)
    cell.update = lambda i, h, s: ((i + h) * cell._value,)  # type: ignore[method-assign]
    del cell.update
    layer, inputs = RecurrentLayer(cell, backend="auto"), torch.randn(3, 4, 2)
    cell._value = before
    layer(inputs)
    cell._value = after
    torch.testing.assert_close(layer(inputs)[0], unroll(cell, inputs)[0])


@pytest.mark.parametrize(
    "value", [torch.tensor(0.5), [0.5], {"a": 1}, object()], ids=["tensor", "list", "dict", "object"]
)
def test_attributes_whose_changes_are_undetectable_are_refused_by_name(value):
    cell = GRUCell(2, 4)
    cell.setting = value
    with pytest.warns(KernelWarning, match=f"attribute setting is a {type(value).__name__}"):
        RecurrentLayer(cell)(torch.randn(3, 4, 2))


def test_weights_and_states_that_a_kernel_would_misread_are_refused():
    cell = LSTMCell(2, 4)
    cell.register_parameter("bias_hh", None)
    with pytest.raises(ValueError, match=r"its bias_hh must be torch.float32 \(16,\) on the CPU, got None"):
        RecurrentLayer(cell, backend="kernel")(torch.randn(3, 4, 2))
    layer = RecurrentLayer(LSTMCell(2, 4), backend="kernel")
    with pytest.raises(TypeError, match=r"the state must be torch.float32 on cpu.*got torch.float64"):
        layer(torch.randn(3, 4, 2), None, (torch.zeros(3, 4).double(), torch.zeros(3, 4).double()))


def test_cell_with_hooks_runs_in_the_loop():
    cell = LSTMCell(2, 4)
    prune.l1_unstructured(cell, "weight_hh", 0.5)
    with pytest.warns(KernelWarning, match=r"it overrides forward\(\) or step\(\), or has hooks"):
        outputs, _ = RecurrentLayer(cell)(torch.randn(3, 4, 2))
    outputs.sum().backward()
    assert cell.weight_hh_orig.grad.abs().sum() > 0


def test_threads_can_make_the_first_call_at_once():
    layer = RecurrentLayer(Peephole(2), backend="kernel")
    before = {name: id(parameter) for name, parameter in layer.named_parameters()}
    inputs, found = torch.randn(3, 4, 2), []
    workers = [threading.Thread(target=lambda: found.append(layer(inputs)[0])) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert {name: id(parameter) for name, parameter in layer.named_parameters()} == before
    assert len(found) == 4
    for outputs in found:
        torch.testing.assert_close(outputs, unroll(layer.cell, inputs)[0])


@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("cell", [LSTMCell, GRUCell])
def test_autocast_gives_the_loops_dtypes_and_no_larger_errors(cell, with_state):
    made = cell(8, hidden_size=32)
    inputs = torch.randn(4, 10, 8)
    state = tuple(torch.randn(4, 32) for _ in made.state_names) if with_state else None
    exact, _ = unroll(copy.deepcopy(made).double(), inputs.double(), state and tuple(part.double() for part in state))
    with torch.autocast("cpu", torch.bfloat16):
        outputs, final = RecurrentLayer(made, backend="kernel")(inputs, None, state)
        expected, expected_final = unroll(made, inputs, state)
        outputs.sum().backward()
    assert [part.dtype for part in (outputs, *final)] == [part.dtype for part in (expected, *expected_final)]
    assert made.weight_ih.grad.dtype == torch.float32
    assert (outputs - exact).abs().max() <= (expected - exact).abs().max() + 1e-6
