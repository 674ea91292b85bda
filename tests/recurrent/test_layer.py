from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqlight import ElmanCell, GRUCell, LSTMCell, RecurrentLayer, RecurrentStack, SequenceClassifier, unroll
from seqlight.recurrent.lengths import CheckedLengths, check_lengths
from seqlight.recurrent.readout import read_out
from tests.user_cells import MinimalGatedUnit

B, T, F, H = 4, 6, 3, 5
RAGGED = torch.tensor([4, 6, 1, 3])

CELLS = {
    "tanh": partial(ElmanCell, hidden_size=H),
    "relu": partial(ElmanCell, hidden_size=H, nonlinearity="relu"),
    "lstm": partial(LSTMCell, hidden_size=H),
    "gru": partial(GRUCell, hidden_size=H),
}
REFERENCES = {
    "tanh": nn.RNN,
    "relu": partial(nn.RNN, nonlinearity="relu"),
    "lstm": nn.LSTM,
    "gru": nn.GRU,
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


@pytest.fixture(autouse=True)
def _same_numbers_each_run():
    torch.manual_seed(0)


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64)


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
    reference = REFERENCES[name](F, H, num_layers, batch_first=True, bidirectional=bidirectional).double()
    stack = RecurrentStack(CELLS[name], F, num_layers=num_layers, bidirectional=bidirectional, backend=backend).double()
    for index, layer in enumerate(stack.layers):
        layer.cell.load_state_dict(reference_weights(reference, index, stack.num_directions))

    inputs = random(B, T, F).requires_grad_()
    inputs_reference = inputs.detach().clone().requires_grad_()
    num_states = 2 if name == "lstm" else 1
    states = [random(len(stack.layers), B, H).requires_grad_() for _ in range(num_states)] if with_state else []
    states_reference = [state.detach().clone().requires_grad_() for state in states]

    outputs, final = stack(inputs, lengths, list(zip(*states, strict=True)) if with_state else None)
    given = None if not with_state else states_reference[0] if num_states == 1 else tuple(states_reference)
    expected, expected_final = run_reference(reference, inputs_reference, lengths, given)
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
def test_padding_may_hold_anything(cell, backend, bidirectional):
    stack = RecurrentStack(cell, F, num_layers=2, bidirectional=bidirectional, backend=backend).double()
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
def test_each_sequence_is_as_if_it_were_alone(cell, backend, bidirectional):
    stack = RecurrentStack(cell, F, num_layers=2, bidirectional=bidirectional, backend=backend).double()
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


@every_cell_and_backend
def test_time_may_be_split_at_any_step(cell, backend):
    layer = RecurrentLayer(cell(F), backend=backend).double()
    inputs = random(B, T, F)
    outputs, final = layer(inputs)
    first, state = layer(inputs[:, :2])
    second, last = layer(inputs[:, 2:], state=state)
    assert_close(torch.cat((first, second), 1), outputs)
    assert_close(last, final)


@pytest.mark.parametrize("length", [0, -1, T + 1])
@pytest.mark.parametrize("function", ["layer", "stack", "unroll", "classifier"])
def test_lengths_must_lie_within_time(function, length):
    cell = GRUCell(F, H).double()
    inputs, lengths = random(B, T, F), torch.tensor([T, 2, length, 1])
    run = {
        "layer": lambda: RecurrentLayer(cell)(inputs, lengths),
        "stack": lambda: RecurrentStack(partial(GRUCell, hidden_size=H), F).double()(inputs, lengths),
        "unroll": lambda: unroll(cell, inputs, lengths=lengths),
        "classifier": lambda: SequenceClassifier(partial(GRUCell, hidden_size=H), input_size=F).double()(
            inputs, lengths
        ),
    }[function]
    with pytest.raises(
        ValueError, match=f"lengths must be between 1 and the {T} time steps of inputs, got {length} of sequence [0-9]"
    ):
        run()


@pytest.mark.parametrize("backend", BACKENDS)
def test_inputs_must_have_a_time_step(backend):
    with pytest.raises(ValueError, match="at least 1 time step, got 0"):
        RecurrentStack(GRUCell, F, backend=backend)(torch.zeros(B, 0, F))


@pytest.mark.parametrize("backend", BACKENDS)
def test_inputs_must_have_the_cells_features(backend):
    with pytest.raises(ValueError, match=f"inputs must have {F} features, got {F + 1}"):
        RecurrentStack(GRUCell, F, backend=backend)(torch.zeros(B, T, F + 1))


def test_state_must_have_an_entry_per_layer_and_direction():
    stack = RecurrentStack(partial(GRUCell, hidden_size=H), F, num_layers=2, bidirectional=True)
    with pytest.raises(ValueError, match="one entry for each of the 4 layers and directions, got 3"):
        stack(torch.zeros(B, T, F), None, [(torch.zeros(B, H),)] * 3)


