"""One cell over time."""

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from seqlight.cells.cell import GatedCell, RecurrentCell, has_plain_step
from seqlight.cells.state import State
from seqlight.cells.step_check import check_given_state, check_one_step
from seqlight.common.private_torch import is_exporting, is_transformed, unobserved, without_compiler
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
        ValueError: if "torch" can't serve `cell`. `forward` raises this for "kernel", and for "torch" if the cell has
            changed since: a hook, a parametrization, a method set on it.
    """

    def __init__(self, cell: RecurrentCell, *, reverse: bool = False, backend: Backend = "auto") -> None:
        super().__init__()
        check_choice("backend", backend, ("auto", "eager", "torch", "kernel"))
        self.cell = cell
        self.reverse = reverse
        self.backend = backend
        if backend == "torch":
            self._check_torch()
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
        self._check_cell(inputs)
        if state is not None:
            check_given_state(self.cell, state, len(inputs))
        checked = check_lengths(lengths, inputs)
        if self.reverse:
            inputs = reverse_within_lengths(inputs, checked)
        # A compiled model leaves its graph for the layer; only the loop of "eager" becomes a part of the graph.
        compiling = torch.compiler.is_compiling() and not is_exporting()
        run = self._run if self.backend == "eager" or not compiling else self._run_uncompiled
        outputs, state = run(inputs, state, checked)
        if self.reverse:
            outputs = reverse_within_lengths(outputs, checked)
        return outputs, state

    def prepare(self, *, device: torch.device, dtype: torch.dtype) -> tuple[Backend, str]:
        """Check the cell and build its kernel, before there are inputs (B, T, F) of this device and dtype.

        Returns:
            The backend that will serve them, and why it is not a kernel; empty if it is one.

        Raises:
            As `forward`.
        """
        inputs = torch.zeros(1, 1, self.cell.input_size, device=device, dtype=dtype)
        self._check_cell(inputs)
        backend, kernel = self._choose(inputs)
        return backend, "" if isinstance(kernel, Kernel) else kernel

    def _check_cell(self, inputs: Tensor) -> None:
        if not self._checked and not torch.compiler.is_compiling() and not is_transformed():
            with unobserved():
                check_one_step(self.cell, device=inputs.device, dtype=inputs.dtype)
            self._checked = True

    def _run(self, inputs: Tensor, state: State | None, lengths: CheckedLengths | None) -> tuple[Tensor, State]:
        cell = self.cell
        backend, kernel = self._choose(inputs)
        if isinstance(kernel, Kernel):
            assert isinstance(cell, GatedCell)
            return self._kernels.run(kernel, cell, inputs, state, lengths)
        if backend == "torch":
            assert isinstance(cell, GatedCell)
            if state is None:
                state = cell.initial_state(len(inputs), device=inputs.device, dtype=inputs.dtype)
            return torch_backend.run(cell, inputs, state, lengths)
        if isinstance(cell, GatedCell) and has_plain_step(cell):
            return unroll_projected(cell, inputs, state, lengths)
        return unroll(cell, inputs, state, lengths)

    def _choose(self, inputs: Tensor) -> tuple[Backend, Kernel | str]:
        """The first backend that `self.backend` allows and that can serve the cell and the inputs.

        Returns:
            Its name, and the kernel or the reason why there is none.
        """
        cell, kernel = self.cell, f"backend={self.backend!r}"
        if self.backend in ("kernel", "auto"):
            found = self._kernels.find(cell, inputs, warn=self.backend == "auto")
            if isinstance(found, Kernel):
                return "kernel", found
            if self.backend == "kernel":
                raise ValueError(f"backend='kernel' can't serve {type(cell).__name__}: {found}")
            kernel = found
        if self.backend == "torch":
            self._check_torch()
        # torch.func and forward-mode differentiation can transform the loop, but not torch's operations.
        with_torch = self.backend == "torch" or (self.backend == "auto" and not is_transformed())
        if with_torch and torch_backend.torch_operation(cell) is not None:
            return "torch", kernel
        if self.backend == "auto":
            self._kernels.warn_of_loop(cell, inputs, kernel)
        return "eager", kernel

    _run_uncompiled = without_compiler(_run, 'a graph can contain a recurrent layer with `backend="eager"` only')

    def _check_torch(self) -> None:
        if torch_backend.torch_operation(self.cell) is None:
            name = type(self.cell).__name__
            details = (
                " with hooks or replaced methods, or without biases" if type(self.cell) in torch_backend.CELLS else ""
            )
            raise ValueError(
                f"backend='torch' serves ElmanCell, LSTMCell and GRUCell, not {name}{details}; "
                "use 'auto', 'kernel' or 'eager'"
            )
