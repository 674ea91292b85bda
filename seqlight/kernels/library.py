"""The functions of a built kernel, and calls of them."""

import ctypes
import functools
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqlight.kernels.build import load
from seqlight.kernels.cpp_printer import Source

# With fewer multiplications than this in the loop, two threads took 0.9 to 1.4 times as long as one, because torch's
# own threads keep the cores busy while they wait.
_WORTH_A_THREAD = 400_000_000

_ARGUMENTS = struct.Struct("7q19P")  # `Arguments` in recurrence.h
_NO_MEMORY = 1  # `no_memory` in recurrence.h


@dataclass(frozen=True)
class Library:
    """The loop for one cell: functions of packed `Arguments` of recurrence.h, which return a `Status`."""

    forward: Callable[[bytes], int]
    backward: Callable[[bytes], int]


@functools.cache
def library_of(source: Source) -> Library:
    """The loop for a cell, built or loaded from the cache. Raises BuildError and InterruptedBuildError."""
    loop, cell = load((source.loop, ("seqlight_forward", "seqlight_backward")), (source.text, ("seqlight_cell",)))
    for function in (loop.seqlight_forward, loop.seqlight_backward):
        function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_char_p], ctypes.c_int
    cell.seqlight_cell.restype = ctypes.c_void_p
    interface = cell.seqlight_cell()
    return Library(
        functools.partial(loop.seqlight_forward, interface), functools.partial(loop.seqlight_backward, interface)
    )


def call_library(
    function: Callable[[bytes], int],
    num_gates: int,
    batch_sizes: Tensor,
    states: Tensor,
    num_features: int,
    tensors: Sequence[Tensor | None],
) -> None:
    """Call a function of a `Library` for one model. `tensors` are in the order of `Arguments` in recurrence.h.

    Missing tensors at the end are passed as null.

    Raises:
        MemoryError: if there is not enough memory.
        RuntimeError: if the function fails otherwise.
    """
    num_steps, batch_size, hidden_size = len(batch_sizes), int(batch_sizes[0]), states.shape[-1]
    num_rows = states.shape[1] - batch_size
    large = num_rows * num_gates * hidden_size * hidden_size > _WORTH_A_THREAD
    threads = torch.get_num_threads() if large else 1
    pointers = [0 if tensor is None else tensor.data_ptr() for tensor in tensors]
    pointers += [0] * (18 - len(pointers))
    sizes = (1, num_steps, batch_size, num_features, hidden_size, num_rows, threads)
    status = function(_ARGUMENTS.pack(*sizes, batch_sizes.data_ptr(), *pointers))
    if status == _NO_MEMORY:
        raise MemoryError(f"a kernel with {hidden_size} units needs more memory than it can get; use smaller batches")
    if status != 0:
        raise RuntimeError(f"a kernel failed with status {status}")
