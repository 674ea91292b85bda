"""Long short-term memory."""

import torch

from seqlight.cells.cell import GatedCell
from seqlight.cells.state import State


class LSTMCell(GatedCell):
    """Long short-term memory with forget gate, with the equations of torch.nn.LSTM.

        i = sigmoid(W_ii x_t + b_ii + W_hi h_(t-1) + b_hi)
        f = sigmoid(W_if x_t + b_if + W_hf h_(t-1) + b_hf)
        g =    tanh(W_ig x_t + b_ig + W_hg h_(t-1) + b_hg)
        o = sigmoid(W_io x_t + b_io + W_ho h_(t-1) + b_ho)
        c_t = f * c_(t-1) + i * g
        h_t = o * tanh(c_t)

    Gate order: input, forget, cell, output. State: (h, c).

    Source: Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9, 1997; the forget
    gate: Gers, Schmidhuber and Cummins, "Learning to Forget", Neural Computation 12, 2000.

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

    def activations(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """(i, f, g, o)."""
        i, f, g, o = (input_gates + hidden_gates).chunk(4, -1)
        return torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)

    def update(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """(h_t, c_t)."""
        i, f, g, o = self.activations(input_gates, hidden_gates, state)
        cell = f * state[1] + i * g
        return o * torch.tanh(cell), cell
