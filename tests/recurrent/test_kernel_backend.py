"""Choice of kernels: configurations of a cell, refusals, autocast."""

import contextlib
import copy
import re
import threading
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

from seqlight import ElmanCell, GatedCell, GRUCell, LayerNormLSTMCell, LSTMCell, RecurrentLayer, unroll
from seqlight.cells.cell import declares_activations
from seqlight.cells.regularised import RegularisedCell
from seqlight.kernels import build
from seqlight.recurrent import kernel_backend
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


def test_configuration_distinguishes_a_value_from_its_text():
    class Flag(Configured):
        def update(self, input_gates, hidden_gates, state):
            return (torch.tanh(input_gates + hidden_gates) * (1 if self._value else 2),)

    layer, inputs = RecurrentLayer(Flag(False), backend="kernel"), torch.randn(3, 4, 2)
    for value in (False, "False", 0.0, "0.0"):
        layer.cell._value = value
        torch.testing.assert_close(layer(inputs)[0], unroll(layer.cell, inputs)[0])


class TwoParameters(GatedCell):
    num_gates = 1

    def __init__(self, *, tied=False):
        super().__init__(2, 4)
        self.a = nn.Parameter(torch.randn(8))
        self.b = self.a if tied else nn.Parameter(torch.randn(8))

    def update(self, input_gates, hidden_gates, state):
        return (torch.tanh(input_gates + hidden_gates) * self.a[-4:] + self.a[:4] + self.b[:4],)


class NestedParameters(TwoParameters):
    """Its parameters are in a submodule."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.child = nn.Identity()
        self.child.a, self.child.b = self.a, self.b
        del self.a, self.b

    def update(self, input_gates, hidden_gates, state):
        return TwoParameters.update(self.child, input_gates, hidden_gates, state)


def new_order(module):
    a = module.a
    del module.a
    module.a = a


def to_buffer(module):
    a = module.a.detach()
    del module.a
    module.register_buffer("a", a)


# What can happen to the parameters `a` and `b` after a first use.
LAYOUT_CHANGES = {
    "tie": lambda module: setattr(module, "b", module.a),
    "untie": lambda module: setattr(module, "b", nn.Parameter(2 * module.a.detach())),
    "order": new_order,
    "buffer": to_buffer,
    "longer": lambda module: setattr(module, "a", nn.Parameter(torch.randn(12, dtype=module.a.dtype))),
    "shorter": lambda module: setattr(module, "a", nn.Parameter(torch.randn(4, dtype=module.a.dtype))),
    "other-names": lambda module: module.__dict__["_parameters"].update(a=module.b, b=module.a),
}


@pytest.mark.parametrize("cell", [TwoParameters, NestedParameters])
@pytest.mark.parametrize("change", LAYOUT_CHANGES)
def test_changed_parameters_make_a_new_kernel(change, cell):
    torch.manual_seed(0)
    cell = cell(tied=change == "untie").double()
    layer, inputs = RecurrentLayer(cell, backend="kernel"), torch.randn(3, 5, 2, dtype=torch.float64)
    layer(inputs)
    LAYOUT_CHANGES[change](getattr(cell, "child", cell))
    parameters = list(cell.parameters())
    found = [
        [outputs, *torch.autograd.grad(outputs.square().sum(), parameters)]
        for outputs in (layer(inputs)[0], unroll(cell, inputs)[0])
    ]
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("names", ["a", "b", "ab"])
def test_replaced_parameters_make_a_new_kernel(names):
    """As `torch.func.functional_call` replaces them, for example by one tensor for both."""
    torch.manual_seed(0)
    cell = TwoParameters().double()
    layer, inputs = RecurrentLayer(cell), torch.randn(3, 5, 2, dtype=torch.float64)
    layer(inputs)
    other = {"a": cell.b, "b": cell.a, "ab": torch.randn(8, dtype=torch.float64)}[names]
    outputs, _ = torch.func.functional_call(layer, {f"cell.{name}": other for name in names}, (inputs,))
    for name in names:
        del cell._parameters[name]
        setattr(cell, name, other)
    torch.testing.assert_close(outputs, unroll(cell, inputs)[0])


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


def ones(cell):
    cell.initial_state = lambda batch_size, *, device, dtype: tuple(
        torch.ones(batch_size, cell.hidden_size, device=device, dtype=dtype) for _ in cell.state_names
    )


def doubled(name):
    """Set a method on a cell that doubles a result of the class's: its only one, or the first of several."""

    def change(cell):
        original = getattr(cell, name)

        def method(*arguments):
            result = original(*arguments)
            return 2 * result if isinstance(result, torch.Tensor) else (2 * result[0], *result[1:])

        setattr(cell, name, method)

    return change


