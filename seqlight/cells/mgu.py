"""The minimal gated unit."""

import torch

from seqlight.cells.cell import GatedCell
from seqlight.cells.state import State


class MGUCell(GatedCell):
    """Minimal gated unit: a GRU with one gate that both resets and updates.

        f = sigmoid(W_if x_t + b_if + W_hf h_(t-1) + b_hf)
        n =    tanh(W_in x_t + b_in + f * (W_hn h_(t-1) + b_hn))
        h_t = (1 - f) * h_(t-1) + f * n

    Gate order: forget, new. The forget gate is applied after the product with W_hn, like the reset gate of
    torch's GRU. The paper applies it before, W_hn (f * h_(t-1)).

    Source: Zhou et al., "Minimal Gated Unit for Recurrent Neural Networks", 2016 (arXiv:1603.09420).

    Args:
        input_size: the number of input features F.
        hidden_size: the number of output features H.
    """

    num_gates = 2
    gate_names = ("forget", "new")

    def activations(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """(f, n)."""
        input_forget, input_new = input_gates.chunk(2, -1)
        hidden_forget, hidden_new = hidden_gates.chunk(2, -1)
        forget = torch.sigmoid(input_forget + hidden_forget)
        new = torch.tanh(input_new + forget * hidden_new)
        return forget, new

    def update(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """h_t."""
        forget, new = self.activations(input_gates, hidden_gates, state)
        return ((1 - forget) * state[0] + forget * new,)
