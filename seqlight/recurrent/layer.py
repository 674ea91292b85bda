"""One cell over time."""

from typing import Literal

from jaxtyping import Float, Int64
from torch import Tensor, nn

from seqlight.cells.cell import GatedCell, RecurrentCell, State
from seqlight.recurrent import torch_backend
from seqlight.recurrent.lengths import ragged_lengths, reverse_within_lengths
from seqlight.recurrent.unroll import unroll
from seqlight.validation import check_choice

Backend = Literal["auto", "eager", "torch"]


class RecurrentLayer(nn.Module):
    """One cell over time, in one direction.

    Args:
        cell: the step.
        reverse: whether time runs backwards, from each sequence's true last step.
        backend: "eager" is `unroll`; "torch" is torch's own layer (cuDNN, oneDNN), for ElmanCell,
            LSTMCell and GRUCell; "auto" is "torch" where it is valid, else "eager".

    Raises:
        ValueError: if `backend` can't serve `cell`.
    """

    def __init__(self, cell: RecurrentCell, *, reverse: bool = False, backend: Backend = "auto") -> None:
        super().__init__()
        check_choice("backend", backend, ("auto", "eager", "torch"))
        has_torch_operation = torch_backend.torch_operation(cell) is not None
        if backend == "torch" and not has_torch_operation:
            raise ValueError(
                f"backend='torch' serves ElmanCell, LSTMCell and GRUCell, not {type(cell).__name__}; "
                "use 'auto' or 'eager'"
            )
        self.cell = cell
        self.reverse = reverse
        self.backend = ("torch" if has_torch_operation else "eager") if backend == "auto" else backend

    def forward(
        self,
        inputs: Float[Tensor, "batch time features"],
        lengths: Int64[Tensor, " batch"] | None = None,
        state: State | None = None,
    ) -> tuple[Float[Tensor, "batch time hidden"], State]:
        """Outputs (B, T, H), 0 past the lengths, and the state after each sequence's last true step.

        Args:
            inputs: (B, T, F).
            lengths: true time steps of each sequence, (B,), in 1..T; T if None.
            state: the state before the first step, tensors (B, H); the cell's initial state if None.

        Raises:
            ValueError: if a length is not in 1..T, or the inputs do not have F features.
        """
        if inputs.shape[-1] != self.cell.input_size:
            raise ValueError(f"inputs must have {self.cell.input_size} features, got {inputs.shape[-1]}")
        lengths = ragged_lengths(lengths, inputs)
        if self.reverse:
            inputs = reverse_within_lengths(inputs, lengths)
        if self.backend == "torch":
            assert isinstance(self.cell, GatedCell)
            if state is None:
                state = self.cell.initial_state(len(inputs), device=inputs.device, dtype=inputs.dtype)
            outputs, state = torch_backend.run(self.cell, inputs, state, lengths)
        else:
            outputs, state = unroll(self.cell, inputs, state, lengths)
        if self.reverse:
            outputs = reverse_within_lengths(outputs, lengths)
        return outputs, state
