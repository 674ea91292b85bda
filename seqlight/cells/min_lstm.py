"""The minimal LSTM."""

import torch
from torch.nn import functional

from seqlight.cells.cell import GatedCell
from seqlight.cells.state import State


class MinLSTMCell(GatedCell):
    """minLSTM: an LSTM whose gates see only the input and add up to 1.

        i = sigmoid(W_i x_t + b_i)
        f = sigmoid(W_f x_t + b_f)
        n = W_n x_t + b_n
        i', f' = i / (f + i), f / (f + i)
        h_t = f' * h_(t-1) + i' * n

    Gate order: input, forget, new; their activations are i', f' and n. f' is computed as sigmoid(log f - log i),
    which is exact even if f and i are too small to divide. The paper's log-space form differs: it makes n positive,
    as x + 0.5 for x >= 0 and sigmoid(x) for x < 0.

    Source: Feng et al., "Were RNNs All We Needed?", 2024 (arXiv:2410.01201).

    Args:
        input_size: the number of input features F.
        hidden_size: the number of output features H.
        forget_bias: the initial b_f; drawn as in torch if None.
    """

    num_gates = 3
    gate_names = ("input", "forget", "new")
    recurrent = False

    def __init__(self, input_size: int, hidden_size: int = 32, forget_bias: float | None = None) -> None:
        self.forget_bias = forget_bias
        super().__init__(input_size, hidden_size)

    def activations(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """(i', f', n)."""
        i, f, n = input_gates.chunk(3, -1)
        forget = torch.sigmoid(functional.logsigmoid(f) - functional.logsigmoid(i))
        return 1 - forget, forget, n

    def update(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """h_t."""
        i, f, new = self.activations(input_gates, hidden_gates, state)
        return (f * state[0] + i * new,)
