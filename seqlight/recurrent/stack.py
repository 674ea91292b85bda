"""Stacks of recurrent layers, in one or both directions."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from seqlight.cells.cell import GatedCell, RecurrentCell
from seqlight.cells.regularised import RegularisedCell
from seqlight.cells.state import State
from seqlight.common.unused import warn_unused
from seqlight.common.validation import check_at_least, check_choice, check_fraction
from seqlight.recurrent.layer import Backend, RecurrentLayer
from seqlight.recurrent.lengths import CheckedLengths, check_lengths

Norm = Literal["layer", "rms"]


class RecurrentStack(nn.Module):
    """A stack of recurrent layers, in one or both directions.

    Args:
        cell: makes a cell from its input size: a cell's class, or `functools.partial(GRUCell, hidden_size=64)`.
        input_size: the number of features F of the first layer's inputs.
        num_layers: the number of layers.
        bidirectional: whether each layer also runs backwards; the next layer reads both outputs.
        dropout: the probability of dropping an output between layers, in training.
        input_dropout: the probability of dropping a feature of each layer's inputs, including the first layer's;
            all steps of a sequence share one mask (variational dropout; source: see `RegularisedCell`).
        recurrent_dropout: the same for the state that W_hh multiplies.
        zoneout: the probability that a unit of the state keeps its value in a step.
        residual: whether each layer above the first adds its inputs to its outputs.
        norm: the norm of the inputs of each layer above the first: "layer" (torch.nn.LayerNorm), "rms"
            (torch.nn.RMSNorm) or None.
        backend: the backend of each `RecurrentLayer`.

    Attributes:
        layers: `num_layers * D` layers, for D directions: layer 0 forward, layer 0 backward, layer 1 forward, ...
        output_size: D * H.
        cell_name: the name of the cell's class.

    Warns:
        UnusedArgumentWarning: if `dropout`, `norm` or `residual` is given for one layer.

    Raises:
        TypeError: if `cell` is not callable or makes no RecurrentCell, or makes no GatedCell although
            `recurrent_dropout` or `zoneout` is set.
        ValueError: if an argument is out of range; the message names it.
    """

    def __init__(
        self,
        cell: Callable[[int], RecurrentCell],
        input_size: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        residual: bool = False,
        norm: Norm | None = None,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        if not callable(cell) or isinstance(cell, nn.Module):
            raise TypeError(
                f"cell must make a cell from its input size, as partial(GRUCell, hidden_size=64) does; got {cell!r}"
            )
        check_at_least("input_size", input_size, 1)
        check_at_least("num_layers", num_layers, 1)
        check_fraction("dropout", dropout)
        check_fraction("input_dropout", input_dropout)
        if norm is not None:
            check_choice("norm", norm, ("layer", "rms"))
        if num_layers == 1:
            for name, value in {"dropout": dropout, "norm": norm, "residual": residual}.items():
                if value:
                    warn_unused(name, value, "with one layer")
        num_directions = 2 if bidirectional else 1
        self.layers = nn.ModuleList()
        self.norms = nn.ModuleList()
        for index in range(num_layers):
            if norm is not None and index > 0:
                self.norms.append((nn.LayerNorm if norm == "layer" else nn.RMSNorm)(input_size))
            for direction in range(num_directions):
                made = cell(input_size)
                if not isinstance(made, RecurrentCell):
                    raise TypeError(f"cell must make a RecurrentCell, got {made!r}")
                self.cell_name = type(made).__name__
                if recurrent_dropout or zoneout:
                    made = RegularisedCell(made, recurrent_dropout=recurrent_dropout, zoneout=zoneout)
                self.layers.append(RecurrentLayer(made, reverse=direction == 1, backend=backend))
            input_size = num_directions * made.hidden_size
        self.num_directions = num_directions
        self.output_size = input_size
        self.dropout = nn.Dropout(dropout)
        self.input_dropout = nn.Dropout(input_dropout)
        self.residual = residual

    def forward(
        self,
        inputs: Float[Tensor, "batch time features"],
        lengths: Int64[Tensor, " batch"] | CheckedLengths | None = None,
        state: list[State] | None = None,
    ) -> tuple[Float[Tensor, "batch time output"], list[State]]:
        """Outputs of the last layer (B, T, D*H), and the final state of every layer and direction.

        Args:
            inputs: (B, T, F).
            lengths: true time steps of each sequence, (B,), in 1..T; T if None.
            state: the states before the first step, in the order of `layers`; each cell's initial state if None.

        Raises:
            ValueError: if `state` does not have one entry for each layer and direction.
            TypeError, ValueError: see `RecurrentLayer.forward`.
        """
        if state is not None and len(state) != len(self.layers):
            raise ValueError(
                f"state must have one entry for each of the {len(self.layers)} layers and directions, got {len(state)}"
            )
        lengths = check_lengths(lengths, inputs)
        final: list[State] = []
        for start in range(0, len(self.layers), self.num_directions):
            below = inputs
            if start > 0:
                if len(self.norms) > 0:
                    inputs = self.norms[start // self.num_directions - 1](inputs)
                inputs = self.dropout(inputs)
            if self.input_dropout.p and self.training:
                inputs = inputs * self.input_dropout(torch.ones_like(inputs[:, :1]))
            directions = []
            for index in range(start, start + self.num_directions):
                output, last = self.layers[index](inputs, lengths, None if state is None else state[index])
                directions.append(output)
                final.append(last)
            inputs = directions[0] if self.num_directions == 1 else torch.cat(directions, -1)
            if self.residual and start > 0:
                inputs = inputs + below
        return inputs, final

    def last_outputs(self, final: Sequence[State]) -> Float[Tensor, "batch output"] | None:
        """Each direction's output at its last step (B, D*H), from the final states; None if they do not contain it."""
        cells: list[Any] = [layer.cell for layer in list(self.layers)[-self.num_directions :]]
        if self.residual or not all(isinstance(cell, GatedCell) for cell in cells):
            return None
        last = [state[cell.output_state] for state, cell in zip(final[-len(cells) :], cells, strict=True)]
        return last[0] if len(last) == 1 else torch.cat(last, -1)
