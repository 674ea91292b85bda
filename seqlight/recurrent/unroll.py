"""The loop over time, which defines the result of a cell on a sequence."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from seqlight.cells.cell import GatedCell, RecurrentCell
from seqlight.cells.state import State
from seqlight.common.steps import step_mask
from seqlight.recurrent.lengths import CheckedLengths, check_lengths


def unroll(
    cell: RecurrentCell,
    inputs: Float[Tensor, "batch time features"],
    state: State | None = None,
    lengths: Int64[Tensor, " batch"] | CheckedLengths | None = None,
) -> tuple[Float[Tensor, "batch time hidden"], State]:
    """Apply `cell` step by step: the definition that every faster backend is tested against.

    Steps past a sequence's length change nothing: the state stays, and the output there is 0.

    Args:
        cell: the cell that takes each step.
        inputs: (B, T, F).
        state: the state before the first step, tensors (B, H); the cell's initial state if None.
        lengths: true time steps of each sequence, (B,), in 1..T; T if None.

    Returns:
        The outputs of all steps (B, T, H) and the state after each sequence's last true step.

    Raises:
        TypeError: if `lengths` is not int64.
        ValueError: if a length is not in 1..T, or there is no sequence or time step.
    """
    return _loop(cell, cell, lambda inputs: inputs, inputs, state, lengths)


def unroll_projected(
    cell: GatedCell,
    inputs: Float[Tensor, "batch time features"],
    state: State | None = None,
    lengths: Int64[Tensor, " batch"] | CheckedLengths | None = None,
) -> tuple[Float[Tensor, "batch time hidden"], State]:
    """`unroll`, with the input gates of all steps from one matrix product."""
    return _loop(cell, cell.step, cell.project, inputs, state, lengths)


def _loop(
    cell: RecurrentCell,
    step: Callable[[Tensor, State], tuple[Tensor, State]],
    project: Callable[[Tensor], Tensor],
    inputs: Tensor,
    state: State | None,
    lengths: Tensor | CheckedLengths | None,
) -> tuple[Tensor, State]:
    checked = check_lengths(lengths, inputs)
    batch_size, num_steps, _ = inputs.shape
    if state is None:
        state = cell.initial_state(batch_size, device=inputs.device, dtype=inputs.dtype)
    outputs = []
    if checked is None:
        for now in project(inputs).unbind(1):
            output, state = step(now, state)
            outputs.append(output)
        return torch.stack(outputs, 1), state

    mask = step_mask(checked.values, num_steps, inputs.device)[:, :, None]
    # Padding can hold any value. `torch.where` alone would let a NaN there reach the gradients.
    sequence = project(inputs.masked_fill(~mask, 0))
    for now, active in zip(sequence.unbind(1), mask.unbind(1), strict=True):
        output, next_state = step(now, state)
        state = tuple(torch.where(active, new, old) for new, old in zip(next_state, state, strict=True))
        outputs.append(torch.where(active, output, 0))
    return torch.stack(outputs, 1), state
