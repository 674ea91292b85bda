"""The independently recurrent network."""

from typing import Literal

import torch
from torch import nn

from seqlight.cells.cell import GatedCell
from seqlight.cells.state import State
from seqlight.common.validation import check_choice


class IndRNNCell(GatedCell):
    """Independently recurrent network: each unit sees its own state only.

        h_t = f(W x_t + b + u * h_(t-1)),   f = relu or tanh

    u is drawn uniform in 0..1, so that with relu no state grows initially. The paper also keeps |u| below
    c^(1/T) for sequences of T steps, where c > 1 bounds their growth. This class does not.

    Source: Li et al., "Independently Recurrent Neural Network (IndRNN): Building A Longer and Deeper RNN",
    CVPR 2018 (arXiv:1803.04831).

    Attributes:
        recurrent_weight: u, (H,).

    Args:
        input_size: the number of input features F.
        hidden_size: the number of output features H.
        nonlinearity: f, "relu" or "tanh".
    """

    num_gates = 1
    gate_names = ("new",)
    recurrent = False

    def __init__(self, input_size: int, hidden_size: int = 32, nonlinearity: Literal["relu", "tanh"] = "relu") -> None:
        check_choice("nonlinearity", nonlinearity, ("relu", "tanh"))
        super().__init__(input_size, hidden_size)
        self.nonlinearity = nonlinearity
        self.recurrent_weight = nn.Parameter(torch.rand(hidden_size))

    def activations(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """h_t, the only gate."""
        f = torch.relu if self.nonlinearity == "relu" else torch.tanh
        return (f(input_gates + self.recurrent_weight * state[0]),)

    def update(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """h_t."""
        return self.activations(input_gates, hidden_gates, state)
