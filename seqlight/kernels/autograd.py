"""A kernel as one autograd operation."""

import functools
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from seqlight.cells.cell import GatedCell, is_inherited
from seqlight.cells.state import State
from seqlight.common.private_torch import is_batched
from seqlight.kernels.cpp_printer import Source, print_cpp
from seqlight.kernels.library import call_library, library_of
from seqlight.kernels.trace import own_tensors, trace_update

_REAL = {torch.float32: "float", torch.float64: "double"}


@dataclass(frozen=True)
class Kernel:
    """The generated loop of a cell, for one dtype: plain data, which can be copied and pickled."""

    source: Source
    dtype: torch.dtype
    num_gates: int
    num_input_gates: int
    num_states: int
    output_state: int


def make_kernel(cell: GatedCell, dtype: torch.dtype) -> Kernel:
    """Trace the cell in its current configuration, and build its kernel or load it from the cache.

    Raises:
        UnsupportedUpdateError: if `update` can't be expressed in C++; the message names the operation.
        BuildError: if there is no working compiler; the message names it.
        InterruptedBuildError: if the build does not end, for a reason that can pass.
    """
    program = trace_update(cell, dtype)
    source = print_cpp(program, _REAL[dtype], recurrent=cell.recurrent, output_state=cell.output_state)
    library_of(source)
    return Kernel(source, dtype, cell.num_gates, cell.num_input_gates, len(cell.state_names), cell.output_state)


def run_kernel(
    kernel: Kernel,
    cell: GatedCell,
    inputs: Float[Tensor, "batch time features"] | Float[Tensor, "rows features"],
    batch_sizes: Int64[Tensor, " time"] | None,
    state: State | None,
) -> tuple[Float[Tensor, "batch time hidden"] | Float[Tensor, "rows hidden"], State]:
    """Run a kernel over all time steps.

    Args:
        kernel: the kernel that was made from `cell`.
        cell: the cell, which holds the weights.
        inputs: (B, T, F); with `batch_sizes`, the rows (N, F) of all time steps in the order of a `PackedSequence`,
            longest sequences first.
        batch_sizes: the number of sequences at each time step, (T,), on the CPU; None if all have T steps.
        state: the state before the first step, tensors (B, H); zeros if None.

    Returns:
        Outputs (B, T, H), or (N, H) with `batch_sizes`, and the final state.
    """
    own = [_in_blocks(tensor.to(kernel.dtype), cell.hidden_size) for tensor in own_tensors(cell).values()]
    # If the cell overrides `project`, torch runs it.
    projected = is_inherited(cell, "project")
    outputs, *final = _Recurrence.apply(
        kernel,
        torch.is_grad_enabled(),
        batch_sizes,
        inputs if projected else cell.project(inputs),
        cell.weight_ih.contiguous() if projected else None,
        cell.bias_ih.contiguous() if projected else None,
        cell.weight_hh.contiguous() if cell.recurrent else None,
        cell.bias_hh.contiguous() if cell.recurrent else None,
        torch.cat(own) if own else None,
        None if state is None else torch.stack(state),
    )
    return outputs, tuple(final)


def _in_blocks(tensor: Tensor, hidden_size: int) -> Tensor:
    """A parameter as rows (P, H)."""
    return tensor.reshape(1, 1).expand(1, hidden_size) if tensor.numel() == 1 else tensor.reshape(-1, hidden_size)


