"""Sizes, cells, backends and stacks that the tests of layers and stacks share."""

from functools import cache, partial

import pytest
import torch

from seqlight import ElmanCell, GRUCell, LSTMCell, RecurrentStack
from tests.user_cells import MinimalGatedUnit

B, T, F, H = 4, 6, 3, 5
RAGGED = torch.tensor([4, 6, 1, 3])

CELLS = {
    "tanh": partial(ElmanCell, hidden_size=H),
    "relu": partial(ElmanCell, hidden_size=H, nonlinearity="relu"),
    "lstm": partial(LSTMCell, hidden_size=H),
    "gru": partial(GRUCell, hidden_size=H),
}

assert_close = partial(torch.testing.assert_close, rtol=1e-12, atol=1e-12)

BACKENDS = ("eager", "torch", "kernel")
CELLS_AND_BACKENDS = {f"{name}-{backend}": (cell, backend) for name, cell in CELLS.items() for backend in BACKENDS}
CELLS_AND_BACKENDS["minimal-eager"] = (partial(MinimalGatedUnit, hidden_size=H), "eager")
CELLS_AND_BACKENDS["minimal-kernel"] = (partial(MinimalGatedUnit, hidden_size=H), "kernel")
every_cell_and_backend = pytest.mark.parametrize(
    ("cell", "backend"), CELLS_AND_BACKENDS.values(), ids=CELLS_AND_BACKENDS.keys()
)
one_or_both_directions = pytest.mark.parametrize("bidirectional", [False, True], ids=["uni", "bi"])


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64)


@cache
def shared_stack(cell, *, num_layers=2, bidirectional, backend):
    """A float64 stack. Tests share it and must not change it, because each layer traces its cell for a kernel."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return RecurrentStack(cell, F, num_layers=num_layers, bidirectional=bidirectional, backend=backend).double()
