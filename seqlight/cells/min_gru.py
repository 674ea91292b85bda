"""The minimal GRU."""

import torch

from seqlight.cells.cell import GatedCell
from seqlight.cells.state import State


class MinGRUCell(GatedCell):
    """minGRU: a GRU whose gates see only the input, so that h_t is linear in h_(t-1).

        z = sigmoid(W_z x_t + b_z)
        n = W_n x_t + b_n
        h_t = (1 - z) * h_(t-1) + z * n

    Gate order: update (z), new (n). The paper's log-space form differs: it makes n positive, as x + 0.5 for
    x >= 0 and sigmoid(x) for x < 0.

    Source: Feng et al., "Were RNNs All We Needed?", 2024 (arXiv:2410.01201).

    Args:
        input_size: the number of input features F.
        hidden_size: the number of output features H.
    """

    num_gates = 2
    gate_names = ("update", "new")
    recurrent = False

    def activations(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """(z, n)."""
        z, n = input_gates.chunk(2, -1)
        return torch.sigmoid(z), n

    def update(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """h_t."""
        update, new = self.activations(input_gates, hidden_gates, state)
        return ((1 - update) * state[0] + update * new,)