def hooked(kind, hook):
    return lambda cell: getattr(cell, f"register_{kind}_hook")(hook)


SET_ON_CELL = {
    "initial_state": (ones, True),
    "project": (doubled("project"), True),
    "update": (doubled("update"), True),
    "step": (doubled("step"), False),
    "forward": (doubled("forward"), False),
    "hook": (hooked("forward", lambda cell, inputs, result: (2 * result[0], result[1])), False),
    "pre-hook": (hooked("forward_pre", lambda cell, inputs: (2 * inputs[0], inputs[1])), False),
    "backward hook": (hooked("full_backward", lambda cell, into, out: None), False),
}


@pytest.mark.parametrize("name", SET_ON_CELL)
@pytest.mark.parametrize("cell", [GRUCell, LSTMCell])
@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_is_set_on_a_cell_has_effect(name, cell, backend, when):
    """Methods and hooks of one cell: the loop over its `forward` tells the values."""
    change, kernel_can = SET_ON_CELL[name]
    layer, inputs = RecurrentLayer(cell(2, 4), backend=backend), torch.randn(3, 4, 2)
    if when == "after":
        layer(inputs)
    before = unroll(layer.cell, inputs)[0]
    change(layer.cell)
    if backend == "torch" and name != "initial_state":
        with pytest.raises(ValueError, match=f"serves ElmanCell.*not {cell.__name__} with hooks or replaced methods"):
            layer(inputs)
        with pytest.raises(ValueError, match="use 'auto', 'kernel' or 'eager'"):
            RecurrentLayer(layer.cell, backend="torch")
        return
    expected = unroll(layer.cell, inputs)
    assert torch.equal(before, expected[0]) == (name == "backward hook")
    with contextlib.nullcontext() if kernel_can else pytest.warns(KernelWarning, match="it overrides forward"):
        torch.testing.assert_close(layer(inputs), expected)


def test_hook_of_a_submodule_has_effect():
    class Outer(GatedCell):
        num_gates = 1

        def __init__(self, input_size):
            super().__init__(input_size, 4)
            self.child = nn.Tanh()

        def update(self, input_gates, hidden_gates, state):
            return (self.child(input_gates + hidden_gates),)

    cell, inputs = Outer(2), torch.randn(3, 4, 2)
    layer = RecurrentLayer(cell)
    torch.testing.assert_close(layer(inputs)[0], unroll(cell, inputs)[0])
    cell.child.register_forward_hook(lambda module, inputs, result: 2 * result)
    with pytest.warns(KernelWarning, match="its module Tanh has hooks"):
        torch.testing.assert_close(layer(inputs)[0], unroll(cell, inputs)[0])


def test_activations_of_another_update_are_not_declared():
    cell = GRUCell(2, 4)
    assert declares_activations(cell)
    doubled("update")(cell)
    assert not declares_activations(cell)


@pytest.mark.parametrize("cell", [ElmanCell, GRUCell, LSTMCell])
@pytest.mark.parametrize("when", ["before", "after"])
def test_torch_refuses_a_parametrised_weight(cell, when):
    made = cell(2, 4)
    layer = RecurrentLayer(made, backend="torch" if when == "after" else "auto")
    parametrize.register_parametrization(made, "weight_hh", nn.Tanh())
    with pytest.raises(ValueError, match=f"serves ElmanCell, LSTMCell and GRUCell, not Parametrized{cell.__name__}"):
        (layer if when == "after" else RecurrentLayer(made, backend="torch"))(torch.randn(3, 4, 2))
    inputs = torch.randn(3, 4, 2)
    with pytest.warns(KernelWarning, match="its weights are parametrised"):
        torch.testing.assert_close(RecurrentLayer(made)(inputs), unroll(made, inputs))


