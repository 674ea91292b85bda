"""A kernel as one autograd operation."""

import ctypes
import functools
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqlight.cells.cell import GatedCell, State
from seqlight.kernels.build import load
from seqlight.kernels.cpp import Source, print_cpp
from seqlight.kernels.trace import own_tensors, trace_update

_REAL = {torch.float32: "float", torch.float64: "double"}
# Below so many multiplications a second thread takes longer to start than it saves.
_WORTH_A_THREAD = 2_000_000


@dataclass(frozen=True)
class Kernel:
    """The generated loop of a cell, for one type of numbers: plain data, which can be copied and pickled."""

    source: Source
    dtype: torch.dtype
    num_gates: int
    num_states: int


def make_kernel(cell: GatedCell, dtype: torch.dtype) -> Kernel:
    """Trace the cell as it is configured now, and build its kernel, or find it in the cache.

    Raises:
        UnsupportedUpdateError: if its `update` has no expression in C++, naming the operation.
        BuildError: if there is no working compiler, naming it.
    """
    source = print_cpp(trace_update(cell, dtype), _REAL[dtype], recurrent=cell.recurrent)
    _library(source.text)
    return Kernel(source, dtype, cell.num_gates, len(cell.state_names))


def run_kernel(
    kernel: Kernel,
    cell: GatedCell,
    inputs: Float[Tensor, "rows features"],
    batch_sizes: Int64[Tensor, " time"],
    state: State | None,
) -> tuple[Float[Tensor, "rows hidden"], State]:
    """Outputs of all rows and each sequence's final state.

    Args:
        kernel: made from `cell`.
        cell: whose weights are used.
        inputs: the rows (N, F) of all time steps, as in a `PackedSequence`: longest sequences first.
        batch_sizes: how many sequences take each step, (T,), on the host.
        state: the state before the first step, tensors (B, H); zeros if None.
    """
    own = [_in_blocks(tensor, cell.hidden_size) for tensor in own_tensors(cell).values()]
    parameters = None if not own else own[0] if len(own) == 1 else torch.cat(own)
    initial = None if state is None else torch.stack(state)
    outputs, final = _Recurrence.apply(
        kernel,
        batch_sizes,
        inputs,
        cell.weight_ih,
        cell.bias_ih,
        cell.weight_hh if cell.recurrent else None,
        cell.bias_hh if cell.recurrent else None,
        parameters,
        initial,
    )
    return outputs, final.unbind(0)


def _in_blocks(tensor: Tensor, hidden_size: int) -> Tensor:
    """A parameter as rows of H."""
    return tensor.reshape(1, 1).expand(1, hidden_size) if tensor.numel() == 1 else tensor.reshape(-1, hidden_size)


class _Recurrence(torch.autograd.Function):
    """Input projection, the loop over time, and the gradients of both."""

    @staticmethod
    def forward(
        ctx: Any,
        kernel: Kernel,
        batch_sizes: Tensor,
        inputs: Tensor,
        weight_ih: Tensor,
        bias_ih: Tensor,
        weight_hh: Tensor | None,
        bias_hh: Tensor | None,
        parameters: Tensor | None,
        initial: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        num_rows, batch_size, hidden_size = len(inputs), int(batch_sizes[0]), len(bias_ih) // kernel.num_gates
        input_gates = torch.addmm(bias_ih, inputs, weight_ih.t())
        states = inputs.new_empty(kernel.num_states, batch_size + num_rows, hidden_size)
        if initial is None:
            states[:, :batch_size].zero_()
        else:
            states[:, :batch_size] = initial
        weight_hh, bias_hh, parameters = _contiguous(weight_hh), _contiguous(bias_hh), _contiguous(parameters)
        saved = None
        if any(ctx.needs_input_grad):
            saved = inputs.new_empty(num_rows, kernel.source.num_saved, hidden_size)
        arguments = _Arguments(
            batch_sizes,
            batch_size,
            num_rows,
            hidden_size,
            kernel.num_gates,
            input_gates,
            weight_hh,
            bias_hh,
            parameters,
            states,
            saved,
        )
        _library(kernel.source.text).seqlight_forward(ctypes.byref(arguments))
        if len(batch_sizes) * batch_size == num_rows:
            final = states[:, num_rows:].clone()
        else:
            final = states.index_select(1, _last_rows(batch_sizes))
        ctx.save_for_backward(inputs, weight_ih, weight_hh, bias_hh, parameters, states, saved)
        ctx.kernel, ctx.batch_sizes = kernel, batch_sizes
        ctx.set_materialize_grads(False)
        return states[0, batch_size:], final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor | None, grad_final: Tensor | None) -> Any:
        inputs, weight_ih, weight_hh, bias_hh, parameters, states, saved = ctx.saved_tensors
        kernel, batch_sizes = ctx.kernel, ctx.batch_sizes
        num_rows, batch_size, hidden_size = len(inputs), int(batch_sizes[0]), states.shape[-1]
        num_gates = kernel.num_gates
        if grad_final is None:
            grad_state = inputs.new_zeros(kernel.num_states, batch_size, hidden_size)
        else:
            grad_state = grad_final.clone(memory_format=torch.contiguous_format)
        by_input = inputs.new_empty(num_rows, num_gates * hidden_size)
        by_hidden = by_input if kernel.source.same_gate_gradients else torch.empty_like(by_input)
        sums = inputs.new_empty(kernel.source.num_sums, hidden_size)
        arguments = _Arguments(
            batch_sizes,
            batch_size,
            num_rows,
            hidden_size,
            num_gates,
            None,
            weight_hh,
            bias_hh,
            parameters,
            states,
            saved,
            _contiguous(grad_outputs),
            grad_state,
            by_input,
            by_hidden,
            sums,
        )
        _library(kernel.source.text).seqlight_backward(ctypes.byref(arguments))

        needs = ctx.needs_input_grad[2:]
        by_bias_ih = sums[:num_gates].reshape(-1)
        by_weight_hh = by_bias_hh = None
        first_own = num_gates
        if weight_hh is not None:
            if not kernel.source.same_gate_gradients:
                first_own = 2 * num_gates
            by_bias_hh = sums[first_own - num_gates : first_own].reshape(-1)
            by_weight_hh = by_hidden.t() @ _previous(states[0], batch_sizes, num_rows)
        return (
            None,
            None,
            by_input @ weight_ih if needs[0] else None,
            by_input.t() @ inputs if needs[1] else None,
            by_bias_ih,
            by_weight_hh,
            by_bias_hh,
            sums[first_own:] if needs[5] else None,
            grad_state if needs[6] else None,
        )


class _Arguments(ctypes.Structure):
    """`Arguments` of recurrence.h, for one model."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("models", "steps", "batch", "hidden", "rows", "threads")),
        *(
            (name, ctypes.c_void_p)
            for name in (
                "batch_sizes input_gates weight bias parameters states saved grad_outputs grad_state "
                "grad_input_gates grad_hidden_gates grad_sums"
            ).split()
        ),
    )

    def __init__(
        self, batch_sizes: Tensor, batch: int, rows: int, hidden: int, num_gates: int, *tensors: Tensor | None
    ) -> None:
        threads = torch.get_num_threads() if rows * num_gates * hidden * hidden > _WORTH_A_THREAD else 1
        self.kept_alive = tensors
        pointers = [None if tensor is None else tensor.data_ptr() for tensor in (batch_sizes, *tensors)]
        super().__init__(1, len(batch_sizes), batch, hidden, rows, threads, *pointers)


@functools.cache
def _library(text: str) -> ctypes.CDLL:
    library = load(text)
    for function in (library.seqlight_forward, library.seqlight_backward):
        function.argtypes, function.restype = [ctypes.c_void_p], None
    return library


def _contiguous(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _previous(outputs: Tensor, batch_sizes: Tensor, num_rows: int) -> Tensor:
    """The hidden state before each row's step, of outputs (B + N, H) that begin with the initial states."""
    batch_size = int(batch_sizes[0])
    if len(batch_sizes) * batch_size == num_rows:
        return outputs[:num_rows]
    sizes_before = torch.cat((batch_sizes[:1], batch_sizes[:-1]))
    back = sizes_before.repeat_interleave(batch_sizes)
    return outputs.index_select(0, torch.arange(batch_size, batch_size + num_rows) - back)


def _last_rows(batch_sizes: Tensor) -> Tensor:
    """The row of each sequence's last step among the (B + N) rows of a state."""
    batch_size = int(batch_sizes[0])
    sequences = torch.arange(batch_size)
    # The sequence b takes as many steps as have more than b sequences.
    steps = (batch_sizes[:, None] > sequences).sum(0)
    first_rows = batch_size + batch_sizes.cumsum(0) - batch_sizes
    return first_rows[steps - 1] + sequences
