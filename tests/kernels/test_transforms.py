"""Kernels under transforms: second derivatives, torch.func, activation checkpoints, modes, changes in place."""

import contextlib
import copy
from functools import partial

import pytest
import torch
from torch.autograd import forward_ad
from torch.autograd.functional import hessian, hvp, jacobian
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from seqlight import GRUCell, LSTMCell, RecurrentLayer
from seqlight.kernels.autograd import Kernel
from tests.checks.sound_cells import Tied, TiedBelow, TiedWeights
from tests.common.test_private_torch import Seen
from tests.kernels.cells import LearntStart, OwnProjection, Peephole, assert_same, results

RAGGED = torch.tensor([4, 2, 3])


def two_layers(cell=GRUCell, backend="auto"):
    """The same layer with the loop and with another backend, in float64, and inputs (B, T, F)."""
    eager = RecurrentLayer(cell(2, hidden_size=4), backend="eager").double()
    layer = copy.deepcopy(eager)
    layer.backend = backend
    return eager, layer, torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)


def total(outputs, final):
    return outputs.square().sum() + sum(part.sin().sum() for part in final)


# Each function computes a second derivative of a layer by one of its leaves.


def penalty(layer, inputs, state, lengths, leaf):
    """The penalty that WGAN-GP adds to a loss."""
    outputs, final = layer(inputs, lengths, state)
    [gradient] = torch.autograd.grad(total(outputs, final), inputs, create_graph=True)
    return torch.autograd.grad(outputs.sum() + gradient.square().sum(), leaf)[0]


def penalty_backward(layer, inputs, state, lengths, leaf):
    outputs, final = layer(inputs, lengths, state)
    [gradient] = torch.autograd.grad(total(outputs, final), inputs, create_graph=True)
    (outputs.sum() + gradient.square().sum()).backward()
    return leaf.grad


def hessian_vector(layer, inputs, state, lengths, leaf):
    [gradient] = torch.autograd.grad(total(*layer(inputs, lengths, state)), leaf, create_graph=True)
    return torch.autograd.grad(gradient.sum(), leaf)[0]


def from_final_state(layer, inputs, state, lengths, leaf):
    _, final = layer(inputs, lengths, state)
    [gradient] = torch.autograd.grad(final[-1].square().sum(), leaf, create_graph=True)
    return torch.autograd.grad(gradient.square().sum(), leaf)[0]


def maml(layer, inputs, state, lengths, leaf):
    parameters = dict(layer.named_parameters())
    loss = total(*layer(inputs, lengths, state))
    gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
    adapted = {name: old - 0.1 * step for (name, old), step in zip(parameters.items(), gradients, strict=True)}
    loss = total(*functional_call(layer, adapted, (inputs, lengths, state)))
    return torch.autograd.grad(loss, leaf)[0]


SECOND = {
    function.__name__: function for function in (penalty, penalty_backward, hessian_vector, from_final_state, maml)
}


@pytest.mark.parametrize("second", SECOND.values(), ids=SECOND.keys())
@pytest.mark.parametrize("cell", [GRUCell, Peephole, OwnProjection, LearntStart])
@pytest.mark.parametrize("lengths", [None, RAGGED], ids=["full", "ragged"])
def test_second_derivatives_raise_by_every_leaf(second, cell, lengths):
    eager, layer, inputs = two_layers(cell, "kernel")
    state = (
        None
        if cell is LearntStart
        else tuple(torch.randn(3, 4).double().requires_grad_() for _ in layer.cell.state_names)
    )
    leaves, references = ({"inputs": inputs, **dict(one.named_parameters())} for one in (layer, eager))
    if state is not None:
        leaves["state"] = references["state"] = state[0]
    for name, leaf in leaves.items():
        assert second(eager, inputs, state, lengths, references[name]).isfinite().all()
        with pytest.raises(RuntimeError, match='no second derivative: use `backend="eager"`'):
            second(layer, inputs, state, lengths, leaf)


def test_derivative_by_the_incoming_gradient_raises():
    """The derivative of a vector-Jacobian product by its vector: a Jacobian-vector product by two backward passes."""
    eager, layer, inputs = two_layers(backend="kernel")
    for one in (eager, layer):
        outputs, _ = one(inputs)
        vector = torch.ones_like(outputs, requires_grad=True)
        [gradient] = torch.autograd.grad(outputs, inputs, vector, create_graph=True)
        with contextlib.nullcontext() if one is eager else pytest.raises(RuntimeError, match="no second derivative"):
            torch.autograd.grad(gradient.sum(), vector)


@pytest.mark.parametrize("function", [hessian, partial(hvp, v=torch.ones(3, 4, 2, dtype=torch.float64))])
def test_torchs_second_derivatives_raise(function):
    _, layer, inputs = two_layers(backend="kernel")
    with pytest.raises(RuntimeError, match='no second derivative: use `backend="eager"`'):
        function(lambda value: total(*layer(value)), inputs)


def test_batched_gradients_raise():
    _, layer, inputs = two_layers(backend="kernel")
    with pytest.raises(RuntimeError, match=r'batched gradients.*use `backend="eager"`'):
        jacobian(lambda value: layer(value)[0][:, -1].sum(0), inputs, vectorize=True)


def func_hessian(layer, inputs):
    return torch.func.hessian(lambda value: total(*layer(value)))(inputs)


def func_jacobian(layer, inputs):
    return torch.func.jacrev(lambda value: layer(value)[0])(inputs), torch.func.jacfwd(lambda v: layer(v)[0])(inputs)


