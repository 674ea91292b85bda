"""Kernels against the loop over time: values, gradients, rounding errors, threads."""

import copy
import ctypes
import math
import threading
from functools import partial

import pytest
import torch

from seqlight import ElmanCell, GRUCell, LSTMCell, RecurrentLayer, RecurrentStack, unroll
from seqlight.kernels import autograd, library
from tests.kernels.cells import (
    CELLS,
    Diagonal,
    OwnProjection,
    Peephole,
    assert_same,
    every_cell,
    loop,
    results,
    shared_layer,
)


@pytest.fixture
def set_threads(monkeypatch):
    """Set the number of threads; kernels use all of them, even for small sizes."""
    monkeypatch.setattr(library, "_WORTH_A_THREAD", 0)
    previous = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(previous)


@every_cell
@pytest.mark.parametrize(("batch", "time", "features", "hidden"), [(1, 1, 1, 1), (3, 4, 2, 5), (19, 7, 33, 35)])
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("with_state", [False, True], ids=["zeros", "state"])
def test_kernel_equals_the_loop(cell, batch, time, features, hidden, ragged, with_state):
    layer = shared_layer(cell, features, hidden)
    inputs = torch.randn(batch, time, features, dtype=torch.float64)
    lengths = torch.randint(1, time + 1, (batch,)) if ragged else None
    state = None
    if with_state:
        state = tuple(torch.randn(batch, hidden, dtype=torch.float64) for _ in layer.cell.state_names)
    expected = results(layer, inputs, lengths, state, loop(layer))
    assert_same(results(layer, inputs, lengths, state), expected)


def assert_errors_as_small(cell, inputs, run):
    """In float32, each error of the kernel is at most 4 times that of `run`; the loop in float64 is exact."""
    kernel, exact = RecurrentLayer(cell, backend="kernel"), RecurrentLayer(copy.deepcopy(cell).double())
    expected = results(exact, inputs.double(), run=loop(exact))
    reference = results(kernel, inputs, run=run)
    for name, found in results(kernel, inputs).items():
        error, reference_error = ((part.double() - expected[name]).abs().max() for part in (found, reference[name]))
        assert error <= 4 * reference_error + 1e-12, name


@pytest.mark.parametrize("cell", [LSTMCell, GRUCell, Peephole, Diagonal])
def test_float32_errors_are_as_small_as_the_loops(cell):
    made = cell(8, hidden_size=48)
    assert_errors_as_small(made, torch.randn(16, 30, 8), loop(RecurrentLayer(made)))


@pytest.mark.parametrize("cell", [ElmanCell, Diagonal])
def test_errors_of_long_sums_are_as_small_as_the_loops(cell):
    made = cell(2, 4)
    assert_errors_as_small(made, torch.randn(8, 2000, 2), RecurrentLayer(made, backend="eager"))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize("cell", [LSTMCell, GRUCell, ElmanCell])
def test_non_finite_and_huge_inputs_give_the_loops_results(cell, value):
    made = cell(2, hidden_size=4)
    inputs = torch.randn(3, 5, 2)
    inputs[1, 2, 0] = value
    with torch.no_grad():
        found, _ = RecurrentLayer(made, backend="kernel")(inputs)
        expected, _ = unroll(made, inputs)
    torch.testing.assert_close(found, expected, equal_nan=True)


# The projection of OwnProjection is torch's, whose results can depend on its number of threads.
@pytest.mark.parametrize("cell", [cell for cell in CELLS.values() if cell is not OwnProjection])
@pytest.mark.parametrize("ragged", [False, True])
def test_results_do_not_depend_on_the_number_of_threads(cell, ragged, set_threads):
    layer = RecurrentLayer(cell(3, hidden_size=20), backend="kernel")
    inputs = torch.randn(37, 6, 3)
    lengths = torch.randint(1, 7, (37,)) if ragged else None
    set_threads(1)
    expected = results(layer, inputs, lengths)
    for number in (2, 3, 8, 64):
        set_threads(number)
        assert_same(results(layer, inputs, lengths), expected, tolerance=0)


def test_python_threads_can_use_kernels_at_once():
    layers = [RecurrentLayer(LSTMCell(2, 24), backend="kernel") for _ in range(4)]
    inputs = torch.randn(16, 40, 2)
    expected = [results(layer, inputs) for layer in layers]
    found = {}

    def work(index):
        found[index] = [results(layers[index], inputs) for _ in range(10)]

    workers = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for index in range(4):
        for result in found[index]:
            assert_same(result, expected[index], tolerance=0)


def test_one_call_can_run_two_models():
    cells = [LSTMCell(2, 5), LSTMCell(2, 5)]
    inputs = torch.randn(2, 3, 4, 2)
    kernel = autograd.make_kernel(cells[0], torch.float32)
    rows = inputs.transpose(1, 2).reshape(2, 12, 2).contiguous()
    sizes = torch.full((4,), 3)
    weights = [
        torch.stack([getattr(cell, name).detach() for cell in cells])
        for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")
    ]
    states, final = torch.empty(2, 2, 15, 5), torch.empty(2, 2, 3, 5)
    tensors = [sizes, rows, weights[0], weights[1], None, weights[2], weights[3], None, None, states, final]
    pointers = [0 if tensor is None else tensor.data_ptr() for tensor in tensors]
    arguments = library._ARGUMENTS.pack(2, 4, 3, 2, 5, 12, 1, *pointers, *[0] * (19 - len(pointers)))
    library.library_of(kernel.source).forward(arguments)
    for index, cell in enumerate(cells):
        outputs, last = unroll(cell, inputs[index])
        torch.testing.assert_close(states[index, 0, 3:].view(4, 3, 5).transpose(0, 1), outputs)
        torch.testing.assert_close(tuple(final[index]), last)


def test_bidirectional_stack_equals_the_loop():
    kernel = RecurrentStack(partial(LSTMCell, hidden_size=6), 3, num_layers=3, bidirectional=True, backend="kernel")
    eager = RecurrentStack(partial(LSTMCell, hidden_size=6), 3, num_layers=3, bidirectional=True, backend="eager")
    eager.load_state_dict(kernel.state_dict())
    inputs, lengths = torch.randn(5, 9, 3), torch.tensor([9, 1, 4, 8, 2])
    torch.testing.assert_close(kernel.double()(inputs.double(), lengths), eager.double()(inputs.double(), lengths))


def test_floating_point_mode_is_unchanged():
    layer, inputs = RecurrentLayer(LSTMCell(2, 4), backend="kernel"), torch.randn(3, 4, 2)
    layer(inputs)[0].sum().backward()
    # In the mode that -ffast-math sets, these are flushed to zero.
    assert torch.tensor([1e-40]).mul(0.5).item() > 0
    assert ctypes.c_float(1e-40).value * 1.0 > 0
    assert torch.tensor([2e-38]).mul(0.01).item() > 0
