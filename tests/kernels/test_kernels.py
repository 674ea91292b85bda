"""Generated kernels against the loop over time and against torch."""

import copy
import ctypes
import math
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

from seqlight import ElmanCell, GatedCell, GRUCell, LSTMCell, RecurrentLayer, RecurrentStack, unroll
from seqlight.kernels import autograd, build
from seqlight.recurrent.kernel_backend import KernelWarning
from tests.user_cells import MinimalGatedUnit


class Peephole(GatedCell):
    """Parameters and a buffer of shape (H,), a scalar, two states, constants."""

    num_gates = 3
    state_names = ("hidden", "cell")

    def __init__(self, input_size, hidden_size=5):
        super().__init__(input_size, hidden_size)
        self.peephole = nn.Parameter(torch.randn(2 * hidden_size) * 0.5)
        self.scale = nn.Parameter(torch.tensor(0.7))
        self.register_buffer("time_constant", torch.rand(hidden_size) + 0.5)

    def update(self, input_gates, hidden_gates, state):
        i, f, g = (input_gates + hidden_gates).chunk(3, -1)
        of_input, of_forget = self.peephole.chunk(2)
        cell = torch.sigmoid(f + of_forget * state[1]) * state[1] + torch.sigmoid(i + of_input * state[1]) * g.tanh()
        return self.scale * torch.tanh(cell / self.time_constant), cell


class Diagonal(GatedCell):
    num_gates = 2
    recurrent = False

    def __init__(self, input_size, hidden_size=5):
        super().__init__(input_size, hidden_size)
        self.decay = nn.Parameter(torch.rand(hidden_size))

    def update(self, input_gates, hidden_gates, state):
        gate, new = input_gates.chunk(2, -1)
        return (torch.exp(-self.decay.abs()) * state[0] + torch.sigmoid(gate) * new,)


class LearntStart(GatedCell):
    num_gates = 1

    def __init__(self, input_size, hidden_size=5):
        super().__init__(input_size, hidden_size)
        self.start = nn.Parameter(torch.randn(hidden_size))

    def initial_state(self, batch_size, *, device, dtype):
        return (self.start.expand(batch_size, -1),)

    def update(self, input_gates, hidden_gates, state):
        return (torch.tanh(input_gates + hidden_gates) + 0.1 * state[0],)


class OwnProjection(GatedCell):
    """More input gates than hidden gates, from a projection that is not affine; the output is the second state."""

    num_gates = 1
    state_names = ("hidden", "shown")
    output_state = 1

    @property
    def num_input_gates(self):
        return 2

    def project(self, inputs):
        gates = functional.linear(inputs, self.weight_ih, self.bias_ih)
        return torch.cat((gates.tanh(), gates.sin()), -1)

    def update(self, input_gates, hidden_gates, state):
        first, second = input_gates.chunk(2, -1)
        hidden = torch.tanh(first + hidden_gates) * second + 0.3 * state[1]
        return hidden, 2 * hidden - 0.5 * state[0]


CELLS = {
    "elman": ElmanCell,
    "relu": partial(ElmanCell, nonlinearity="relu"),
    "lstm": LSTMCell,
    "gru": GRUCell,
    "minimal": MinimalGatedUnit,
    "peephole": Peephole,
    "diagonal": Diagonal,
    "learnt-start": LearntStart,
    "own-projection": OwnProjection,
}
every_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())


@pytest.fixture(autouse=True)
def _same_numbers_each_run():
    torch.manual_seed(0)


@pytest.fixture
def threads(monkeypatch):
    """Kernels use all threads however small they are."""
    monkeypatch.setattr(autograd, "_WORTH_A_THREAD", 0)
    previous = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(previous)


