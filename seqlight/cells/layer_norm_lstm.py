"""Long short-term memory with layer normalisation."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from seqlight.cells.cell import RecurrentCell, set_forget_bias
from seqlight.cells.state import State


class LayerNormLSTMCell(RecurrentCell):
    """Long short-term memory with layer normalisation of the gates and of the cell state.

        i, f, g, o = LN(W_ih x_t; a_ih, b_ih) + LN(W_hh h_(t-1); a_hh, b_hh)
        c_t = sigmoid(f) * c_(t-1) + sigmoid(i) * tanh(g)
        h_t = sigmoid(o) * tanh(LN(c_t; a_c, b_c))
        LN(v; a, b) = a * (v - mean v) / sqrt(var v + 1e-5) + b

    Gate order: input, forget, cell, output. State: (h, c). LN takes the mean over all 4*H gates, or over
    all H cells. The step is therefore not elementwise, and this is not a GatedCell. With a single input feature
    LN(W_ih x_t) keeps little more than its sign.

    Source: Ba, Kiros and Hinton, "Layer Normalization", 2016 (arXiv:1607.06450). The paper has a third bias
    beside b_ih and b_hh; it is left out here.

    Attributes:
        weight_ih: (4*H, F).
        weight_hh: (4*H, H).
        norm_ih: a_ih and b_ih, (4*H,), as `weight` and `bias`; initially 1 and 0.
        norm_hh: a_hh and b_hh, (4*H,), as in `norm_ih`.
        norm_cell: a_c and b_c, (H,), as in `norm_ih`.

    Args:
        input_size: the number of input features F.
        hidden_size: the number of output features H.
        forget_bias: the initial b_ih + b_hh of the forget gate; 0, as in torch.nn.LayerNorm, if None.
    """

    gate_names = ("input", "forget", "cell", "output")
    state_names = ("hidden", "cell")

    def __init__(self, input_size: int, hidden_size: int = 32, forget_bias: float | None = None) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.norm_ih = nn.LayerNorm(4 * hidden_size)
        self.norm_hh = nn.LayerNorm(4 * hidden_size)
        self.norm_cell = nn.LayerNorm(hidden_size)
        for weight in (self.weight_ih, self.weight_hh):
            nn.init.uniform_(weight, -(hidden_size**-0.5), hidden_size**-0.5)
        if forget_bias is not None:
            set_forget_bias((self.norm_ih.bias, self.norm_hh.bias), self.gate_names, forget_bias)

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> State:
        """Zeros."""
        zeros = torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype)
        return zeros, zeros

    def forward(
        self, inputs: Float[Tensor, "batch features"], state: State
    ) -> tuple[Float[Tensor, "batch hidden"], State]:
        """One step: inputs (B, F) and (h, c) to the output h_t (B, H) and (h_t, c_t)."""
        hidden, cell = state
        gates = self.norm_ih(functional.linear(inputs, self.weight_ih))
        gates = gates + self.norm_hh(functional.linear(hidden, self.weight_hh))
        i, f, g, o = gates.chunk(4, -1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        hidden = torch.sigmoid(o) * torch.tanh(self.norm_cell(cell))
        return hidden, (hidden, cell)
