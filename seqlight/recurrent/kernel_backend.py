"""Generated kernels for a layer's cell."""

import warnings
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from seqlight.cells.cell import GatedCell, RecurrentCell, State
from seqlight.cells.contract import check_next_state
from seqlight.kernels.build import BuildError
from seqlight.kernels.function import Kernel, make_kernel, run_kernel
from seqlight.kernels.trace import UnsupportedUpdateError
from seqlight.recurrent.lengths import run_packed
from seqlight.recurrent.unroll import unroll


class KernelWarning(UserWarning):
    """A cell runs as a loop in Python, since no kernel can serve it."""


class Kernels:
    """The kernels of one cell, made when they are first wanted.

    A cell that is configured anew gets a new one. Copies and pickles of this start empty.
    """

    def __init__(self) -> None:
        self._made: dict[Any, Kernel | str] = {}
        self._dtypes: dict[Any, tuple[torch.dtype, ...]] = {}

    def __reduce__(self) -> Any:
        return Kernels, ()

    def find(self, cell: RecurrentCell, inputs: Tensor) -> Kernel | str:
        """The kernel that serves these inputs, or why none does."""
        dtype = torch.float32 if torch.is_autocast_enabled("cpu") else inputs.dtype
        reason = _refusal(cell, inputs, dtype)
        if reason is not None:
            return reason
        assert isinstance(cell, GatedCell)
        key = (dtype, *_configuration(cell))
        if key not in self._made:
            try:
                self._made[key] = make_kernel(cell, dtype)
            except (UnsupportedUpdateError, BuildError) as error:
                self._made[key] = str(error)
                warnings.warn(
                    f"{type(cell).__name__} has no kernel, a slower way serves: {error}", KernelWarning, stacklevel=2
                )
        return self._made[key]

    def run(
        self,
        kernel: Kernel,
        cell: GatedCell,
        inputs: Float[Tensor, "batch time features"],
        state: State | None,
        lengths: Int64[Tensor, " batch"] | None,
    ) -> tuple[Float[Tensor, "batch time hidden"], State]:
        """As `unroll`; `lengths` on the host, None if every sequence is full."""
        if not torch.is_autocast_enabled("cpu"):
            return _run(kernel, cell, inputs, state, lengths)
        dtypes = self._eager_dtypes(cell, inputs, state, lengths)
        with torch.autocast("cpu", enabled=False):
            if state is not None:
                state = tuple(part.to(kernel.dtype) for part in state)
            outputs, final = _run(kernel, cell, inputs.to(kernel.dtype), state, lengths)
        return outputs.to(dtypes[0]), tuple(part.to(dtype) for part, dtype in zip(final, dtypes[1:], strict=True))

    def _eager_dtypes(
        self, cell: GatedCell, inputs: Tensor, state: State | None, lengths: Tensor | None
    ) -> tuple[torch.dtype, ...]:
        """The types of output and states that `unroll` gives under this autocast."""
        steps = min(inputs.shape[1], 2)
        given = tuple(part.dtype for part in state or ())
        key = (inputs.dtype, given, steps, lengths is None, torch.get_autocast_dtype("cpu"), *_configuration(cell))
        if key not in self._dtypes:
            with torch.no_grad():
                first = None if state is None else tuple(part[:1] for part in state)
                output, final = unroll(
                    cell, inputs[:1, :steps], first, None if lengths is None else torch.ones(1).long()
                )
            self._dtypes[key] = (output.dtype, *(part.dtype for part in final))
        return self._dtypes[key]


def _refusal(cell: RecurrentCell, inputs: Tensor, dtype: torch.dtype) -> str | None:
    """Why no kernel can serve, before anything is traced."""
    if not isinstance(cell, GatedCell) or type(cell).forward is not GatedCell.forward:
        return f"{type(cell).__name__} is not a GatedCell whose step is its update()"
    if inputs.device.type != "cpu":
        return f"kernels run on the CPU, and the inputs are on {inputs.device}"
    if dtype not in (torch.float32, torch.float64) or cell.weight_ih.dtype != dtype:
        return f"kernels take float32 or float64 for inputs and weights, not {dtype} and {cell.weight_ih.dtype}"
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return "torch.compile, torch.export and torch.func see through a loop, not through a kernel"
    return None


def _configuration(cell: GatedCell) -> tuple[Any, ...]:
    """What an `update` may depend on besides its tensors: a kernel is made for one such configuration."""
    values: list[Any] = []
    for module in cell.modules() if cell._modules else (cell,):
        for name, value in vars(module).items():
            if not name.startswith("_"):
                if isinstance(value, Tensor):
                    value = (id(value), value._version)
                elif value.__hash__ is None:
                    value = repr(value)
                values.append((name, value))
    return tuple(values)


def _run(
    kernel: Kernel, cell: GatedCell, inputs: Tensor, state: State | None, lengths: Tensor | None
) -> tuple[Tensor, State]:
    if state is None and type(cell).initial_state is not GatedCell.initial_state:
        state = cell.initial_state(len(inputs), device=inputs.device, dtype=inputs.dtype)
        check_next_state(cell, state, len(inputs))
    if lengths is None:
        return run_kernel(kernel, cell, inputs, None, state)

    def step(data: Tensor, batch_sizes: Tensor, state: State | None) -> tuple[Tensor, State]:
        return run_kernel(kernel, cell, data, batch_sizes, state)

    return run_packed(step, inputs, lengths, state)
