"""Lengths of sequences: checks, masks, reversal and packing."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from seqlight.cells.state import State


class CheckedLengths(NamedTuple):
    """Lengths that `check_lengths` has accepted. Modules pass them on without checking them again.

    Attributes:
        values: (B,), int64, on the CPU; at least one is less than T.
        num_steps: T, the number of time steps that they were checked for.
    """

    values: Tensor
    num_steps: int


def check_lengths(
    lengths: Int64[Tensor, " batch"] | CheckedLengths | None, inputs: Shaped[Tensor, "batch time ..."]
) -> CheckedLengths | None:
    """Check the lengths of the sequences in `inputs` (B, T, ...), unless they have been checked already.

    Returns:
        The checked lengths, or None if every sequence has T steps.

    Raises:
        TypeError: if `lengths` is not int64.
        ValueError: if a length is not in 1..T, or there is no sequence or time step.
    """
    num_steps = inputs.shape[1]
    if num_steps == 0:
        raise ValueError("inputs must have at least 1 time step, got 0")
    if len(inputs) == 0:
        raise ValueError("inputs must hold at least 1 sequence, got 0")
    if lengths is None:
        return None
    if isinstance(lengths, CheckedLengths):
        if (len(lengths.values), lengths.num_steps) == inputs.shape[:2]:
            return lengths
        lengths = lengths.values  # checked for other inputs
    if lengths.dtype != torch.int64:
        raise TypeError(f"lengths must be int64, got {lengths.dtype}")
    if lengths.shape != inputs.shape[:1]:
        raise ValueError(
            f"lengths must be of shape ({len(inputs)},), one for each sequence, got {tuple(lengths.shape)}"
        )
    lengths = lengths.cpu()  # Batch keeps them on the CPU, so this rarely synchronises a device
    shortest, longest = (int(bound) for bound in torch.aminmax(lengths))
    if shortest < 1 or longest > num_steps:
        bad = int(torch.nonzero((lengths < 1) | (lengths > num_steps))[0])
        raise ValueError(
            f"lengths must be between 1 and the {num_steps} time steps of inputs, "
            f"got {int(lengths[bad])} for sequence {bad}"
        )
    return None if shortest == num_steps else CheckedLengths(lengths, num_steps)


def reverse_within_lengths(
    sequence: Float[Tensor, "batch time features"], lengths: CheckedLengths | None
) -> Float[Tensor, "batch time features"]:
    """Reverse each sequence (B, T, F) from its true last step. Padding stays in place; a second call undoes it."""
    if lengths is None:
        return sequence.flip(1)
    steps = torch.arange(sequence.shape[1], device=sequence.device)
    ends = lengths.values.to(sequence.device, non_blocking=True)[:, None]
    index = torch.where(steps < ends, ends - 1 - steps, steps)
    return sequence.gather(1, index[:, :, None].expand_as(sequence))


def run_packed(
    run: Callable[[Tensor, Tensor, State | None], tuple[Tensor, State]],
    inputs: Float[Tensor, "batch time features"],
    lengths: CheckedLengths,
    state: State | None,
) -> tuple[Float[Tensor, "batch time hidden"], State]:
    """Run a function of packed sequences on padded ones.

    Args:
        run: takes rows (N, F), batch sizes (T,) and a state, longest sequences first; returns rows (N, H) and a state.
        inputs: (B, T, F).
        lengths: (B,).
        state: the state before the first step, tensors (B, H), or None.

    Returns:
        Outputs (B, T, H), 0 past the lengths, and the final state.
    """
    sorted_lengths, order = lengths.values.sort(descending=True)
    # The functions below can sort, too, but their copies of the indices wait for the device.
    order, places = (each.to(inputs.device, non_blocking=True) for each in (order, order.argsort()))
    packed = pack_padded_sequence(inputs.index_select(0, order), sorted_lengths, batch_first=True)
    if state is not None:
        state = tuple(part.index_select(0, order) for part in state)
    data, final = run(packed.data, packed.batch_sizes, state)
    outputs, _ = pad_packed_sequence(
        PackedSequence(data, packed.batch_sizes), batch_first=True, total_length=inputs.shape[1]
    )
    return outputs.index_select(0, places), tuple(part.index_select(0, places) for part in final)