class _Recurrence(torch.autograd.Function):
    """Input projection, the loop over time, and the gradients of both.

    There are few torch operations around the loop, because they take most of a small model's step. If `weight_ih`
    is None, the inputs are the input gates.
    """

    @staticmethod
    def forward(
        ctx: Any,
        kernel: Kernel,
        with_gradients: bool,
        batch_sizes: Tensor | None,
        inputs: Tensor,
        weight_ih: Tensor | None,
        bias_ih: Tensor | None,
        weight_hh: Tensor | None,
        bias_hh: Tensor | None,
        parameters: Tensor | None,
        initial: Tensor | None,
    ) -> tuple[Tensor, ...]:
        rows = (inputs if batch_sizes is not None else inputs.transpose(0, 1).flatten(0, 1)).contiguous()
        num_rows = len(rows)
        if weight_ih is not None:
            hidden_size = len(weight_ih) // kernel.num_gates
        else:
            hidden_size = rows.shape[1] // kernel.num_input_gates
        batch_size = len(inputs) if batch_sizes is None else int(batch_sizes[0])
        if batch_sizes is None:
            batch_sizes = _full_batches(batch_size, num_rows // batch_size)
        states = rows.new_empty(kernel.num_states, batch_size + num_rows, hidden_size)
        final = rows.new_empty(kernel.num_states, batch_size, hidden_size)
        saved = None
        weights = [weight_ih, bias_ih, weight_hh, bias_hh, parameters]
        if with_gradients and any(ctx.needs_input_grad):
            saved = rows.new_empty(num_rows, kernel.source.num_saved, hidden_size)
            # `inputs` and `initial` only tie a gradient to what it depends on; see `_FirstOrderOnly`.
            tied = [tensor if tensor is not None and tensor.requires_grad else None for tensor in (inputs, initial)]
            ctx.save_for_backward(rows, *weights, states, saved, *tied)
            ctx.kernel, ctx.batch_sizes, ctx.shape = kernel, batch_sizes, inputs.shape
            ctx.set_materialize_grads(False)
        input_tensors = [rows, *weights[:2], None] if weight_ih is not None else [None, None, None, rows]
        tensors = [*input_tensors, *weights[2:], initial, states, final, saved]
        call_library(library_of(kernel.source).forward, kernel.num_gates, batch_sizes, states, rows.shape[1], tensors)
        outputs = states[kernel.output_state, batch_size:]
        if inputs.ndim == 3:
            outputs = outputs.view(-1, batch_size, hidden_size).transpose(0, 1)
            # No views, so that the caller can change them in place. `backward` needs `states` unchanged.
            outputs = outputs.data if saved is None else outputs.clone()
        return outputs, *(part.clone() for part in final)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        if any(grad is not None and is_batched(grad) for grad in grads):
            raise RuntimeError('a kernel can\'t have batched gradients (vectorize=True): use `backend="eager"`')
        tensors = ctx.saved_tensors  # read once: an activation checkpoint allows no more
        if not torch.is_grad_enabled():
            return _differentiate(ctx, tensors, *grads)
        # The caller can ask for a second derivative.
        with torch.no_grad():
            gradients = _differentiate(ctx, tensors, *grads)
        sources = [source for source in (*tensors, *grads) if source is not None and source.requires_grad]
        return tuple(None if gradient is None else _FirstOrderOnly.apply(gradient, *sources) for gradient in gradients)


class _FirstOrderOnly(torch.autograd.Function):
    """A gradient that can't be differentiated again by any of the tensors that it depends on."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *sources: Tensor) -> Tensor:
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise RuntimeError('a kernel has no second derivative: use `backend="eager"`')


def _differentiate(
    ctx: Any, tensors: Sequence[Any], grad_outputs: Tensor | None, *grad_final: Tensor | None
) -> tuple[Tensor | None, ...]:
    """The gradients with respect to the arguments of `_Recurrence.forward`."""
    rows, weight_ih, bias_ih, weight_hh, bias_hh, parameters, states, saved, _, _ = tensors
    kernel, batch_sizes, source = ctx.kernel, ctx.batch_sizes, ctx.kernel.source
    num_rows, hidden_size = len(rows), states.shape[-1]
    batch_size = states.shape[1] - num_rows
    grad_state = rows.new_zeros(kernel.num_states, batch_size, hidden_size)
    for index, grad in enumerate(grad_final):
        if grad is not None:
            grad_state[index] = grad
    if grad_outputs is not None:
        if len(ctx.shape) == 3:
            grad_outputs = grad_outputs.transpose(0, 1)
        grad_outputs = grad_outputs.contiguous()

    size, input_size = kernel.num_gates * hidden_size, kernel.num_input_gates * hidden_size
    by_inputs: Tensor | None
    if weight_ih is None:
        by_inputs = by_input = torch.empty_like(rows)
        by_hidden = by_input if source.same_gate_gradients else _scratch(rows, num_rows, size)
    elif source.same_gate_gradients:
        by_input = by_hidden = _scratch(rows, num_rows, size)
    else:
        by_input, by_hidden = _scratch(rows, 2, num_rows, size)
    sums = rows.new_empty(source.num_sums * hidden_size)
    by_weight_ih = None if weight_ih is None else torch.empty_like(weight_ih)
    by_weight_hh = None if weight_hh is None else torch.empty_like(weight_hh)
    arguments = [None if weight_ih is None else rows, None, None, None, weight_hh, bias_hh, parameters, None, states]
    arguments += [None, saved, grad_outputs, grad_state, by_input, by_hidden, sums, by_weight_ih, by_weight_hh]
    call_library(library_of(source).backward, kernel.num_gates, batch_sizes, states, rows.shape[1], arguments)

    needs = ctx.needs_input_grad[3:]
    if weight_ih is not None:
        by_inputs = by_input @ weight_ih if needs[0] else None
    if by_inputs is not None and len(ctx.shape) == 3:
        by_inputs = by_inputs.view(-1, batch_size, ctx.shape[2]).transpose(0, 1)
    by_bias_hh, first_own = None, input_size
    if weight_hh is not None and source.same_gate_gradients:
        by_bias_hh = sums[:size].clone()  # two parameters' gradients must not share memory
    elif weight_hh is not None:
        first_own = input_size + size
        by_bias_hh = sums[input_size:first_own]
    return (
        None,
        None,
        None,
        by_inputs,
        by_weight_ih,
        None if bias_ih is None else sums[:size],
        by_weight_hh,
        by_bias_hh,
        sums[first_own:].view(-1, hidden_size) if needs[5] else None,
        grad_state if needs[6] else None,
    )


_thread = threading.local()


def _scratch(like: Tensor, *shape: int) -> Tensor:
    """Memory for use within one call; it is kept, because new memory costs a large model a tenth of a step.

    Each thread has one block of memory, so the next call of this function in the thread overwrites it.
    """
    size = math.prod(shape) * like.element_size()
    kept: Tensor | None = getattr(_thread, "kept", None)
    if kept is None or len(kept) < size:
        kept = _thread.kept = torch.empty(size, dtype=torch.uint8, device="cpu")
    return kept[:size].view(like.dtype).view(shape)


@functools.lru_cache(maxsize=16)
def _full_batches(batch_size: int, num_steps: int) -> Tensor:
    return torch.full((num_steps,), batch_size, device="cpu")
