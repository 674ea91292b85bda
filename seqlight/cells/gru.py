"""The gated recurrent unit."""

import torch

from seqlight.cells.cell import GatedCell
from seqlight.cells.state import State


class GRUCell(GatedCell):
    """Gated recurrent unit, with the equations of torch.nn.GRU.

        r = sigmoid(W_ir x_t + b_ir + W_hr h_(t-1) + b_hr)
        z = sigmoid(W_iz x_t + b_iz + W_hz h_(t-1) + b_hz)
        n =    tanh(W_in x_t + b_in + r * (W_hn h_(t-1) + b_hn))
        h_t = (1 - z) * n + z * h_(t-1)

    Gate order: reset, update, new. The reset gate is applied after the product with W_hn, as in torch,
    in cuDNN and in version 1 of the paper; version 3 applies it before.

    Source: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical
    Machine Translation", 2014 (arXiv:1406.1078).

    Args:
        input_size: the number of input features F.
        hidden_size: the number of output features H.
    """

    num_gates = 3
    gate_names = ("reset", "update", "new")

    def activations(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """(r, z, n)."""
        input_reset, input_update, input_new = input_gates.chunk(3, -1)
        hidden_reset, hidden_update, hidden_new = hidden_gates.chunk(3, -1)
        reset = torch.sigmoid(input_reset + hidden_reset)
        update = torch.sigmoid(input_update + hidden_update)
        new = torch.tanh(input_new + reset * hidden_new)
        return reset, update, new

    def update(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """h_t."""
        _, update, new = self.activations(input_gates, hidden_gates, state)
        return ((1 - update) * new + update * state[0],)
