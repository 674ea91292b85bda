"""Stacks against torch.nn, padding, dropout, residual connections, norms, arguments."""

from functools import cache, partial

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqlight import GRUCell, RecurrentStack
from seqlight.recurrent.lengths import CheckedLengths
from seqlight.recurrent.readout import read_out
from tests.recurrent.cases import (
    BACKENDS,
    CELLS,
    RAGGED,
    B,
    F,
    H,
    T,
    assert_close,
    every_cell_and_backend,
    one_or_both_directions,
    random,
    shared_stack,
)

REFERENCES = {
    "tanh": nn.RNN,
    "relu": partial(nn.RNN, nonlinearity="relu"),
    "lstm": nn.LSTM,
    "gru": nn.GRU,
}


@cache
def stack_and_reference(name, backend, num_layers, bidirectional):
    """A stack, and torch's layers with the same weights."""
    reference = REFERENCES[name](F, H, num_layers, batch_first=True, bidirectional=bidirectional).double()
    stack = shared_stack(CELLS[name], num_layers=num_layers, bidirectional=bidirectional, backend=backend)
    for index, layer in enumerate(stack.layers):
        for parameter, weight in reference_weights(reference, index, stack.num_directions).items():
            weight.data.copy_(getattr(layer.cell, parameter))
    return stack, reference


def reference_weights(reference, index, num_directions):
    suffix = f"_l{index // num_directions}" + ("_reverse" if index % num_directions else "")
    return {name: getattr(reference, name + suffix) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}


def run_reference(reference, inputs, lengths, state):
    if lengths is None:
        return reference(inputs, state)
    packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
    outputs, final = reference(packed, state)
    return pad_packed_sequence(outputs, batch_first=True, total_length=inputs.shape[1])[0], final


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("num_layers", [1, 3])
@one_or_both_directions
@pytest.mark.parametrize("lengths", [None, RAGGED], ids=["full", "ragged"])
@pytest.mark.parametrize("with_state", [False, True], ids=["zeros", "state"])
def test_stack_equals_torch(name, backend, num_layers, bidirectional, lengths, with_state):
    stack, reference = stack_and_reference(name, backend, num_layers, bidirectional)
    stack.zero_grad()
    reference.zero_grad()
    inputs = random(B, T, F).requires_grad_()
    inputs_reference = inputs.detach().clone().requires_grad_()
    num_states = 2 if name == "lstm" else 1
    states = [random(len(stack.layers), B, H).requires_grad_() for _ in range(num_states)] if with_state else []
    states_reference = [state.detach().clone().requires_grad_() for state in states]

    outputs, final = stack(inputs, lengths, list(zip(*states, strict=True)) if with_state else None)
    initial = None if not with_state else states_reference[0] if num_states == 1 else tuple(states_reference)
    expected, expected_final = run_reference(reference, inputs_reference, lengths, initial)
    expected_final = expected_final if num_states == 2 else (expected_final,)
    final = tuple(torch.stack(parts) for parts in zip(*final, strict=True))
    assert_close(outputs, expected)
    assert_close(final, expected_final)

    results, expected_results = (outputs, *final), (expected, *expected_final)
    cotangents = [random(*result.shape) for result in results]
    torch.autograd.backward(results, cotangents)
    torch.autograd.backward(expected_results, cotangents)
    assert_close(inputs.grad, inputs_reference.grad)
    for state, state_reference in zip(states, states_reference, strict=True):
        assert_close(state.grad, state_reference.grad)
    for index, layer in enumerate(stack.layers):
        for parameter, weight in reference_weights(reference, index, stack.num_directions).items():
            assert_close(getattr(layer.cell, parameter).grad, weight.grad)


@every_cell_and_backend
@one_or_both_directions
def test_padding_values_do_not_matter(cell, backend, bidirectional):
    stack = shared_stack(cell, bidirectional=bidirectional, backend=backend)
    padding = torch.arange(T) >= RAGGED[:, None]
    clean = random(B, T, F).masked_fill(padding[:, :, None], 0)
    results = []
    for filler in (0.0, float("nan"), float("inf"), 1e300):
        inputs = clean.masked_fill(padding[:, :, None], filler).requires_grad_()
        outputs, final = stack(inputs, RAGGED)
        loss = outputs.square().sum() + sum(part.sum() for state in final for part in state)
        results.append([outputs, final, torch.autograd.grad(loss, [inputs, *stack.parameters()])])
    assert (results[0][2][0][padding] == 0).all()
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=0, atol=0)


