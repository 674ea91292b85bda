"""The scalar LSTM of xLSTM."""

from typing import Literal

import torch
from torch.nn import functional

from seqlight.cells.cell import GatedCell
from seqlight.cells.state import State
from seqlight.common.validation import check_choice


class SLSTMCell(GatedCell):
    """sLSTM, xLSTM's scalar memory: exponential gates, a normaliser, and a stabiliser that bounds them.

        i, f, z, o = W_ih x_t + b_ih + W_hh h_(t-1) + b_hh
        log_f = log sigmoid(f)   or f
        m_t = max(log_f + m_(t-1), i)
        c_t = exp(log_f + m_(t-1) - m_t) * c_(t-1) + exp(i - m_t) * tanh(z)
        n_t = exp(log_f + m_(t-1) - m_t) * n_(t-1) + exp(i - m_t)
        h_t = sigmoid(o) * c_t / n_t

    Gate order: input, forget, cell (z), output. State: (h, c, n, m). c and n are both kept divided by
    exp(m), which the quotient does not see. Before the first step m is minus infinity, for an empty memory:
    so m_1 = i and n_1 = 1, however small i is.

    Source: Beck et al., "xLSTM: Extended Long Short-Term Memory", 2024 (arXiv:2405.04517). There W_hh is
    block-diagonal, a block for each head; here it is full, one head.

    Args:
        input_size: the number of input features F.
        hidden_size: the number of output features H.
        forget_gate: "sigmoid" or "exponential".
        forget_bias: what the forget gate's b_ih + b_hh is at first; drawn as torch does if None.
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

    def update(self, input_gates: torch.Tensor, hidden_gates: torch.Tensor, state: State) -> State:
        """(h_t, c_t, n_t, m_t)."""
        i, f, z, o = (input_gates + hidden_gates).chunk(4, -1)
        _, cell, normaliser, stabiliser = state
        log_f = functional.logsigmoid(f) if self.forget_gate == "sigmoid" else f
        kept = log_f + stabiliser
        stabiliser = torch.maximum(kept, i)
        forget, new = torch.exp(kept - stabiliser), torch.exp(i - stabiliser)
        cell = forget * cell + new * torch.tanh(z)
        normaliser = forget * normaliser + new
        return torch.sigmoid(o) * cell / normaliser, cell, normaliser, stabiliser
