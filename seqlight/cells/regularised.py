"""Recurrent dropout and zoneout around a cell."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from seqlight.cells.cell import GatedCell, RecurrentCell, has_plain_step
from seqlight.cells.state import State
from seqlight.common.validation import check_fraction


class RegularisedCell(GatedCell):
    """A gated cell with variational dropout of the hidden state, and zoneout.

        hidden_gates = W_hh (d * h_(t-1)) + b_hh,   d = Bernoulli(1 - p) / (1 - p), drawn once per sequence
        s_t = k_t * s_(t-1) + (1 - k_t) * s'_t,      k_t = Bernoulli(z), drawn for each state, unit and step

    where s' is the result of the cell's `update`. In evaluation d is 1, and k_t is its mean z. Both are elementwise,
    so kernels support them: the dropout mask is an extra state, which stays the same if a sequence runs in chunks;
    the masks of zoneout are passed with the input gates.

    State: (d * h, the cell's states, d) with dropout, else the cell's states.

    Source: Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks",
    NIPS 2016 (arXiv:1512.05287); Krueger et al., "Zoneout: Regularizing RNNs by Randomly Preserving Hidden
    Activations", ICLR 2017 (arXiv:1606.01305).

    Args:
        cell: any gated cell; its parameters are shared, not copied.
        recurrent_dropout: p, at least 0 and less than 1.
        zoneout: z, at least 0 and less than 1.

    Raises:
        TypeError: if `cell` is not a GatedCell, or has its own `step`, `forward` or hooks, also if added later.
        ValueError: if a probability is out of range, if `recurrent_dropout` is set for a cell without recurrent
            weights, or if `zoneout` is set for a cell with a stabiliser, whose states can't be averaged.
    """

    def __init__(self, cell: RecurrentCell, *, recurrent_dropout: float = 0.0, zoneout: float = 0.0) -> None:
        check_fraction("recurrent_dropout", recurrent_dropout)
        check_fraction("zoneout", zoneout)
        name = type(cell).__name__
        if not isinstance(cell, GatedCell):
            raise TypeError(f"recurrent_dropout and zoneout need a GatedCell, got {name}")
        _check_plain(cell)
        if recurrent_dropout and not cell.recurrent:
            raise ValueError(f"recurrent_dropout needs a cell with W_hh, got {name}")
        if zoneout and "stabiliser" in cell.state_names:
            raise ValueError(f"zoneout does not support {name}: its states {cell.state_names} can't be averaged")
        RecurrentCell.__init__(self, cell.input_size, cell.hidden_size)  # the weights are the inner cell's
        self.cell = cell
        # Keys of the state dict are those of the inner cell, so a checkpoint loads with and without noise.
        self.register_state_dict_post_hook(_leave_out_cell)
        self.register_load_state_dict_pre_hook(_put_in_cell)
        self.recurrent_dropout = recurrent_dropout
        self.zoneout = zoneout
        self.num_gates, self.gate_names, self.recurrent = cell.num_gates, cell.gate_names, cell.recurrent  # type: ignore[misc]
        self.state_names, self.output_state = cell.state_names, cell.output_state  # type: ignore[misc]
        if recurrent_dropout:
            self.state_names = ("dropped", *cell.state_names, "dropout")  # type: ignore[misc]
            self.output_state = 1 + cell.output_state  # type: ignore[misc]

    @property
    def weight_ih(self) -> Tensor:  # type: ignore[override]
        """The cell's W_ih, (G*H, F)."""
        return self.cell.weight_ih

    @property
    def weight_hh(self) -> Tensor:  # type: ignore[override]
        """The cell's W_hh, (G*H, H)."""
        return self.cell.weight_hh

    @property
    def bias_ih(self) -> Tensor:  # type: ignore[override]
        """The cell's b_ih, (G*H,)."""
        return self.cell.bias_ih

    @property
    def bias_hh(self) -> Tensor:  # type: ignore[override]
        """The cell's b_hh, (G*H,)."""
        return self.cell.bias_hh

    def reset_parameters(self) -> None:
        """Draw the cell's weights again."""
        self.cell.reset_parameters()

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> State:
        """The cell's initial state, with a dropout mask drawn for each sequence."""
        state = self.cell.initial_state(batch_size, device=device, dtype=dtype)
        if not self.recurrent_dropout:
            return state
        mask = torch.ones_like(state[0])
        if self.training:
            mask = torch.dropout(mask, self.recurrent_dropout, True)
        return mask * state[0], *state, mask

    @property
    def _num_masks(self) -> int:
        """The number of zoneout masks (B, H) in a step."""
        return len(self.cell.state_names) if self.zoneout and self.training else 0

    @property
    def num_input_gates(self) -> int:
        """The number of the cell's input gates and zoneout masks."""
        return self.cell.num_input_gates + self._num_masks

    def project(self, inputs: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch gates"]:
        """The cell's input gates, followed by the zoneout masks."""
        _check_plain(self.cell)  # hooks can be added later
        gates = self.cell.project(inputs)
        if not self._num_masks:
            return gates
        masks = torch.rand(*gates.shape[:-1], self._num_masks * self.hidden_size, device=gates.device) < self.zoneout
        return torch.cat((gates, masks.to(gates.dtype)), -1)

    def update(self, input_gates: Tensor, hidden_gates: Tensor, state: State) -> State:
        """The cell's next state after zoneout; with dropout also d * h and the mask d."""
        before = state[1:-1] if self.recurrent_dropout else state
        size = self.cell.num_input_gates * self.hidden_size
        after = self.cell.update(input_gates[:, :size], hidden_gates, before)
        if self.zoneout:
            keep = input_gates[:, size:] if self.training else torch.full_like(before[0], self.zoneout)
            masks = keep.chunk(len(before), -1) if self.training else (keep,) * len(before)
            after = tuple(mask * old + (1 - mask) * new for mask, old, new in zip(masks, before, after, strict=True))
        if not self.recurrent_dropout:
            return after
        return state[-1] * after[0], *after, state[-1]


def _check_plain(cell: GatedCell) -> None:
    if not has_plain_step(cell):
        raise TypeError(
            f"recurrent_dropout and zoneout use only project() and update() of a cell, but {type(cell).__name__} has "
            "its own step() or forward(), or hooks, as those of weight_norm and pruning"
        )


def _leave_out_cell(module: RegularisedCell, state_dict: dict[str, Any], prefix: str, metadata: Any) -> None:
    for name in [name for name in state_dict if name.startswith(f"{prefix}cell.")]:
        state_dict[prefix + name.removeprefix(f"{prefix}cell.")] = state_dict.pop(name)


def _put_in_cell(module: RegularisedCell, state_dict: dict[str, Any], prefix: str, *details: Any) -> None:
    for name in module.cell.state_dict():
        if prefix + name in state_dict:
            state_dict[f"{prefix}cell.{name}"] = state_dict.pop(prefix + name)