@every_cell_and_backend
@one_or_both_directions
def test_each_sequence_gives_the_same_alone(cell, backend, bidirectional):
    stack = shared_stack(cell, bidirectional=bidirectional, backend=backend)
    inputs = random(B, T, F)
    outputs, final = stack(inputs, RAGGED)
    longer, longer_final = stack(torch.cat((inputs, random(B, 3, F)), 1), RAGGED)
    assert_close(longer[:, :T], outputs)
    assert (longer[:, T:] == 0).all()
    assert_close(longer_final, final)
    for row, length in enumerate(RAGGED.tolist()):
        alone, alone_final = stack(inputs[row : row + 1, :length])
        assert_close(outputs[row : row + 1, :length], alone)
        assert (outputs[row, length:] == 0).all()
        for state, alone_state in zip(final, alone_final, strict=True):
            assert_close(tuple(part[row : row + 1] for part in state), alone_state)


def test_state_must_have_an_entry_per_layer_and_direction():
    stack = RecurrentStack(partial(GRUCell, hidden_size=H), F, num_layers=2, bidirectional=True)
    with pytest.raises(ValueError, match="one entry for each of the 4 layers and directions, got 3"):
        stack(torch.zeros(B, T, F), None, [(torch.zeros(B, H),)] * 3)


@pytest.mark.parametrize("options", [{"recurrent_dropout": 0.3}, {"zoneout": 0.3}, {"residual": True, "num_layers": 2}])
@one_or_both_directions
def test_last_outputs_equal_the_last_readout(options, bidirectional):
    stack = RecurrentStack(CELLS["gru"], F, bidirectional=bidirectional, **options).double()
    outputs, final = stack(random(B, T, F), RAGGED)
    last = stack.last_outputs(final)
    assert (last is None) == ("residual" in options)
    if last is not None:
        assert_close(last, read_out("last", outputs, CheckedLengths(RAGGED, T), stack.num_directions))


def run_observed(stack, inputs):
    """Inputs and outputs of each layer in a run of the stack, and the stack's outputs."""
    seen = []
    hooks = [
        layer.register_forward_hook(lambda _, args, result: seen.append((args[0], result[0]))) for layer in stack.layers
    ]
    outputs, _ = stack(inputs)
    for hook in hooks:
        hook.remove()
    return seen, outputs


@pytest.mark.parametrize("backend", BACKENDS)
def test_dropout_acts_between_layers_in_training(backend):
    stack = RecurrentStack(CELLS["tanh"], F, num_layers=3, dropout=0.25, backend=backend).double()
    inputs = random(64, T, F)
    seen, outputs = run_observed(stack, inputs)
    assert torch.equal(seen[0][0], inputs)
    assert torch.equal(seen[2][1], outputs)
    assert (outputs != 0).all()
    for below, above in ((0, 1), (1, 2)):
        output, read = seen[below][1], seen[above][0]
        dropped = read == 0
        assert_close(read, torch.where(dropped, 0, output / 0.75))
        share, count = dropped.double().mean(), dropped.numel()
        assert abs(share - 0.25) < 4 * (0.25 * 0.75 / count) ** 0.5


@pytest.mark.filterwarnings("ignore::seqlight.common.unused.UnusedArgumentWarning")
@pytest.mark.parametrize("backend", BACKENDS)
def test_dropout_does_nothing_in_evaluation_or_for_one_layer(backend):
    inputs = random(B, T, F)
    for num_layers, training in ((3, False), (1, True)):
        stack = RecurrentStack(CELLS["gru"], F, num_layers=num_layers, dropout=0.5, backend=backend).double()
        without = RecurrentStack(CELLS["gru"], F, num_layers=num_layers, backend=backend).double()
        without.load_state_dict(stack.state_dict())
        stack.train(training)
        assert torch.equal(stack(inputs)[0], without(inputs)[0])


