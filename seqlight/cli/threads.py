"""How many threads a model can use."""

import contextlib
import os
from collections.abc import Iterator

import torch

from seqlight.cells.cell import GatedCell
from seqlight.recurrent.layer import RecurrentLayer
from seqlight.training.classifier import SequenceClassifier

# Measured by benchmarks/threads.py: from twice this many operations in the product of one time step, two
# threads take 0.55 to 0.7 of the time of one. At a half to a quarter of that, waking the second costs a GRU what
# it brings, and on a busy machine much more.
_OPERATIONS_PER_THREAD = 8_000_000


def choose_num_threads(model: SequenceClassifier, batch_size: int) -> int:
    """A number of threads for torch on the CPU, from 1 to the number that torch is set to.

    It goes by the work of one time step, since the threads meet at each: 2 B (F + H) G H operations in the
    largest layer.
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
    """So many threads for torch, also where Lightning starts processes and would choose the number by itself."""
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
