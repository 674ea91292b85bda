"""Long short-term memory with peepholes."""

import torch
from torch import nn

from seqlight.cells.cell import GatedCell
from seqlight.cells.state import State


class PeepholeLSTMCell(GatedCell):
    """Long short-term memory whose gates also see the cell state of their own unit.

        i = sigmoid(W_ii x_t + b_ii + W_hi h_(t-1) + b_hi + p_i * c_(t-1))
        f = sigmoid(W_if x_t + b_if + W_hf h_(t-1) + b_hf + p_f * c_(t-1))
        g =    tanh(W_ig x_t + b_ig + W_hg h_(t-1) + b_hg)
        c_t = f * c_(t-1) + i * g
        o = sigmoid(W_io x_t + b_io + W_ho h_(t-1) + b_ho + p_o * c_t)
        h_t = o * tanh(c_t)

    Gate order: input, forget, cell, output, as in torch.nn.LSTM, which this equals for p_i = p_f = p_o = 0.
    State: (h, c). The output gate sees the new cell state, the others the old one. The peepholes are drawn
    like the weights, uniform in +-1/sqrt(H).

    Source: Gers and Schmidhuber, "Recurrent Nets that Time and Count", IJCNN 2000; Gers, Schraudolph and
    Schmidhuber, "Learning Precise Timing with LSTM Recurrent Networks", JMLR 3, 2002. These papers use
    other functions than tanh; with tanh: Graves, "Generating Sequences With Recurrent Neural Networks", 2013
    (arXiv:1308.0850).

    Attributes:
        peephole_input: p_i, (H,).
        peephole_forget: p_f, (H,).
        peephole_output: p_o, (H,).

    Args:
        input_size: the number of input features F.
        hidden_size: the number of output features H.
        forget_bias: the initial b_if + b_hf; drawn as in torch if None.
    """

    num_gates = 4
    gate_names = ("input", "forget", "cell", "output")
    state_names = ("hidden", "cell")

    def __init__(self, input_size: int, hidden_size: int = 32, forget_bias: float | None = None) -> None:
        self.forget_bias = forget_bias
        super().__init__(input_size, hidden_size)
        bound = hidden_size**-0.5
        self.peephole_input = nn.Parameter(torch.empty(hidden_size).uniform_(-bound, bound))
        self.peephole_forget = nn.Parameter(torch.empty(hidden_size).uniform_(-bound, bound))
        self.peephole_output = nn.Parameter(torch.empty(hidden_size).uniform_(-bound, bound))

    def _gates_and_cell(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """(i, f, g, o) and c_t, which o depends on."""
        i, f, g, o = (input_gates + hidden_gates).chunk(4, -1)
        cell = state[1]
        i = torch.sigmoid(i + self.peephole_input * cell)
        f = torch.sigmoid(f + self.peephole_forget * cell)
        g = torch.tanh(g)
        cell = f * cell + i * g
        o = torch.sigmoid(o + self.peephole_output * cell)
        return i, f, g, o, cell

    def activations(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """(i, f, g, o)."""
        return self._gates_and_cell(input_gates, hidden_gates, state)[:4]

    def update(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """(h_t, c_t)."""
        *_, o, cell = self._gates_and_cell(input_gates, hidden_gates, state)
        return o * torch.tanh(cell), cell
