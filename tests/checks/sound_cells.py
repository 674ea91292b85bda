"""Sound cells that are unusual: states without gradients, frozen weights, parameters with several names."""

import torch
from torch import nn

from seqlight import GatedCell, RecurrentCell
from tests.checks.broken_cells import PlainCell


class SkipTwo(GatedCell):
    """h_t = tanh(W x_t + U h_(t-2)). After one step, the first state needs no gradient."""

    num_gates = 1
    state_names = ("older", "newer")
    output_state = 1

    def update(self, input_gates, hidden_gates, state):
        return state[1], torch.tanh(input_gates + hidden_gates)


class Clock(GatedCell):
    """A state that no parameter reaches, before one that depends on them."""

    num_gates = 1
    state_names = ("hidden", "time", "cell")

    def update(self, input_gates, hidden_gates, state):
        cell = 0.9 * state[2] + torch.tanh(input_gates + hidden_gates)
        return torch.tanh(cell), state[1] + 1, cell


class DetachedSum(PlainCell):
    """A state that depends on the weights, but is computed without gradients."""

    def initial_state(self, batch_size, *, device, dtype):
        [hidden] = super().initial_state(batch_size, device=device, dtype=dtype)
        return torch.zeros_like(hidden), hidden

    def forward(self, inputs, state):
        hidden = self.next(inputs, state[1])
        return hidden, ((state[0] + hidden).detach(), hidden)


class ShowsTheClock(Clock):
    """An output that depends on no input and no weight."""

    output_state = 1


class Reservoir(GatedCell):
    """An echo state: nothing in it is trained."""

    num_gates = 1

    def __init__(self, input_size, hidden_size=4):
        super().__init__(input_size, hidden_size)
        self.requires_grad_(False)

    def update(self, input_gates, hidden_gates, state):
        return (torch.tanh(input_gates + hidden_gates),)


class PlainReservoir(PlainCell):
    def __init__(self, input_size):
        super().__init__(input_size)
        self.requires_grad_(False)


class PartlyFrozen(Clock):
    def __init__(self, input_size, hidden_size=4):
        super().__init__(input_size, hidden_size)
        self.weight_hh.requires_grad_(False)
        self.bias_ih.requires_grad_(False)


class FrozenCounter(RecurrentCell):
    """Nothing depends on the inputs, and nothing is trained."""

    def __init__(self, input_size, hidden_size=4):
        super().__init__(input_size, hidden_size)

    def initial_state(self, batch_size, *, device, dtype):
        return (torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype),)

    def forward(self, inputs, state):
        return state[0] + 1, (state[0] + 1,)


class Tied(GatedCell):
    num_gates = 1

    def __init__(self, input_size, hidden_size=4):
        super().__init__(input_size, hidden_size)
        self.p = nn.Parameter(torch.rand(hidden_size))
        self.q = self.p
        self.register_buffer("a", torch.rand(hidden_size))
        self.register_buffer("b", self.a)

    def update(self, input_gates, hidden_gates, state):
        return (self.p * torch.tanh(input_gates + hidden_gates + self.a) + (1 - self.q) * self.b * state[0],)


class TiedBelow(Tied):
    """A submodule shares one of the parameters."""

    def __init__(self, input_size, hidden_size=4):
        super().__init__(input_size, hidden_size)
        self.child = nn.Module()
        self.child.r = self.p

    def update(self, input_gates, hidden_gates, state):
        return (super().update(input_gates, hidden_gates, state)[0] * self.child.r,)


class TiedWeights(GatedCell):
    """One bias for inputs and states."""

    num_gates = 1

    def __init__(self, input_size, hidden_size=4):
        super().__init__(input_size, hidden_size)
        self.bias_hh = self.bias_ih

    def update(self, input_gates, hidden_gates, state):
        return (torch.tanh(input_gates + hidden_gates),)


class TiedPlain(PlainCell):
    def __init__(self, input_size, hidden_size=4):
        super().__init__(input_size, hidden_size)
        self.second = nn.Linear(input_size + hidden_size, hidden_size)
        self.second.weight = self.linear.weight

    def next(self, inputs, hidden):
        return super().next(inputs, hidden) + self.second(torch.cat((inputs, hidden), -1)).sin()


SOUND = [SkipTwo, PartlyFrozen, TiedBelow, TiedPlain]
UNTRAINED = [ShowsTheClock, Reservoir, PlainReservoir, FrozenCounter]
