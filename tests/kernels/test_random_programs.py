"""Kernels of random `update` programs against the loop: values, first gradients, and the refusal of second ones.

A failure names the seed; `draw_cell(seed).program` is the program.
"""

import random
import re
import warnings

import pytest
import torch

from seqlight import RecurrentLayer
from seqlight.kernels.autograd import Kernel
from seqlight.recurrent.kernel_backend import KernelWarning
from tests.kernels.cells import results
from tests.kernels.random_programs import MIXING, draw_cell

SEEDS = [*range(6), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(6, 400))]


def draw_case(seed, **options):
    """A layer with the kernel of a random program, inputs, lengths and state, all in float64."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    batch, time, features = draw.randint(1, 5), draw.randint(1, 6), draw.randint(1, 4)
    hidden = draw.randint(3, 9)  # with one unit, nothing is mixed
    made = draw_cell(seed, **options)(features, hidden)
    layer = RecurrentLayer(made, reverse=draw.random() < 0.3, backend="auto").double()
    inputs = torch.randn(batch, time, features, dtype=torch.float64)
    lengths = torch.randint(1, time + 1, (batch,)) if draw.random() < 0.5 else None
    state = None
    if draw.random() < 0.5:
        state = tuple(torch.randn(batch, hidden, dtype=torch.float64) for _ in made.state_names)
    return layer, inputs, lengths, state


def assert_equal(layer, inputs, lengths, state):
    """Compare the layer with the loop: each result to 1e-9 of its largest value."""
    eager = RecurrentLayer(layer.cell, reverse=layer.reverse, backend="eager")
    eager._checked = True
    expected = results(layer, inputs, lengths, state, run=eager)
    for name, found in results(layer, inputs, lengths, state).items():
        scale = max(1.0, float(expected[name].abs().amax()))
        torch.testing.assert_close(found, expected[name], rtol=0, atol=1e-9 * scale, equal_nan=True, msg=name)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_program_equals_the_loop(seed):
    bare = seed % 3 == 2
    layer, inputs, lengths, state = draw_case(seed, bare=bare)
    with warnings.catch_warnings():
        if bare:
            warnings.simplefilter("ignore", KernelWarning)
        assert_equal(layer, inputs, lengths, state)
    kernel = layer._kernels.find(layer.cell, inputs)
    if bare and isinstance(kernel, str):
        assert re.search(r"not a sum over sequences|torch\.sum", kernel)
        return
    assert isinstance(kernel, Kernel)

    inputs.requires_grad_()
    leaves = [inputs, *layer.parameters()]
    outputs, _ = layer(inputs, lengths, state)
    gradients = torch.autograd.grad(outputs.square().sum(), leaves, create_graph=True, allow_unused=True)
    total = sum(gradient.square().sum() for gradient in gradients if gradient is not None)
    for leaf in leaves:
        with pytest.raises(RuntimeError, match="no second derivative"):
            torch.autograd.grad(total, leaf, retain_graph=True, allow_unused=True)


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        pytest.param(name, seed, marks=[pytest.mark.long] if seed >= 1000 else [])
        for first in (0, *range(1000, 1020))
        for seed, name in enumerate(MIXING, first)
    ],
)
def test_random_program_that_mixes_is_refused(name, seed):
    layer, inputs, lengths, state = draw_case(seed, mixing=name)
    layer._checked = True  # the check of the contract refuses some of them
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert_equal(layer, inputs, lengths, state)
    assert [warning.category for warning in seen] == [KernelWarning]