def results(layer, inputs, lengths, state, run=None):
    """Outputs, final states, and the gradients of a mixed sum of them by inputs, given states and parameters."""
    inputs = inputs.detach().clone().requires_grad_()
    state = None if state is None else tuple(part.detach().clone().requires_grad_() for part in state)
    outputs, final = (run or layer)(inputs, lengths, state)
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(part.shape, generator=generator, dtype=torch.float64) for part in (outputs, *final)]
    loss = sum((weight.to(part.dtype) * part).sum() for weight, part in zip(weights, (outputs, *final), strict=True))
    wanted = {"inputs": inputs, **dict(layer.named_parameters())}
    wanted |= {f"state {index}": part for index, part in enumerate(state or ())}
    gradients = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
    named = {"outputs": outputs.detach()} | {f"final {index}": part.detach() for index, part in enumerate(final)}
    for name, gradient, value in zip(wanted, gradients, wanted.values(), strict=True):
        named[f"by {name}"] = torch.zeros_like(value) if gradient is None else gradient
    return named


def oracle(cell):
    return lambda inputs, lengths, state: unroll(cell, inputs, state, lengths)


def assert_same(found, expected, tolerance=1e-10):
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(
            found[name], expected[name], rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


@every_cell
@pytest.mark.parametrize(("batch", "time", "features", "hidden"), [(1, 1, 1, 1), (3, 4, 2, 5), (19, 7, 33, 35)])
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("with_state", [False, True], ids=["zeros", "state"])
def test_equals_the_loop(cell, batch, time, features, hidden, ragged, with_state):
    made = cell(features, hidden_size=hidden).double()
    inputs = torch.randn(batch, time, features, dtype=torch.float64)
    lengths = torch.randint(1, time + 1, (batch,)) if ragged else None
    state = None
    if with_state:
        state = tuple(torch.randn(batch, hidden, dtype=torch.float64) for _ in made.state_names)
    found = results(RecurrentLayer(made, backend="kernel"), inputs, lengths, state)
    expected = {
        name.replace("by ", "by cell.") if name.split()[-1] in dict(made.named_parameters()) else name: value
        for name, value in results(made, inputs, lengths, state, oracle(made)).items()
    }
    assert_same(found, expected)


@every_cell
def test_gradcheck(cell):
    layer = RecurrentLayer(cell(2, hidden_size=3), backend="kernel").double()
    parameters = dict(layer.named_parameters())
    inputs = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([4, 2, 3])

    def run(inputs, *weights):
        for (name, _), weight in zip(parameters.items(), weights, strict=True):
            owner, _, last = name.rpartition(".")
            vars(layer.get_submodule(owner))["_parameters"][last] = weight
        outputs, final = layer(inputs, lengths)
        return outputs, *final

    assert torch.autograd.gradcheck(run, (inputs, *parameters.values()))


@pytest.mark.parametrize("cell", [LSTMCell, GRUCell, Peephole, Diagonal])
def test_error_of_single_precision_is_that_of_the_loop(cell):
    made = cell(8, hidden_size=48)
    inputs = torch.randn(16, 30, 8)
    exact_cell = copy.deepcopy(made).double()
    exact = results(exact_cell, inputs.double(), None, None, oracle(exact_cell))
    eager = results(made, inputs, None, None, oracle(made))
    kernel = results(RecurrentLayer(made, backend="kernel"), inputs, None, None)
    for (name, value), found in zip(exact.items(), kernel.values(), strict=True):
        error, of_eager = ((part.double() - value).abs().max() for part in (found, eager[name]))
        assert error <= 4 * of_eager + 1e-12, name


FUNCTIONS = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "softplus": functional.softplus,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": lambda x: torch.log(x.abs() + 0.1),
    "log1p": lambda x: torch.log1p(x.abs()),
    "log2": lambda x: torch.log2(x.abs() + 0.1),
    "logsigmoid": functional.logsigmoid,
    "sqrt": lambda x: torch.sqrt(x.abs() + 0.1),
    "rsqrt": lambda x: torch.rsqrt(x.abs() + 0.1),
    "abs": torch.abs,
    "clamp": lambda x: torch.clamp(x, -0.3, 0.4),
    "clamp-min": lambda x: x.clamp(min=0.1),
    "minimum": lambda x: torch.minimum(x, 0.5 * x.abs()),
    "maximum": lambda x: torch.maximum(x, 0.5 - x),
    "where": lambda x: torch.where(x > 0.1, x.sin(), 2 * x),
    "comparison": lambda x: (x >= 0.2).to(x.dtype) * x,
    "sum-of-comparisons": lambda x: ((x > 0.2) + (x > -0.2)) * x.tanh(),
    "comparison-times-number": lambda x: ((x > 0.1) * 2) * x.tanh() + ((x > 0) + 1) * x,
    "alpha": lambda x: (
        torch.add(x.tanh(), 2.0, alpha=0.5) + torch.sub(x, x.sin(), alpha=0.3) + torch.rsub(x, 2.0, alpha=0.5)
    ),
    "constants": lambda x: x * torch.tensor([0.5, 2.0], dtype=x.dtype)[0] + x.tanh() * x.new_tensor([0.5, 2.0])[1],
    "product-of-comparisons": lambda x: ((x < 0.2) * (x > -0.2)) * x.tanh(),
    "square": torch.square,
    "cube": lambda x: x**3,
    "power": lambda x: (x.abs() + 0.2) ** 1.7,
    "power-of-power": lambda x: torch.pow(x.abs() + 0.2, x),
    "reciprocal": lambda x: 1 / (x + 3),
    "gelu": functional.gelu,
    "gelu-tanh": partial(functional.gelu, approximate="tanh"),
    "silu": functional.silu,
    "hardtanh": functional.hardtanh,
    "round": lambda x: x + torch.round(x) + torch.round(x, decimals=1),
    "elu": functional.elu,
    "selu": functional.selu,
    "leaky-relu": functional.leaky_relu,
    "softsign": functional.softsign,
    "mish": functional.mish,
    "erf": torch.erf,
    "sin": torch.sin,
    "cos": torch.cos,
    "sign": lambda x: torch.sign(x) * x,
    "floor": lambda x: x - torch.floor(x),
    "lerp": lambda x: torch.lerp(x, x.tanh(), 0.3),
    "addcmul": lambda x: torch.addcmul(x, x, x.tanh(), value=0.3),
}


