"""The minimal GRU."""

import torch

from seqlight.cells.cell import GatedCell
from seqlight.cells.state import State


class MinGRUCell(GatedCell):
    """minGRU: a GRU whose gates see the input alone, so that h_t is linear in h_(t-1).

        z = sigmoid(W_z x_t + b_z)
        n = W_n x_t + b_n
        h_t = (1 - z) * h_(t-1) + z * n

    Gate order: update (z), new (n). The form that the paper computes in log space differs: there n is made
    positive, by x + 0.5 for x >= 0 and sigmoid(x) below.

    Source: Feng et al., "Were RNNs All We Needed?", 2024 (arXiv:2410.01201).

    Args:
        input_size: the number of input features F.
        hidden_size: the number of output features H.
    """

    num_gates = 2
    gate_names = ("update", "new")
    recurrent = False

    def update(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """h_t."""
        z, new = input_gates.chunk(2, -1)
        update = torch.sigmoid(z)
        return ((1 - update) * state[0] + update * new,)