def per_sample(layer, inputs):
    parameters = {name: value.detach() for name, value in layer.named_parameters()}

    def loss(parameters, sample):
        return total(*functional_call(layer, parameters, (sample[None],)))

    return torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, inputs)


def forward_mode(layer, inputs):
    with forward_ad.dual_level():
        outputs, final = layer(forward_ad.make_dual(inputs, torch.ones_like(inputs)))
        return [forward_ad.unpack_dual(part).tangent for part in (outputs, *final)]


@pytest.mark.parametrize("transform", [func_hessian, func_jacobian, per_sample, forward_mode])
@pytest.mark.parametrize("cell", [GRUCell, LSTMCell, Peephole])
@pytest.mark.parametrize("kernel_is_there", [False, True], ids=["first", "second"])
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch calls it for forward mode
def test_functional_transforms_equal_the_loops(transform, cell, kernel_is_there):
    eager, layer, inputs = two_layers(cell)
    inputs = inputs.detach()
    if kernel_is_there:
        layer(inputs)
    torch.testing.assert_close(transform(layer, inputs), transform(eager, inputs))


def selective():
    """Keep the results of these operations, and compute the others again."""
    policy = [torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.tanh.default]
    return create_selective_checkpoint_contexts(policy)


@pytest.mark.parametrize("backend", ["eager", "kernel"])
@pytest.mark.parametrize(
    "options",
    [{"use_reentrant": False}, {"use_reentrant": False, "context_fn": selective}],
    ids=["plain", "selective"],
)
def test_activation_checkpoint_can_contain_the_first_use(options, backend):
    eager, layer, inputs = two_layers(backend=backend)
    expected = results(eager, inputs)
    assert_same(results(layer, inputs, run=lambda *arguments: checkpoint(layer, *arguments, **options)), expected)


@contextlib.contextmanager
def anomaly():
    with pytest.warns(UserWarning, match="Anomaly Detection"), torch.autograd.detect_anomaly():
        yield


FIRST_USE = {
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "anomaly": anomaly,
    "device": partial(torch.device, "meta"),
    "hooks": torch.autograd.graph.save_on_cpu,
    "dispatch mode": Seen,
}


@pytest.mark.parametrize("mode", FIRST_USE.values(), ids=FIRST_USE.keys())
def test_first_use_can_be_in_any_mode(mode, capfd):
    eager, layer, inputs = two_layers(Peephole)
    with mode():
        layer(inputs)
    assert isinstance(layer._kernels.find(layer.cell, inputs), Kernel)
    assert "Error" not in capfd.readouterr().err
    assert_same(results(layer, inputs), results(eager, inputs))


def test_dispatch_modes_see_the_same_operations_at_first_use():
    _, layer, inputs = two_layers(Peephole)
    with Seen() as first:
        layer(inputs)
    with Seen() as second:
        layer(inputs)
    assert first.operations.keys() == second.operations.keys()


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_anomaly_detection_finds_a_kernels_nan():
    _, layer, inputs = two_layers(backend="kernel")
    with torch.autograd.detect_anomaly():
        outputs, _ = layer(inputs)
        with pytest.raises(RuntimeError, match=r"_RecurrenceBackward.*returned nan values"):
            torch.autograd.backward(outputs, torch.full_like(outputs, torch.nan))


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("cell", [GRUCell, LSTMCell])
@pytest.mark.parametrize("lengths", [None, RAGGED], ids=["full", "ragged"])
@pytest.mark.parametrize("reverse", [False, True])
def test_results_can_be_changed_in_place(backend, cell, lengths, reverse):
    eager, layer, inputs = two_layers(cell, backend)

    def change(layer, inputs, lengths, state):
        layer.reverse = reverse
        outputs, final = layer(inputs, lengths, state)
        return torch.relu_(outputs.mul_(2)), tuple(part.add_(1).sigmoid_() for part in final)

    expected = results(eager, inputs, lengths, run=partial(change, eager))
    assert_same(results(layer, inputs, lengths, run=partial(change, layer)), expected)


@pytest.mark.parametrize("backend", ["eager", "auto", "torch"])
@pytest.mark.parametrize("grad", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("lengths", [None, RAGGED], ids=["full", "ragged"])
def test_states_can_be_detached_in_place_between_chunks(backend, grad, lengths):
    _, layer, inputs = two_layers(LSTMCell, backend)
    with grad():
        outputs, state = layer(inputs, lengths)
        for part in (outputs, *state):
            assert not part.detach_().requires_grad
        outputs, _ = layer(inputs, lengths, state)
    if outputs.requires_grad:
        outputs.sum().backward()
        assert layer.cell.weight_hh.grad.any()


def test_a_frozen_layers_outputs_can_be_changed_in_place():
    _, layer, inputs = two_layers()
    layer.requires_grad_(False)
    scale = torch.ones(4, dtype=torch.float64, requires_grad=True)
    outputs, _ = layer(inputs.detach())
    expected = outputs.sum((0, 1))
    outputs.mul_(scale).sum().backward()
    torch.testing.assert_close(scale.grad, expected)


@pytest.mark.parametrize("cell", [Tied, TiedBelow, TiedWeights])
def test_tied_parameters_equal_the_loops(cell):
    eager, layer, inputs = two_layers(cell, "kernel")
    assert_same(results(layer, inputs, RAGGED), results(eager, inputs, RAGGED))
