"""An LSTM of the forget gate alone."""

import torch

from seqlight.cells.cell import GatedCell
from seqlight.cells.state import State
from seqlight.common.validation import check_finite


class JANETCell(GatedCell):
    """Just another network: long short-term memory with the forget gate alone.

        s = W_if x_t + b_if + W_hf h_(t-1) + b_hf
        n = tanh(W_in x_t + b_in + W_hn h_(t-1) + b_hn)
        h_t = sigmoid(s) * h_(t-1) + (1 - sigmoid(s - beta)) * n

    Gate order: forget, new. A larger beta lets more of the input in.

    Source: van der Westhuizen and Lasenby, "The unreasonable effectiveness of the forget gate", 2018
    (arXiv:1804.04849). For memory of up to T steps they draw each forget bias as log u, u uniform in 1..T-1;
    here that takes a `forget_bias` of about log(T / 2), or writing to the biases.

    Args:
        input_size: the number of input features F.
        hidden_size: the number of output features H.
        beta: how far the gate of the input lags behind the forget gate; 1 in the paper.
        forget_bias: what b_if + b_hf is at first; drawn as torch does if None.
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

    def update(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """h_t."""
        s, n = (input_gates + hidden_gates).chunk(2, -1)
        return (torch.sigmoid(s) * state[0] + (1 - torch.sigmoid(s - self.beta)) * torch.tanh(n),)
