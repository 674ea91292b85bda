"""One cell over time."""

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from seqlight.cells.cell import GatedCell, RecurrentCell, has_plain_step
from seqlight.cells.state import State
from seqlight.cells.step_check import check_given_state, check_one_step
from seqlight.common.validation import check_choice
from seqlight.kernels.autograd import Kernel
from seqlight.recurrent import torch_backend
from seqlight.recurrent.kernel_backend import Kernels
from seqlight.recurrent.lengths import CheckedLengths, check_lengths, reverse_within_lengths
from seqlight.recurrent.unroll import unroll, unroll_projected

Backend = Literal["auto", "eager", "torch", "kernel"]


class RecurrentLayer(nn.Module):
    """One cell over time, in one direction.

    Args:
        cell: the cell that takes each step.
        reverse: whether time runs backwards, from each sequence's true last step.
        backend: "eager" is a loop in Python; "torch" is torch's own layer (cuDNN, oneDNN), for ElmanCell,
            LSTMCell and GRUCell; "kernel" is code generated from a GatedCell's `update`, on the CPU; "auto" is
            the first of kernel, torch and eager that can serve the cell and the inputs.

    Raises:
        ValueError: if "torch" can't serve `cell`. For "kernel", `forward` raises this.
    """

    def __init__(self, cell: RecurrentCell, *, reverse: bool = False, backend: Backend = "auto") -> None:
        super().__init__()
        check_choice("backend", backend, ("auto", "eager", "torch", "kernel"))
        if backend == "torch" and torch_backend.torch_operation(cell) is None:
            raise ValueError(
                f"backend='torch' serves ElmanCell, LSTMCell and GRUCell, not {type(cell).__name__}; "
                "use 'auto', 'kernel' or 'eager'"
            )
        self.cell = cell
        self.reverse = reverse
        self.backend = backend
        self._kernels = Kernels()
        self._checked = False

    def forward(
        self,
        inputs: Float[Tensor, "batch time features"],
        lengths: Int64[Tensor, " batch"] | CheckedLengths | None = None,
        state: State | None = None,
    ) -> tuple[Float[Tensor, "batch time hidden"], State]:
        """Outputs (B, T, H), 0 past the lengths, and the state after each sequence's last true step.

        Args:
            inputs: (B, T, F).
            lengths: true time steps of each sequence, (B,), in 1..T; T if None.
            state: the state before the first step, tensors (B, H); the cell's initial state if None.

        Raises:
            TypeError, ValueError: if a length is not in 1..T, the inputs do not have F features, the cell breaks
                its contract (checked on first use), or the backend can't serve the cell or the inputs.
        """
        if inputs.ndim != 3:
            raise ValueError(f"inputs must be of shape (B, T, F), got {tuple(inputs.shape)}")
        if inputs.shape[-1] != self.cell.input_size:
            raise ValueError(f"inputs must have {self.cell.input_size} features, got {inputs.shape[-1]}")
        if not self._checked and not torch.compiler.is_compiling():
            check_one_step(self.cell, device=inputs.device, dtype=inputs.dtype)
            self._checked = True
        if state is not None:
            check_given_state(self.cell, state, len(inputs))
        checked = check_lengths(lengths, inputs)
        if self.reverse:
            inputs = reverse_within_lengths(inputs, checked)
        outputs, state = self._run(inputs, state, checked)
        if self.reverse:
            outputs = reverse_within_lengths(outputs, checked)
        return outputs, state

    def _run(self, inputs: Tensor, state: State | None, lengths: CheckedLengths | None) -> tuple[Tensor, State]:
        """Run the first backend that `self.backend` allows and that can serve the cell and the inputs."""
        cell = self.cell
        if self.backend in ("kernel", "auto"):
            kernel = self._kernels.find(cell, inputs, warn=self.backend == "auto")
            if isinstance(kernel, Kernel):
                assert isinstance(cell, GatedCell)
                return self._kernels.run(kernel, cell, inputs, state, lengths)
            if self.backend == "kernel":
                raise ValueError(f"backend='kernel' can't serve {type(cell).__name__}: {kernel}")
        plain = isinstance(cell, GatedCell) and has_plain_step(cell)
        if self.backend in ("torch", "auto") and plain and torch_backend.torch_operation(cell) is not None:
            assert isinstance(cell, GatedCell)
            if state is None:
                state = cell.initial_state(len(inputs), device=inputs.device, dtype=inputs.dtype)
            return torch_backend.run(cell, inputs, state, lengths)
        if plain:
            assert isinstance(cell, GatedCell)
            return unroll_projected(cell, inputs, state, lengths)
        return unroll(cell, inputs, state, lengths)