class Functions(GatedCell):
    """A function of each gate, each in a state of its own: one kernel for many functions."""

    recurrent = False

    def __init__(self, functions):
        self.num_gates = len(functions)
        self.state_names = tuple(functions)
        super().__init__(2, 5)
        self.functions = tuple(functions.values())

    def update(self, input_gates, hidden_gates, state):
        gates = input_gates.chunk(self.num_gates, -1)
        return tuple(
            0.5 * old + 0.25 * function(gate + 0.1 * old)
            for function, gate, old in zip(self.functions, gates, state, strict=True)
        )


@pytest.mark.parametrize("start", range(0, len(FUNCTIONS), 12))
def test_functions(start):
    functions = dict(list(FUNCTIONS.items())[start : start + 12])
    made = Functions(functions).double()
    inputs = 2 * torch.randn(4, 6, 2, dtype=torch.float64)
    found = results(RecurrentLayer(made, backend="kernel"), inputs, None, None)
    expected = results(made, inputs, None, None, oracle(made))
    for index, name in enumerate(functions):
        torch.testing.assert_close(
            found[f"final {index}"], expected[f"final {index}"], msg=name, rtol=1e-10, atol=1e-10
        )
        rows = slice(5 * index, 5 * index + 5)
        gradients = found["by cell.weight_ih"][rows], expected["by weight_ih"][rows]
        torch.testing.assert_close(*gradients, msg=f"gradient of {name}", rtol=1e-10, atol=1e-10)