def slow_read_out(readout, outputs, length, num_directions):
    """The summary of one sequence, from its true steps."""
    width = len(outputs[0]) // num_directions
    if readout == "last":
        return [*outputs[length - 1][:width], *(outputs[0][width:] if num_directions == 2 else [])]
    columns = list(zip(*outputs[:length], strict=True))
    return [max(column) if readout == "max" else sum(column) / length for column in columns]


@pytest.mark.parametrize("readout", ["last", "mean", "max"])
@pytest.mark.parametrize("lengths", [None, torch.full((B,), T), RAGGED], ids=["none", "full", "ragged"])
@one_or_both_directions
def test_readout_equals_a_loop(readout, lengths, bidirectional):
    stack = RecurrentStack(CELLS["gru"], F, bidirectional=bidirectional).double()
    outputs, _ = stack(random(B, T, F), lengths)
    # All below 0, so that a 0 from the padding would be the maximum.
    outputs = torch.where(outputs != 0, -outputs.abs(), 0).detach()
    summary = read_out(readout, outputs, check_lengths(lengths, outputs), stack.num_directions)
    true_lengths = [T] * B if lengths is None else lengths.tolist()
    expected = [
        slow_read_out(readout, row, length, stack.num_directions)
        for row, length in zip(outputs.tolist(), true_lengths, strict=True)
    ]
    assert_close(summary, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("backend", BACKENDS)
@one_or_both_directions
def test_last_readout_is_the_final_states(backend, bidirectional):
    stack = RecurrentStack(CELLS["lstm"], F, num_layers=2, bidirectional=bidirectional, backend=backend).double()
    outputs, final = stack(random(B, T, F), RAGGED)
    hidden = torch.cat([state[0] for state in final[-stack.num_directions :]], -1)
    assert_close(read_out("last", outputs, CheckedLengths(RAGGED), stack.num_directions), hidden)
    assert_close(stack.last_outputs(final), hidden)


@pytest.mark.parametrize("options", [{"recurrent_dropout": 0.3}, {"zoneout": 0.3}, {"residual": True, "num_layers": 2}])
@one_or_both_directions
def test_last_outputs_are_those_of_the_last_steps(options, bidirectional):
    stack = RecurrentStack(CELLS["gru"], F, bidirectional=bidirectional, **options).double()
    outputs, final = stack(random(B, T, F), RAGGED)
    last = stack.last_outputs(final)
    assert (last is None) == ("residual" in options)
    if last is not None:
        assert_close(last, read_out("last", outputs, CheckedLengths(RAGGED), stack.num_directions))


def layer_inputs(stack, inputs):
    """What each layer reads and gives in a run of the stack."""
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
    seen, outputs = layer_inputs(stack, inputs)
    assert torch.equal(seen[0][0], inputs)
    assert torch.equal(seen[2][1], outputs)
    assert (outputs != 0).all()
    for below, above in ((0, 1), (1, 2)):
        given, read = seen[below][1], seen[above][0]
        dropped = read == 0
        assert_close(read, torch.where(dropped, 0, given / 0.75))
        share, count = dropped.double().mean(), dropped.numel()
        assert abs(share - 0.25) < 4 * (0.25 * 0.75 / count) ** 0.5


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


@pytest.mark.usefixtures("without_type_checks")
def test_backend_must_be_known():
    with pytest.raises(ValueError, match="backend must be one of auto, eager, torch, kernel; got 'fast'"):
        RecurrentLayer(GRUCell(F), backend="fast")


@pytest.mark.parametrize("backend", BACKENDS)
@one_or_both_directions
def test_residual_and_norm_by_hand(backend, bidirectional):
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
def test_input_dropout_has_one_mask_a_sequence_and_layer(backend):
    stack = RecurrentStack(CELLS["tanh"], 40, num_layers=2, input_dropout=0.25, backend=backend).double()
    inputs = random(30, T, 40)
    seen, _ = layer_inputs(stack, inputs)
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


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("state", ["rows", "width", "count", "no-tuple"])
def test_a_given_state_must_fit(backend, state):
    zeros = torch.zeros(B, H)
    given = {
        "rows": (zeros[:1], zeros[:1]),
        "width": (zeros[:, :2], zeros[:, :2]),
        "count": (zeros,),
        "no-tuple": [zeros, zeros],
    }[state]
    with pytest.raises(
        (TypeError, ValueError), match=r"LSTMCell: the state before the first step must be a tuple of 2"
    ):
        RecurrentLayer(LSTMCell(F, H), backend=backend)(torch.zeros(B, T, F), None, given)