@pytest.mark.parametrize("num_layers", [0, -1])
def test_num_layers_must_be_positive(num_layers):
    with pytest.raises(ValueError, match=f"num_layers must be at least 1, got {num_layers}"):
        RecurrentStack(GRUCell, F, num_layers=num_layers)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 2.0, float("nan")])
def test_dropout_must_be_a_fraction(dropout):
    with pytest.raises(ValueError, match=f"dropout must be at least 0 and less than 1, got {dropout}"):
        RecurrentStack(GRUCell, F, dropout=dropout)


@pytest.mark.usefixtures("without_type_checks")
def test_num_layers_must_be_an_integer():
    with pytest.raises(TypeError, match=r"num_layers must be an integer, got 1\.5"):
        RecurrentStack(GRUCell, F, num_layers=1.5)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("cell", ["GRUCell", 32, None, GRUCell(F, H)], ids=["name", "number", "none", "instance"])
def test_cell_must_make_a_cell(cell):
    with pytest.raises(TypeError, match="cell must make a cell from its input size"):
        RecurrentStack(cell, F)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("cell", [partial(nn.GRU, hidden_size=H), lambda size: None])
def test_cell_must_make_a_recurrent_cell(cell):
    with pytest.raises(TypeError, match="cell must make a RecurrentCell, got"):
        RecurrentStack(cell, F)


@pytest.mark.parametrize("backend", BACKENDS)
@one_or_both_directions
def test_residual_and_norm_equal_their_formulas(backend, bidirectional):
    stack = RecurrentStack(
        CELLS["lstm"], F, num_layers=3, bidirectional=bidirectional, residual=True, norm="layer", backend=backend
    ).double()
    for norm in stack.norms:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    inputs = random(B, T, F)
    outputs, _ = stack(inputs, RAGGED)
    directions = stack.num_directions

    def layer(index, value):
        parts = [stack.layers[index * directions + direction](value, RAGGED)[0] for direction in range(directions)]
        return torch.cat(parts, -1)

    expected = layer(0, inputs)
    for index in (1, 2):
        norm = stack.norms[index - 1]
        centred = expected - expected.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight + norm.bias
        expected = layer(index, scaled) + expected
    assert_close(outputs, expected)
    for row, length in enumerate(RAGGED.tolist()):
        assert (outputs[row, length:] == 0).all()


def test_rms_norm_is_torchs():
    stack = RecurrentStack(CELLS["gru"], F, num_layers=2, norm="rms")
    assert [type(norm) for norm in stack.norms] == [nn.RMSNorm]
    assert stack.norms[0].normalized_shape == (H,)


@pytest.mark.parametrize("backend", BACKENDS)
def test_input_dropout_has_one_mask_per_sequence_and_layer(backend):
    stack = RecurrentStack(CELLS["tanh"], 40, num_layers=2, input_dropout=0.25, backend=backend).double()
    inputs = random(30, T, 40)
    seen, _ = run_observed(stack, inputs)
    for below, read in ((inputs, seen[0][0]), (seen[0][1], seen[1][0])):
        mask = read / below
        assert_close(mask, mask[:, :1].expand_as(mask))
        dropped = mask[:, 0] == 0
        assert_close(mask[:, 0], torch.where(dropped, 0.0, torch.tensor(1 / 0.75, dtype=torch.float64)))
        assert abs(dropped.double().mean() - 0.25) < 4 * (0.25 * 0.75 / dropped.numel()) ** 0.5
    stack.eval()
    without = RecurrentStack(CELLS["tanh"], 40, num_layers=2, backend=backend).double()
    without.load_state_dict(stack.state_dict())
    assert torch.equal(stack(inputs)[0], without(inputs)[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_dropout": 1.0}, "input_dropout must be at least 0 and less than 1"),
        ({"recurrent_dropout": -1.0}, "recurrent_dropout must be at least 0 and less than 1"),
        ({"zoneout": 2.0}, "zoneout must be at least 0 and less than 1"),
    ],
)
def test_noise_must_be_a_fraction(options, message):
    with pytest.raises(ValueError, match=message):
        RecurrentStack(GRUCell, F, **options)