WHOLE_RANGE = {
    **{name: FUNCTIONS[name] for name in ("sigmoid", "tanh", "exp", "expm1", "softplus", "logsigmoid", "silu")},
    "log": torch.log,
    "log1p": torch.log1p,
}


def test_functions_over_the_whole_range_in_single_precision():
    """Few units in the last place, infinities and NaN as torch has them."""

    class Plain(Functions):
        def update(self, input_gates, hidden_gates, state):
            gates = input_gates.chunk(self.num_gates, -1)
            return tuple(function(gate) for function, gate in zip(self.functions, gates, strict=True))

    cell = Plain(WHOLE_RANGE)
    nn.init.constant_(cell.weight_ih, 0.5)  # x is given twice
    nn.init.zeros_(cell.bias_ih)
    sizes = torch.logspace(-30, 38, 4001)
    special = torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan, 88.8, -87.4, -104.0, 1e-37, -1e-37])
    near = torch.linspace(-20, 20, 4001)
    x = torch.cat((sizes, -sizes, special, near))
    with torch.no_grad():
        _, states = RecurrentLayer(cell, backend="kernel")(x[:, None, None].expand(-1, 1, 2))
    for name, state in zip(WHOLE_RANGE, states, strict=True):
        found, expected, exact = state[:, 0], WHOLE_RANGE[name](x), WHOLE_RANGE[name](x.double())
        assert torch.equal(found.isnan(), expected.isnan()), name
        assert torch.equal(found.isinf(), expected.isinf()), name
        finite = expected.isfinite()
        error, of_torch = ((values.double() - exact)[finite].abs() for values in (found, expected))
        unit = 2.0**-23 * exact[finite].abs() + 2.0**-126
        assert (error / unit).max() <= 2 * (of_torch / unit).max() + 1, name


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize("cell", [LSTMCell, GRUCell, ElmanCell])
def test_numbers_that_are_not_finite_go_through_as_in_the_loop(cell, value):
    made = cell(2, hidden_size=4)
    inputs = torch.randn(3, 5, 2)
    inputs[1, 2, 0] = value
    with torch.no_grad():
        found, _ = RecurrentLayer(made, backend="kernel")(inputs)
        expected, _ = unroll(made, inputs)
    torch.testing.assert_close(found, expected, equal_nan=True)


@pytest.mark.parametrize("cell", [cell for cell in CELLS.values() if cell is not OwnProjection])  # torch's, there
@pytest.mark.parametrize("ragged", [False, True])
def test_results_do_not_depend_on_the_number_of_threads(cell, ragged, threads):
    layer = RecurrentLayer(cell(3, hidden_size=20), backend="kernel")
    inputs = torch.randn(37, 6, 3)
    lengths = torch.randint(1, 7, (37,)) if ragged else None
    threads(1)
    expected = results(layer, inputs, lengths, None)
    for number in (2, 3, 8, 64):
        threads(number)
        assert_same(results(layer, inputs, lengths, None), expected, tolerance=0)


def test_several_python_threads_may_use_kernels_at_once():
    layers = [RecurrentLayer(LSTMCell(2, 24), backend="kernel") for _ in range(4)]
    inputs = torch.randn(16, 40, 2)
    expected = [results(layer, inputs, None, None) for layer in layers]
    found = {}

    def work(index):
        found[index] = [results(layers[index], inputs, None, None) for _ in range(10)]

    workers = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for index in range(4):
        for result in found[index]:
            assert_same(result, expected[index], tolerance=0)


