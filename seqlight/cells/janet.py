"""An LSTM with a forget gate only."""

import torch

from seqlight.cells.cell import GatedCell
from seqlight.cells.state import State
from seqlight.common.validation import check_finite


class JANETCell(GatedCell):
    """JANET (just another network): long short-term memory with a forget gate only.

        s = W_if x_t + b_if + W_hf h_(t-1) + b_hf
        n = tanh(W_in x_t + b_in + W_hn h_(t-1) + b_hn)
        f, i = sigmoid(s), 1 - sigmoid(s - beta)
        h_t = f * h_(t-1) + i * n

    Gate order: forget (f), new (n). A larger beta lets in more of the input.

    Source: van der Westhuizen and Lasenby, "The unreasonable effectiveness of the forget gate", 2018
    (arXiv:1804.04849). For memory of up to T steps the paper draws each forget bias as log u, with u uniform in
    1..T-1. Here, set `forget_bias` to about log(T / 2), or change the biases after construction.

    Args:
        input_size: the number of input features F.
        hidden_size: the number of output features H.
        beta: the shift of the input's gate against the forget gate; 1 in the paper.
        forget_bias: the initial b_if + b_hf; drawn as in torch if None.
    """

    num_gates = 2
    gate_names = ("forget", "new")

    def __init__(
        self, input_size: int, hidden_size: int = 32, beta: float = 1.0, forget_bias: float | None = None
    ) -> None:
        check_finite("beta", beta)
        self.forget_bias = forget_bias
        super().__init__(input_size, hidden_size)
        self.beta = beta

    def _gates(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """(f, n, i); i is not a gate with weights of its own."""
        s, n = (input_gates + hidden_gates).chunk(2, -1)
        return torch.sigmoid(s), torch.tanh(n), 1 - torch.sigmoid(s - self.beta)

    def activations(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """(f, n)."""
        return self._gates(input_gates, hidden_gates, state)[:2]

    def update(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """h_t."""
        f, n, i = self._gates(input_gates, hidden_gates, state)
        return (f * state[0] + i * n,)
