"""The backend that runs torch's own recurrent layers (cuDNN, oneDNN), for cells with torch's equations."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqlight.cells.cell import GatedCell, RecurrentCell, has_plain_step
from seqlight.cells.elman import ElmanCell
from seqlight.cells.gru import GRUCell
from seqlight.cells.lstm import LSTMCell
from seqlight.cells.state import State
from seqlight.recurrent.lengths import CheckedLengths, run_packed

CELLS = (ElmanCell, LSTMCell, GRUCell)
_EQUATIONS: dict[type, Any] = {cell: (cell.project, cell.update) for cell in CELLS}


def torch_operation(cell: RecurrentCell) -> Callable[..., tuple[Tensor, ...]] | None:
    """Torch's operation with the equations of `cell`; None if there is none.

    The class must match exactly, because a subclass can have different equations. A parametrization makes a subclass.
    """
    if not isinstance(cell, GatedCell) or type(cell) not in _EQUATIONS:
        return None
    if not has_plain_step(cell) or not {"project", "update"}.isdisjoint(vars(cell)):
        return None
    if (type(cell).project, type(cell).update) != _EQUATIONS[type(cell)]:
        return None  # replaced in the class itself
    if any(weight is None for weight in (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)):
        return None
    if type(cell) is LSTMCell:
        return torch.lstm
    if type(cell) is GRUCell:
        return torch.gru
    if type(cell) is ElmanCell:
        return torch.rnn_tanh if cell.nonlinearity == "tanh" else torch.rnn_relu
    return None


def run(
    cell: GatedCell,
    inputs: Float[Tensor, "batch time features"],
    state: State,
    lengths: CheckedLengths | None,
) -> tuple[Float[Tensor, "batch time hidden"], State]:
    """Outputs (B, T, H) and final state as `unroll` computes them, by torch's operation."""
    operation = torch_operation(cell)
    assert operation is not None
    weights = [cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh]
    if inputs.is_cuda:
        _flatten(cell)
    # With train=True cuDNN saves what its backward pass needs; that depends on gradients, not on the module's mode.
    options = {
        "has_biases": True,
        "num_layers": 1,
        "dropout": 0.0,
        "train": torch.is_grad_enabled(),
        "bidirectional": False,
    }
    if lengths is None:
        outputs, *final = operation(inputs, _join(state), weights, *options.values(), True)
        # Torch's backward pass needs its results, and a view can't be detached in place, but the caller may do both.
        return outputs.clone(), tuple(part[0].clone() for part in final)

    def run_rows(data: Tensor, batch_sizes: Tensor, state: State | None) -> tuple[Tensor, State]:
        assert state is not None
        outputs, *final = operation(data, batch_sizes, _join(state), weights, *options.values())
        return outputs, tuple(part.squeeze(0) for part in final)

    return run_packed(run_rows, inputs, lengths, state)


def _join(state: State) -> Tensor | list[Tensor]:
    """The state in torch's form: one tensor (1, B, H), or a list of two."""
    parts = [part.unsqueeze(0) for part in state]
    return parts if len(parts) > 1 else parts[0]


def _flatten(cell: GatedCell) -> None:
    """Move the weights into one block of memory; otherwise cuDNN copies them at each call, with a warning.

    A torch.nn layer that shares the cell's parameters does it; optimizer and state dict see no change.
    """
    weights = (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
    block = cell.weight_ih.untyped_storage().data_ptr()
    if all(weight.untyped_storage().data_ptr() == block for weight in weights):
        return
    if not all(isinstance(weight, nn.Parameter) for weight in weights):
        return  # a parametrization computes the weights at each call
    layer_type = {LSTMCell: nn.LSTM, GRUCell: nn.GRU}.get(type(cell), nn.RNN)
    with torch.device("meta"):
        layer = layer_type(cell.input_size, cell.hidden_size)
    for name, weight in zip(("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"), weights, strict=True):
        setattr(layer, name, weight)
    layer.flatten_parameters()