class Shapes(RecurrentLayer):
    """A layer on the "meta" device, which has shapes and no values, in place of a GPU."""

    def __init__(self, cell, backend="auto"):
        super().__init__(cell.to("meta"), backend=backend)
        self._checked = True  # a check needs values

    def run(self):
        return self(torch.empty(3, 4, 2, device="meta"))


@pytest.mark.parametrize("cell", [Peephole, LayerNormLSTMCell])
def test_auto_warns_once_that_a_cell_on_a_gpu_runs_in_the_loop(cell, recwarn):
    layer = Shapes(cell(2))
    for _ in range(2):
        layer.run()
    [warning] = recwarn
    assert warning.category is KernelWarning
    reason = {Peephole: "kernels run on the CPU, but the inputs are on meta", LayerNormLSTMCell: "not a GatedCell"}
    assert reason[cell] in str(warning.message)


def test_nothing_warns_where_torch_or_the_user_chose(recwarn):
    Shapes(GRUCell(2)).run()
    Shapes(Peephole(2), backend="eager").run()
    RecurrentLayer(LayerNormLSTMCell(2))(torch.randn(3, 4, 2))
    torch.func.grad(lambda inputs: RecurrentLayer(Peephole(2))(inputs)[0].sum())(torch.randn(3, 4, 2))
    assert not list(recwarn)


def test_auto_warns_of_the_loop_for_half_precision():
    with pytest.warns(KernelWarning, match="must both be float32 or both float64, got torch.bfloat16"):
        RecurrentLayer(Peephole(2).bfloat16())(torch.randn(3, 4, 2).bfloat16())


def test_first_use_under_autocast_keeps_the_random_state():
    """A continued run uses its kernels for the first time in the middle of a training."""
    layer = RecurrentLayer(RegularisedCell(GRUCell(2, 4), zoneout=0.3), backend="kernel")
    results = []
    for _ in range(2):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16):
            results.append(layer(torch.randn(3, 4, 2))[0])
    assert torch.equal(*results)


@pytest.mark.parametrize("method", ["project", "update"])
@pytest.mark.parametrize("cell", [GRUCell, LSTMCell])
def test_method_replaced_in_a_class_has_effect(cell, method, monkeypatch):
    made, inputs, original = cell(3, 4), torch.randn(2, 5, 3), getattr(cell, method)

    def doubled(self, *arguments):
        result = original(self, *arguments)
        return 2 * result if isinstance(result, torch.Tensor) else tuple(2 * part for part in result)

    layers = {backend: RecurrentLayer(made, backend=backend) for backend in ("auto", "torch")}
    for layer in layers.values():
        layer(inputs)
    monkeypatch.setattr(cell, method, doubled)
    torch.testing.assert_close(layers["auto"](inputs), unroll(made, inputs))
    with pytest.raises(ValueError, match="with hooks or replaced methods"):
        layers["torch"](inputs)


def test_cell_without_biases_runs_in_the_loop():
    cell, inputs = LSTMCell(3, 4), torch.randn(2, 5, 3)
    cell.bias_ih = cell.bias_hh = None
    with pytest.warns(KernelWarning, match="its bias_hh must be"):
        found = RecurrentLayer(cell)(inputs)
    torch.testing.assert_close(found, unroll(cell, inputs))
    with pytest.raises(ValueError, match="without biases"):
        RecurrentLayer(cell, backend="torch")(inputs)


class Annealed(GatedCell):
    num_gates = 1
    scale = 1.0

    def update(self, input_gates, hidden_gates, state):
        return (self.scale * torch.tanh(input_gates + hidden_gates),)


def test_attribute_with_many_values_ends_in_the_loop(monkeypatch):
    monkeypatch.setattr(kernel_backend, "_MOST_KERNELS", 2)
    cell, inputs = Annealed(3, 4), torch.randn(2, 5, 3)
    layer = RecurrentLayer(cell)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for cell.scale in (1.0, 0.75, 0.5, 0.25, 1.0):
            torch.testing.assert_close(layer(inputs), unroll(cell, inputs))
    [warning] = seen
    assert re.search("have had 2 different values.*as a buffer", str(warning.message))
