"""Cells that cover what a kernel must express, and the comparison of a kernel with the loop over time."""

import functools
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from seqlight import ElmanCell, GatedCell, GRUCell, LSTMCell, RecurrentLayer, unroll
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
    """More input gates than hidden gates, from a nonlinear projection; the output is the second state."""

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


@functools.cache
def shared_layer(cell, input_size, hidden_size):
    """A float64 layer with a kernel. Tests share it and must not change it, because each layer traces its cell."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return RecurrentLayer(cell(input_size, hidden_size=hidden_size), backend="kernel").double()


def loop(layer):
    """`unroll` with the arguments of a layer."""
    return lambda inputs, lengths, state: unroll(layer.cell, inputs, state, lengths)


def results(layer, inputs, lengths=None, state=None, run=None):
    """Outputs, final states, and gradients of a weighted sum of them by inputs, initial state and parameters."""
    inputs = inputs.detach().clone().requires_grad_()
    state = None if state is None else tuple(part.detach().clone().requires_grad_() for part in state)
    outputs, final = (run or layer)(inputs, lengths, state)
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(part.shape, generator=generator, dtype=torch.float64) for part in (outputs, *final)]
    loss = sum((weight.to(part.dtype) * part).sum() for weight, part in zip(weights, (outputs, *final), strict=True))
    leaves = {"inputs": inputs, **dict(layer.named_parameters())}
    leaves |= {f"state {index}": part for index, part in enumerate(state or ())}
    gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    named = {"outputs": outputs.detach()} | {f"final {index}": part.detach() for index, part in enumerate(final)}
    for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
        named[f"gradient of {name}"] = torch.zeros_like(leaf) if gradient is None else gradient
    return named


def assert_same(found, expected, tolerance=1e-10):
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(
            found[name], expected[name], rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )
