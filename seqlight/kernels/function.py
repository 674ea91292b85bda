"""A kernel as one autograd operation."""

import ctypes
import functools
import struct
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
    inputs: Float[Tensor, "batch time features"] | Float[Tensor, "rows features"],
    batch_sizes: Int64[Tensor, " time"] | None,
    state: State | None,
) -> tuple[Float[Tensor, "batch time hidden"] | Float[Tensor, "rows hidden"], State]:
    """Outputs of all steps and each sequence's final state.

    Args:
        kernel: made from `cell`.
        cell: whose weights are used.
        inputs: (B, T, F); or, with `batch_sizes`, the rows (N, F) of all time steps, as in a `PackedSequence`:
            longest sequences first.
        batch_sizes: how many sequences take each step, (T,), on the host; None if every sequence takes all.
        state: the state before the first step, tensors (B, H); zeros if None.

    Returns:
        Outputs (B, T, H), or (N, H) with `batch_sizes`, and the final state.
    """
    own = [_in_blocks(tensor, cell.hidden_size) for tensor in own_tensors(cell).values()]
    outputs, final = _Recurrence.apply(
        kernel,
        batch_sizes,
        inputs,
        cell.weight_ih,
        cell.bias_ih,
        cell.weight_hh if cell.recurrent else None,
        cell.bias_hh if cell.recurrent else None,
        torch.cat(own) if own else None,
        None if state is None else torch.stack(state),
    )
    return outputs, final.unbind(0)


def _in_blocks(tensor: Tensor, hidden_size: int) -> Tensor:
    """A parameter as rows of H."""
    return tensor.reshape(1, 1).expand(1, hidden_size) if tensor.numel() == 1 else tensor.reshape(-1, hidden_size)


class _Recurrence(torch.autograd.Function):
    """Input projection, the loop over time, and the gradients of both.

    A small model's step is as long as the operations around the loop: so they are few.
    """

    @staticmethod
    def forward(
        ctx: Any,
        kernel: Kernel,
        batch_sizes: Tensor | None,
        inputs: Tensor,
        weight_ih: Tensor,
        bias_ih: Tensor,
        weight_hh: Tensor | None,
        bias_hh: Tensor | None,
        parameters: Tensor | None,
        initial: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        rows = inputs if batch_sizes is not None else inputs.transpose(0, 1).flatten(0, 1)
        num_rows, hidden_size = len(rows), len(bias_ih) // kernel.num_gates
        batch_size = len(inputs) if batch_sizes is None else int(batch_sizes[0])
        if batch_sizes is None:
            batch_sizes = _full_batches(batch_size, num_rows // batch_size)
        input_gates = torch.addmm(bias_ih, rows, weight_ih.t())
        states = rows.new_empty(kernel.num_states, batch_size + num_rows, hidden_size)
        final = rows.new_empty(kernel.num_states, batch_size, hidden_size)
        weight_hh, bias_hh, parameters = _contiguous(weight_hh), _contiguous(bias_hh), _contiguous(parameters)
        saved = None
        if any(ctx.needs_input_grad):
            saved = rows.new_empty(num_rows, kernel.source.num_saved, hidden_size)
            ctx.save_for_backward(rows, weight_ih, weight_hh, bias_hh, parameters, states, saved)
            ctx.kernel, ctx.batch_sizes, ctx.shape = kernel, batch_sizes, inputs.shape
            ctx.set_materialize_grads(False)
        tensors = [input_gates, weight_hh, bias_hh, parameters, initial, states, final, saved]
        _call(_library(kernel.source.text).seqlight_forward, kernel, batch_sizes, states, tensors)
        outputs = states[0, batch_size:]
        return outputs.view(-1, batch_size, hidden_size).transpose(0, 1) if inputs.ndim == 3 else outputs, final

    @staticmethod
    def backward(ctx: Any, grad_outputs: Tensor | None, grad_final: Tensor | None) -> Any:
        # With gradients on, a second derivative may be asked for, which must be an error.
        differentiate = once_differentiable(_differentiate) if torch.is_grad_enabled() else _differentiate
        return differentiate(ctx, grad_outputs, grad_final)


def _differentiate(ctx: Any, grad_outputs: Tensor | None, grad_final: Tensor | None) -> tuple[Tensor | None, ...]:
    """The gradients by the arguments of `_Recurrence.forward`."""
    rows, weight_ih, weight_hh, bias_hh, parameters, states, saved = ctx.saved_tensors
    kernel, batch_sizes = ctx.kernel, ctx.batch_sizes
    num_rows, hidden_size, num_gates = len(rows), states.shape[-1], kernel.num_gates
    batch_size = states.shape[1] - num_rows
    if grad_final is None:
        grad_state = rows.new_zeros(kernel.num_states, batch_size, hidden_size)
    else:
        grad_state = grad_final.clone(memory_format=torch.contiguous_format)
    if grad_outputs is not None:
        if len(ctx.shape) == 3:
            grad_outputs = grad_outputs.transpose(0, 1)
        grad_outputs = grad_outputs.contiguous()
    same = kernel.source.same_gate_gradients
    by_input = rows.new_empty(num_rows, num_gates * hidden_size)
    by_hidden = by_input if same else torch.empty_like(by_input)
    sums = rows.new_empty(kernel.source.num_sums * hidden_size)
    tensors = [None, weight_hh, bias_hh, parameters, None, states, None, saved]
    tensors += [grad_outputs, grad_state, by_input, by_hidden, sums]
    _call(_library(kernel.source.text).seqlight_backward, kernel, batch_sizes, states, tensors)

    needs = ctx.needs_input_grad[2:]
    size = num_gates * hidden_size
    by_bias_ih = by_bias_hh = sums[:size]
    by_weight_hh, first_own = None, size
    if weight_hh is not None:
        if not same:
            by_bias_hh, first_own = sums[size : 2 * size], 2 * size
        by_weight_hh = by_hidden.t() @ _previous(states[0], batch_sizes, num_rows)
    by_inputs = None
    if needs[0]:
        by_inputs = by_input @ weight_ih
        if len(ctx.shape) == 3:
            by_inputs = by_inputs.view(-1, batch_size, ctx.shape[2]).transpose(0, 1)
    return (
        None,
        None,
        by_inputs,
        by_input.t() @ rows if needs[1] else None,
        by_bias_ih,
        by_weight_hh,
        None if weight_hh is None else by_bias_hh,
        sums[first_own:].view(-1, hidden_size) if needs[5] else None,
        grad_state if needs[6] else None,
    )


_ARGUMENTS = struct.Struct("6q14P")  # of recurrence.h


def _call(function: Any, kernel: Kernel, batch_sizes: Tensor, states: Tensor, tensors: list[Tensor | None]) -> None:
    """Run a library's function on `Arguments` of recurrence.h, for one model; the last tensors may be left out."""
    num_steps, batch_size, hidden_size = len(batch_sizes), int(batch_sizes[0]), states.shape[-1]
    num_rows = states.shape[1] - batch_size
    large = num_rows * kernel.num_gates * hidden_size * hidden_size > _WORTH_A_THREAD
    threads = torch.get_num_threads() if large else 1
    pointers = [0 if tensor is None else tensor.data_ptr() for tensor in tensors]
    pointers += [0] * (13 - len(pointers))
    sizes = (1, num_steps, batch_size, hidden_size, num_rows, threads)
    function(_ARGUMENTS.pack(*sizes, batch_sizes.data_ptr(), *pointers))


@functools.lru_cache(maxsize=16)
def _full_batches(batch_size: int, num_steps: int) -> Tensor:
    return torch.full((num_steps,), batch_size)


@functools.cache
def _library(text: str) -> ctypes.CDLL:
    library = load(text)
    for function in (library.seqlight_forward, library.seqlight_backward):
        function.argtypes, function.restype = [ctypes.c_char_p], None
    return library


def _contiguous(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _previous(outputs: Tensor, batch_sizes: Tensor, num_rows: int) -> Tensor:
    """The hidden state before each row's step, of outputs (B + N, H) that begin with the initial states."""
    batch_size = len(outputs) - num_rows
    if len(batch_sizes) * batch_size == num_rows:
        return outputs[:num_rows]
    sizes_before = torch.cat((batch_sizes[:1], batch_sizes[:-1]))
    back = sizes_before.repeat_interleave(batch_sizes)
    return outputs.index_select(0, torch.arange(batch_size, batch_size + num_rows) - back)
