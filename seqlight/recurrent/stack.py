"""Layers and directions."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from seqlight.cells.cell import RecurrentCell, State
from seqlight.recurrent.layer import Backend, RecurrentLayer
from seqlight.recurrent.lengths import ragged_lengths
from seqlight.validation import check_at_least, check_fraction


class RecurrentStack(nn.Module):
    """Recurrent layers on top of each other, in one or both directions.

    Args:
        cell: makes a cell from its input size: a cell's class, or `functools.partial(GRUCell, hidden_size=64)`.
        input_size: the number of features F of the first layer's inputs.
        num_layers: the number of layers.
        bidirectional: whether each layer also runs backwards; the next layer reads both outputs.
        dropout: the chance to drop an output between layers, while training.
        backend: as for `RecurrentLayer`.

    Attributes:
        layers: `num_layers * D` layers, for D directions: layer 0 forward, layer 0 backward, layer 1 forward, ...
        output_size: D * H.

    Raises:
        TypeError: if `cell` can't be called or makes no RecurrentCell.
    """

    def __init__(
        self,
        cell: Callable[[int], RecurrentCell],
        input_size: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
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
        num_directions = 2 if bidirectional else 1
        self.layers = nn.ModuleList()
        for _ in range(num_layers):
            for direction in range(num_directions):
                made = cell(input_size)
                if not isinstance(made, RecurrentCell):
                    raise TypeError(f"cell must make a RecurrentCell, got {made!r}")
                self.layers.append(RecurrentLayer(made, reverse=direction == 1, backend=backend))
            input_size = num_directions * made.hidden_size
        self.num_directions = num_directions
        self.output_size = input_size
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        inputs: Float[Tensor, "batch time features"],
        lengths: Int64[Tensor, " batch"] | None = None,
        state: list[State] | None = None,
    ) -> tuple[Float[Tensor, "batch time output"], list[State]]:
        """Outputs of the last layer (B, T, D*H), and the final state of every layer and direction.

        Args:
            inputs: (B, T, F).
            lengths: true time steps of each sequence, (B,), in 1..T; T if None.
            state: the states before the first step, in the order of `layers`; initial states if None.
        """
        if state is not None and len(state) != len(self.layers):
            raise ValueError(
                f"state must have one entry for each of the {len(self.layers)} layers and directions, got {len(state)}"
            )
        lengths = ragged_lengths(lengths, inputs)
        final: list[State] = []
        for start in range(0, len(self.layers), self.num_directions):
            if start > 0:
                inputs = self.dropout(inputs)
            directions = []
            for index in range(start, start + self.num_directions):
                output, last = self.layers[index](inputs, lengths, None if state is None else state[index])
                directions.append(output)
                final.append(last)
            inputs = directions[0] if self.num_directions == 1 else torch.cat(directions, -1)
        return inputs, final