def test_two_models_at_once(tmp_path):
    """The axis of independent models in the kernel's signature."""
    cells = [LSTMCell(2, 5), LSTMCell(2, 5)]
    inputs = torch.randn(2, 3, 4, 2)
    kernel = autograd.make_kernel(cells[0], torch.float32)
    rows = inputs.transpose(1, 2).reshape(2, 12, 2).contiguous()
    sizes = torch.full((4,), 3)
    weights = [
        torch.stack([getattr(cell, name).detach() for cell in cells])
        for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")
    ]
    states, final = torch.empty(2, 2, 15, 5), torch.empty(2, 2, 3, 5)
    tensors = [sizes, rows, weights[0], weights[1], None, weights[2], weights[3], None, None, states, final]
    pointers = [0 if tensor is None else tensor.data_ptr() for tensor in tensors]
    arguments = autograd._ARGUMENTS.pack(2, 4, 3, 2, 5, 12, 1, *pointers, *[0] * (19 - len(pointers)))
    autograd._library(kernel.source.text).seqlight_forward(arguments)
    for index, cell in enumerate(cells):
        outputs, last = unroll(cell, inputs[index])
        torch.testing.assert_close(states[index, 0, 3:].view(4, 3, 5).transpose(0, 1), outputs)
        torch.testing.assert_close(tuple(final[index]), last)


# What a kernel can't express.


def update_with(change):
    class Unusual(GatedCell):
        num_gates = 1

        def update(self, input_gates, hidden_gates, state):
            return (change(self, torch.tanh(input_gates + hidden_gates), state[0]),)

    return Unusual


