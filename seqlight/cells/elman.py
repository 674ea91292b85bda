"""The simple recurrent network."""

from typing import Literal

import torch

from seqlight.cells.cell import GatedCell
from seqlight.cells.state import State
from seqlight.common.validation import check_choice


class ElmanCell(GatedCell):
    """Elman's simple recurrent network, with the equation of torch.nn.RNN.

        h_t = f(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh),   f = tanh or relu

    Source: Elman, "Finding Structure in Time", Cognitive Science 14, 1990; with relu: Le, Jaitly and
    Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units", 2015.

    Args:
        input_size: the number of input features F.
        hidden_size: the number of output features H.
        nonlinearity: f, "tanh" or "relu".
    """

    num_gates = 1
    gate_names = ("new",)

    def __init__(self, input_size: int, hidden_size: int = 32, nonlinearity: Literal["tanh", "relu"] = "tanh") -> None:
        check_choice("nonlinearity", nonlinearity, ("tanh", "relu"))
        super().__init__(input_size, hidden_size)
        self.nonlinearity = nonlinearity

    def activations(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """h_t, the only gate."""
        f = torch.tanh if self.nonlinearity == "tanh" else torch.relu
        return (f(input_gates + hidden_gates),)

    def update(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """h_t."""
        return self.activations(input_gates, hidden_gates, state)
