"""The scalar LSTM of xLSTM."""

from typing import Literal

import torch
from torch.nn import functional

from seqlight.cells.cell import GatedCell
from seqlight.cells.state import State
from seqlight.common.validation import check_choice


class SLSTMCell(GatedCell):
    """sLSTM, the scalar memory of xLSTM: exponential gates, a normaliser, and a stabiliser that bounds them.

        i, f, z, o = W_ih x_t + b_ih + W_hh h_(t-1) + b_hh
        log_f = log sigmoid(f)   or f
        m_t = max(log_f + m_(t-1), i)
        i', f' = exp(i - m_t), exp(log_f + m_(t-1) - m_t)
        c_t = f' * c_(t-1) + i' * tanh(z)
        n_t = f' * n_(t-1) + i'
        h_t = sigmoid(o) * c_t / n_t

    Gate order: input, forget, cell (z), output; their activations are i', f', tanh(z) and sigmoid(o).
    State: (h, c, n, m). c and n are both stored divided by exp(m), which cancels in c_t / n_t. Before the first
    step m is minus infinity, since the memory is empty. So m_1 = i and n_1 = 1, even if i is very small.

    Source: Beck et al., "xLSTM: Extended Long Short-Term Memory", 2024 (arXiv:2405.04517). In the paper W_hh is
    block-diagonal, with one block per head; here it is full, with one head.

    Args:
        input_size: the number of input features F.
        hidden_size: the number of output features H.
        forget_gate: "sigmoid" or "exponential".
        forget_bias: the initial b_ih + b_hh of the forget gate; drawn as in torch if None.
    """

    num_gates = 4
    gate_names = ("input", "forget", "cell", "output")
    state_names = ("hidden", "cell", "normaliser", "stabiliser")

    def __init__(
        self,
        input_size: int,
        hidden_size: int = 32,
        forget_gate: Literal["sigmoid", "exponential"] = "sigmoid",
        forget_bias: float | None = None,
    ) -> None:
        check_choice("forget_gate", forget_gate, ("sigmoid", "exponential"))
        self.forget_bias = forget_bias
        super().__init__(input_size, hidden_size)
        self.forget_gate = forget_gate

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> State:
        """Zeros, and minus infinity for the stabiliser."""
        zeros = torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype)
        return zeros, zeros, zeros, torch.full_like(zeros, -torch.inf)

    def _gates_and_stabiliser(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """(i', f', tanh(z), sigmoid(o)) and m_t, which i' and f' depend on."""
        i, f, z, o = (input_gates + hidden_gates).chunk(4, -1)
        log_f = functional.logsigmoid(f) if self.forget_gate == "sigmoid" else f
        kept = log_f + state[3]
        stabiliser = torch.maximum(kept, i)
        f, i = torch.exp(kept - stabiliser), torch.exp(i - stabiliser)
        return i, f, torch.tanh(z), torch.sigmoid(o), stabiliser

    def activations(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """(i', f', tanh(z), sigmoid(o))."""
        return self._gates_and_stabiliser(input_gates, hidden_gates, state)[:4]

    def update(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """(h_t, c_t, n_t, m_t)."""
        i, f, z, o, stabiliser = self._gates_and_stabiliser(input_gates, hidden_gates, state)
        _, cell, normaliser, _ = state
        cell = f * cell + i * z
        normaliser = f * normaliser + i
        return o * cell / normaliser, cell, normaliser, stabiliser
