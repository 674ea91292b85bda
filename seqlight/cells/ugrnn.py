"""The update gate network."""

import torch

from seqlight.cells.cell import GatedCell
from seqlight.cells.state import State


class UGRNNCell(GatedCell):
    """Update gate network: a simple recurrent network with one gate that keeps the state.

        g = sigmoid(W_ig x_t + b_ig + W_hg h_(t-1) + b_hg)
        c =    tanh(W_ic x_t + b_ic + W_hc h_(t-1) + b_hc)
        h_t = g * h_(t-1) + (1 - g) * c

    Gate order: update (g), new (c).

    Source: Collins, Sohl-Dickstein and Sussillo, "Capacity and Trainability in Recurrent Neural Networks",
    ICLR 2017 (arXiv:1611.09913).

    Args:
        input_size: the number of input features F.
        hidden_size: the number of output features H.
    """

    num_gates = 2
    gate_names = ("update", "new")

    def activations(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """(g, c)."""
        g, c = (input_gates + hidden_gates).chunk(2, -1)
        return torch.sigmoid(g), torch.tanh(c)

    def update(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """h_t."""
        update, new = self.activations(input_gates, hidden_gates, state)
        return (update * state[0] + (1 - update) * new,)
