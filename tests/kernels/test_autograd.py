"""A kernel as an autograd operation."""

import copy
import pickle

import pytest
import torch
from torch import nn

from seqlight import ElmanCell, GRUCell, LSTMCell, RecurrentLayer
from tests.kernels.cells import Diagonal, Peephole, assert_same, every_cell, results


@every_cell
def test_gradients_pass_gradcheck(cell):
    layer = RecurrentLayer(cell(2, hidden_size=3), backend="kernel").double()
    parameters = dict(layer.named_parameters())
    inputs = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([4, 2, 3])

    def run(inputs, *weights):
        for (name, _), weight in zip(parameters.items(), weights, strict=True):
            owner, _, last = name.rpartition(".")
            vars(layer.get_submodule(owner))["_parameters"][last] = weight
        outputs, final = layer(inputs, lengths)
        return outputs, *final

    assert torch.autograd.gradcheck(run, (inputs, *parameters.values()))


def test_copies_and_pickles_train_independently():
    layer = RecurrentLayer(Peephole(2), backend="kernel")
    inputs = torch.randn(3, 4, 2)
    expected, _ = layer(inputs)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(other(inputs)[0], expected, rtol=0, atol=0)
        nn.init.zeros_(other.cell.peephole)
        assert not torch.equal(other(inputs)[0], expected)
    torch.testing.assert_close(layer(inputs)[0], expected, rtol=0, atol=0)


def test_without_gradients_nothing_is_saved():
    layer = RecurrentLayer(LSTMCell(2, 4), backend="kernel")
    inputs = torch.randn(3, 4, 2)
    expected, _ = layer(inputs)
    with torch.no_grad():
        outputs, _ = layer(inputs)
    assert outputs.grad_fn is None
    assert torch.equal(outputs, expected)
    with torch.inference_mode():
        assert torch.equal(layer(inputs)[0], expected)


def test_kernel_made_in_inference_mode_can_train():
    layer, inputs = RecurrentLayer(GRUCell(2, 4), backend="kernel"), torch.randn(3, 4, 2)
    with torch.inference_mode():
        layer(inputs)
    eager = RecurrentLayer(layer.cell, backend="eager")
    assert_same(results(layer, inputs), results(eager, inputs), 1e-5)


def test_backward_can_run_twice_and_with_create_graph():
    layer = RecurrentLayer(GRUCell(2, 4), backend="kernel").double()
    inputs = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    outputs, _ = layer(inputs)
    [first] = torch.autograd.grad(outputs.sum(), inputs, retain_graph=True)
    for create_graph in (False, True):
        [again] = torch.autograd.grad(outputs.sum(), inputs, retain_graph=True, create_graph=create_graph)
        assert torch.equal(first, again)
        assert again.requires_grad == create_graph


@pytest.mark.parametrize("cell", [LSTMCell, ElmanCell, GRUCell, Diagonal])
def test_gradients_do_not_share_memory(cell):
    """Gradients that are accumulated over two steps and clipped equal the loop's."""
    layer = RecurrentLayer(cell(2, 5), backend="kernel")
    eager = copy.deepcopy(layer)
    eager.backend = "eager"
    inputs = torch.randn(3, 4, 2)
    for one in (layer, eager):
        for _ in range(2):
            one(inputs)[0].sum().backward()
        nn.utils.clip_grad_norm_(one.parameters(), 0.5)
    for (name, parameter), other in zip(layer.named_parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, msg=name)


def test_frozen_parameters_get_no_gradient():
    layer = RecurrentLayer(LSTMCell(2, 4), backend="kernel")
    layer.cell.weight_ih.requires_grad_(False)
    layer.cell.bias_hh.requires_grad_(False)
    layer(torch.randn(3, 4, 2))[0].sum().backward()
    assert layer.cell.weight_ih.grad is None
    assert layer.cell.bias_hh.grad is None
    assert layer.cell.weight_hh.grad.abs().sum() > 0
