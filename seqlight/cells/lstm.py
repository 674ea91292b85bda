"""Long short-term memory."""

import functools
from collections.abc import Callable
from typing import Literal

import torch

from seqlight.cells.cell import GatedCell, RecurrentCell
from seqlight.cells.state import State
from seqlight.common.private_jsonargparse import bound_class


class LSTMCell(GatedCell):
    """Long short-term memory with forget gate, with the equations of torch.nn.LSTM.

        i = sigmoid(W_ii x_t + b_ii + W_hi h_(t-1) + b_hi)
        f = sigmoid(W_if x_t + b_if + W_hf h_(t-1) + b_hf)
        g =    tanh(W_ig x_t + b_ig + W_hg h_(t-1) + b_hg)
        o = sigmoid(W_io x_t + b_io + W_ho h_(t-1) + b_ho)
        c_t = f * c_(t-1) + i * g
        h_t = o * tanh(c_t)

    Gate order: input, forget, cell, output. State: (h, c).

    Source: Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9, 1997; the forget
    gate: Gers, Schmidhuber and Cummins, "Learning to Forget", Neural Computation 12, 2000.

    Args:
        input_size: the number of input features F.
        hidden_size: the number of output features H.
        forget_bias: the initial b_if + b_hf, where "auto" is 1 in a `SequenceClassifier`: its cell starts with a memory
            of several steps. Elsewhere "auto" is None, which draws the biases as torch does.
    """

    num_gates = 4
    gate_names = ("input", "forget", "cell", "output")
    state_names = ("hidden", "cell")

    def __init__(
        self, input_size: int, hidden_size: int = 32, forget_bias: float | Literal["auto"] | None = "auto"
    ) -> None:
        self.forget_bias = None if forget_bias == "auto" else forget_bias
        super().__init__(input_size, hidden_size)

    def activations(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """(i, f, g, o)."""
        i, f, g, o = (input_gates + hidden_gates).chunk(4, -1)
        return torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)

    def update(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """(h_t, c_t)."""
        i, f, g, o = self.activations(input_gates, hidden_gates, state)
        cell = f * state[1] + i * g
        return o * torch.tanh(cell), cell


def with_forget_bias(cell: Callable[[int], RecurrentCell]) -> Callable[[int], RecurrentCell]:
    """A classifier's `cell`, with 1 as the forget bias of an LSTMCell if it is "auto". Other cells are unchanged.

    Source: Jozefowicz, Zaremba and Sutskever, "An Empirical Exploration of Recurrent Network Architectures", ICML 2015.

    Args:
        cell: a cell's class, or a `functools.partial` of it.
    """
    made = functools.partial(cell) if isinstance(cell, type) else bound_class(cell)
    if not (isinstance(made, functools.partial) and made.func is LSTMCell and not made.args):
        return cell
    if made.keywords.get("forget_bias", "auto") != "auto":
        return cell
    return functools.partial(LSTMCell, **{**made.keywords, "forget_bias": 1.0})