REFUSED = {
    "units": (lambda cell, new, old: new.roll(1, -1), "mixes the units"),
    "product": (lambda cell, new, old: new @ torch.eye(5), "torch.mm"),
    "norm": (lambda cell, new, old: functional.layer_norm(new, (5,)), "torch"),
    "random": (lambda cell, new, old: new * torch.rand_like(new), "torch.rand"),
    "cumulative": (lambda cell, new, old: new.cumsum(-1), "torch.cumsum"),
    "softmax": (lambda cell, new, old: new.softmax(-1), "torch"),
    "detached-mean": (lambda cell, new, old: new.detach().mean(-1, keepdim=True).expand_as(new), "mixes the units"),
    "integers": (lambda cell, new, old: new * ~(old > 0).int(), "a conversion from torch.bool to torch.int32"),
    "bits": (lambda cell, new, old: new * ((old > 0) | 2), "which gives torch.int64"),
    "cast": (lambda cell, new, old: new * torch.zeros_like(old, dtype=torch.int64).copy_(old), "a conversion from"),
    "view": (lambda cell, new, old: new + old.view(torch.int32), "view"),
    "precision": (lambda cell, new, old: (new.double() * 0.1).float(), "a conversion from"),
    "affine": (lambda cell, new, old: new / (1 + cell.weight_hh.norm()), "reads the weights of the gates"),
    "numpy": (lambda cell, new, old: new * float(old.detach().numpy().max()), "gives other expressions"),
    "uneven": (lambda cell, new, old: torch.cat((new[:, :2], old[:, 2:]), -1), "treats units"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_kernel_can_express_is_named_and_runs_as_the_loop(name):
    change, message = REFUSED[name]
    cell = update_with(change)(2, 5)
    inputs = torch.randn(3, 4, 2)
    layer = RecurrentLayer(cell)
    with torch.no_grad():
        torch.manual_seed(3)
        with pytest.warns(KernelWarning, match=f"Unusual runs without a kernel.*{message}"):
            outputs, _ = layer(inputs)
        torch.manual_seed(3)
        torch.testing.assert_close(outputs, unroll(cell, inputs)[0])
    with pytest.raises(ValueError, match=f"backend='kernel' can't serve Unusual: .*{message}"):
        RecurrentLayer(cell, backend="kernel")(inputs)


class Configured(GatedCell):
    num_gates = 1

    def __init__(self, value):
        super().__init__(2, 4)
        self._value = value

    def update(self, input_gates, hidden_gates, state):
        return ((input_gates + hidden_gates) * self._value + torch.copysign(state[0] ** 2, torch.tensor(self._value)),)


@pytest.mark.parametrize(("before", "after"), [(0.1, 0.9), (1, True), (2, 2.5)])
def test_a_changed_attribute_makes_a_new_kernel(before, after):
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
def test_attributes_that_may_change_unseen_are_refused_by_name(value):
    cell = GRUCell(2, 4)
    cell.setting = value
    with pytest.warns(KernelWarning, match=f"attribute setting is a {type(value).__name__}"):
        RecurrentLayer(cell)(torch.randn(3, 4, 2))


def test_weights_that_a_kernel_would_misread_are_refused():
    cell = LSTMCell(2, 4)
    cell.register_parameter("bias_hh", None)
    with pytest.raises(ValueError, match=r"its bias_hh must be torch.float32 \(16,\) on the CPU, got None"):
        RecurrentLayer(cell, backend="kernel")(torch.randn(3, 4, 2))
    layer = RecurrentLayer(LSTMCell(2, 4), backend="kernel")
    with pytest.raises(TypeError, match=r"the state must be torch.float32 on cpu.*got torch.float64"):
        layer(torch.randn(3, 4, 2), None, (torch.zeros(3, 4).double(), torch.zeros(3, 4).double()))


def test_hooks_of_a_cell_run_as_in_the_loop():
    cell = LSTMCell(2, 4)
    prune.l1_unstructured(cell, "weight_hh", 0.5)
    with pytest.warns(KernelWarning, match="its step is more than its update"):
        outputs, _ = RecurrentLayer(cell)(torch.randn(3, 4, 2))
    outputs.sum().backward()
    assert cell.weight_hh_orig.grad.abs().sum() > 0


def test_threads_may_make_the_first_call_at_once():
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


@pytest.mark.parametrize("cell", [ElmanCell, Diagonal])
def test_error_of_long_sums_is_that_of_the_loop(cell):
    made = cell(2, 4)
    inputs = torch.randn(8, 2000, 2)
    exact_cell = copy.deepcopy(made).double()
    exact = results(exact_cell, inputs.double(), None, None, oracle(exact_cell))
    eager = results(RecurrentLayer(made, backend="eager"), inputs, None, None)
    kernel = results(RecurrentLayer(made, backend="kernel"), inputs, None, None)
    for (name, value), found, of_eager in zip(exact.items(), kernel.values(), eager.values(), strict=True):
        error, error_of_eager = ((part.double() - value).abs().max() for part in (found, of_eager))
        assert error <= 4 * error_of_eager + 1e-12, name


# As an autograd operation.


def test_copies_and_pickles_work_and_train_apart():
    layer = RecurrentLayer(Peephole(2), backend="kernel")
    inputs = torch.randn(3, 4, 2)
    expected, _ = layer(inputs)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(other(inputs)[0], expected, rtol=0, atol=0)
        nn.init.zeros_(other.cell.peephole)
        assert not torch.equal(other(inputs)[0], expected)
    torch.testing.assert_close(layer(inputs)[0], expected, rtol=0, atol=0)


def test_without_gradients_nothing_is_kept():
    layer = RecurrentLayer(LSTMCell(2, 4), backend="kernel")
    inputs = torch.randn(3, 4, 2)
    expected, _ = layer(inputs)
    with torch.no_grad():
        outputs, _ = layer(inputs)
    assert outputs.grad_fn is None
    assert torch.equal(outputs, expected)
    with torch.inference_mode():
        assert torch.equal(layer(inputs)[0], expected)


def test_a_kernel_made_in_inference_mode_trains():
    layer, inputs = RecurrentLayer(GRUCell(2, 4), backend="kernel"), torch.randn(3, 4, 2)
    with torch.inference_mode():
        layer(inputs)
    assert_same(
        results(layer, inputs, None, None),
        results(RecurrentLayer(layer.cell, backend="eager"), inputs, None, None),
        1e-5,
    )


def test_backward_twice_and_a_second_derivative():
    layer = RecurrentLayer(GRUCell(2, 4), backend="kernel").double()
    inputs = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    outputs, _ = layer(inputs)
    [first] = torch.autograd.grad(outputs.sum(), inputs, retain_graph=True)
    [second] = torch.autograd.grad(outputs.sum(), inputs, retain_graph=True)
    assert torch.equal(first, second)
    [gradient] = torch.autograd.grad(outputs.sum(), inputs, create_graph=True)
    assert torch.equal(first, gradient)
    with pytest.raises(RuntimeError, match="no second derivative"):
        (outputs.sum() + gradient.pow(2).sum()).backward()


@pytest.mark.parametrize("cell", [LSTMCell, ElmanCell, GRUCell, Diagonal])
def test_gradients_have_memory_of_their_own(cell):
    """Accumulated over two steps and clipped, as the loop's are."""
    layer = RecurrentLayer(cell(2, 5), backend="kernel")
    eager = copy.deepcopy(layer)
    eager.backend = "eager"
    inputs = torch.randn(3, 4, 2)
    for one in (layer, eager):
        for _ in range(2):
            one(inputs)[0].sum().backward()
        nn.utils.clip_grad_norm_(one.parameters(), 0.5)
    for (name, parameter), other in zip(layer.named_parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, msg=name)


def test_an_update_in_place_is_refused():
    with pytest.raises(ValueError, match=r"can't serve Unusual: .*in-place"):
        RecurrentLayer(update_with(lambda cell, new, old: old.add_(new))(2, 5), backend="kernel")(torch.randn(3, 4, 2))


def test_frozen_parameters_get_no_gradient():
    layer = RecurrentLayer(LSTMCell(2, 4), backend="kernel")
    layer.cell.weight_ih.requires_grad_(False)
    layer.cell.bias_hh.requires_grad_(False)
    layer(torch.randn(3, 4, 2))[0].sum().backward()
    assert layer.cell.weight_ih.grad is None
    assert layer.cell.bias_hh.grad is None
    assert layer.cell.weight_hh.grad.abs().sum() > 0


@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("cell", [LSTMCell, GRUCell])
def test_autocast_gives_the_loops_types_and_no_worse_numbers(cell, with_state):
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


def test_stack_in_both_directions_with_dropout_equals_the_loop():
    kernel = RecurrentStack(partial(LSTMCell, hidden_size=6), 3, num_layers=3, bidirectional=True, backend="kernel")
    eager = RecurrentStack(partial(LSTMCell, hidden_size=6), 3, num_layers=3, bidirectional=True, backend="eager")
    eager.load_state_dict(kernel.state_dict())
    inputs, lengths = torch.randn(5, 9, 3), torch.tensor([9, 1, 4, 8, 2])
    torch.testing.assert_close(kernel.double()(inputs.double(), lengths), eager.double()(inputs.double(), lengths))


# Building.


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder of its own, and nothing loaded."""
    monkeypatch.setenv("SEQLIGHT_CACHE", str(tmp_path / "cache"))
    for cached in (build.load, autograd._library):
        cached.cache_clear()
    yield tmp_path / "cache"
    for cached in (build.load, autograd._library):
        cached.cache_clear()


def compile_counted(monkeypatch):
    compiled = []
    original = build._compile
    monkeypatch.setattr(build, "_compile", lambda *arguments: compiled.append(1) or original(*arguments))
    return compiled


def forget_loaded():
    for cached in (build.load, autograd._library):
        cached.cache_clear()


def test_a_kernel_is_built_once(cache, monkeypatch):
    compiled = compile_counted(monkeypatch)
    for _ in range(3):
        RecurrentLayer(GRUCell(2, 4), backend="kernel")(torch.randn(3, 4, 2))
        forget_loaded()
    assert len(compiled) == 1
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("damage", ["truncated", "foreign", "link"])
def test_a_broken_or_foreign_entry_is_built_anew(cache, monkeypatch, damage, tmp_path):
    compiled = compile_counted(monkeypatch)
    layer, inputs = RecurrentLayer(GRUCell(2, 4), backend="kernel"), torch.randn(3, 4, 2)
    expected, _ = layer(inputs)
    [entry] = cache.iterdir()
    content = entry.read_bytes()
    entry.unlink()
    if damage == "truncated":
        entry.write_bytes(content[: len(content) // 2])
    elif damage == "foreign":
        entry.write_bytes(b"not a library")
    else:
        (tmp_path / "elsewhere.so").write_bytes(content)
        entry.symlink_to(tmp_path / "elsewhere.so")
    forget_loaded()
    assert torch.equal(RecurrentLayer(layer.cell, backend="kernel")(inputs)[0], expected)
    assert len(compiled) == 2
    [entry] = cache.iterdir()
    assert not entry.is_symlink()


def test_processes_may_build_the_same_kernel_at_once(cache):
    script = textwrap.dedent("""
        import torch
        from seqlight import GRUCell, RecurrentLayer
        torch.manual_seed(0)
        print(RecurrentLayer(GRUCell(2, 4), backend="kernel")(torch.ones(3, 4, 2))[0].sum().item())
    """)
    running = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    printed = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], printed
    assert len({out for out, _ in printed}) == 1
    assert all(path.suffix == ".so" for path in cache.iterdir())


@pytest.mark.parametrize("reason", ["broken compiler", "unwritable cache"])
def test_where_nothing_can_be_built_the_loop_serves(cache, monkeypatch, reason, tmp_path):
    if reason == "broken compiler":
        compiler = tmp_path / "broken"
        compiler.write_text("#!/bin/sh\necho 'error: out of paper' >&2\nexit 1\n")
        compiler.chmod(0o755)
        monkeypatch.setenv("CXX", str(compiler))
        message = "broken failed: error: out of paper"
    else:
        cache.write_text("a file where the folder should be")
        message = "can't keep a kernel in"
    cell, inputs = MinimalGatedUnit(2, 4), torch.randn(3, 4, 2)
    with pytest.warns(KernelWarning, match=message):
        outputs, _ = RecurrentLayer(cell)(inputs)
    torch.testing.assert_close(outputs, unroll(cell, inputs)[0])


def test_the_compiler_may_have_arguments_and_be_a_link(cache, monkeypatch, tmp_path):
    wrapper = tmp_path / "wrapper"
    wrapper.write_text('#!/bin/sh\n[ "$(basename "$0")" = c++ ] || exit 1\nexec g++ "$@"\n')
    wrapper.chmod(0o755)
    (tmp_path / "c++").symlink_to(wrapper)
    monkeypatch.setenv("CXX", f"'{tmp_path}/c++' -DARGUMENT")
    RecurrentLayer(GRUCell(2, 4), backend="kernel")(torch.randn(3, 4, 2))
    assert len(list(cache.iterdir())) == 1


def test_other_flags_or_headers_are_another_entry(cache, monkeypatch):
    layer, inputs = RecurrentLayer(GRUCell(2, 4), backend="kernel"), torch.randn(3, 4, 2)
    layer(inputs)
    monkeypatch.setattr(build, "FLAGS", [*build.FLAGS, "-DOTHER"])
    forget_loaded()
    layer(inputs)
    assert len(list(cache.iterdir())) == 2


def test_a_kernel_leaves_the_floating_point_mode_alone():
    layer, inputs = RecurrentLayer(LSTMCell(2, 4), backend="kernel"), torch.randn(3, 4, 2)
    layer(inputs)[0].sum().backward()
    # Flushed to zero, were the mode changed.
    assert torch.tensor([1e-40]).mul(0.5).item() > 0
    assert ctypes.c_float(1e-40).value * 1.0 > 0
    assert torch.tensor([2e-38]).mul(0.01).item() > 0


def test_import_builds_nothing(cache):
    script = "import seqlight, os; seqlight.RecurrentLayer; print(os.path.exists(os.environ['SEQLIGHT_CACHE']))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "False"
