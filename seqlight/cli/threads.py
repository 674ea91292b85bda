"""The number of CPU threads for a model."""

import contextlib
import os
from collections.abc import Iterator

import torch

from seqlight.cells.cell import GatedCell
from seqlight.recurrent.layer import RecurrentLayer
from seqlight.training.classifier import SequenceClassifier

# Measured by benchmarks/threads.py. With twice this many operations in the matrix product of a time step, two threads
# take 0.55 to 0.7 times as long as one. With a quarter to a half of that, waking the second thread costs a GRU as much
# as it saves, and much more on a busy machine.
_OPERATIONS_PER_THREAD = 8_000_000


def choose_num_threads(model: SequenceClassifier, batch_size: int) -> int:
    """The number of threads that torch should use on the CPU, from 1 to torch's current number.

    It depends on the work of one time step, since threads synchronise at each step: 2 B (F + H) G H operations in
    the largest layer.
    """
    operations = 0
    for layer in model.recurrent.layers:
        assert isinstance(layer, RecurrentLayer)
        cell = layer.cell
        num_gates = cell.num_gates if isinstance(cell, GatedCell) else 1
        operations = max(
            operations, 2 * batch_size * (cell.input_size + cell.hidden_size) * num_gates * cell.hidden_size
        )
    return max(1, min(torch.get_num_threads(), operations // _OPERATIONS_PER_THREAD))


@contextlib.contextmanager
def limit_threads(num_threads: int) -> Iterator[None]:
    """Set torch's number of threads, also for processes that Lightning starts: it would choose a number for them."""
    previous, variable = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    torch.set_num_threads(num_threads)
    os.environ["OMP_NUM_THREADS"] = str(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(previous)
        if variable is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = variable
