import io
import math
from functools import partial

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.nn import functional

from seqlight import (
    Batch,
    ElmanCell,
    GatedCell,
    GRUCell,
    LSTMCell,
    RecurrentCell,
    SequenceClassifier,
    cell_activity,
    cell_figure,
)
from seqlight.figures.cell_figure import unit_order
from tests.conftest import seqlight_run

LENGTHS = torch.tensor([3, 6, 1, 4])
TARGETS = {"binary": 1, "multiclass": 3, "multilabel": 3}


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


def classifier(cell, target="binary", **options):
    options = {"backend": "eager", **options}
    if "vocab_size" not in options:
        options["input_size"] = 2
    return SequenceClassifier(
        partial(cell, hidden_size=5), target=target, num_outputs=TARGETS[target], **options
    ).double()


def ragged_batch(target="binary", vocab_size=None, padding=math.nan):
    """4 sequences of at most 6 steps; the padding would change results if it were read."""
    past_end = torch.arange(6) >= LENGTHS[:, None]
    if vocab_size is None:
        inputs = torch.randn(4, 6, 2, dtype=torch.float64).masked_fill(past_end[:, :, None], padding)
    else:
        inputs = torch.randint(vocab_size, (4, 6)).masked_fill(past_end, -1)
    targets = {
        "binary": torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64),
        "multiclass": torch.tensor([2, 2, 0, 1]),
        "multilabel": torch.tensor([[1, 0, 1], [0, 0, 0], [1, 0, 1], [0, 1, 0]], dtype=torch.float64),
    }
    return Batch(inputs, targets[target], LENGTHS)


# torch.nn's cell with the same equations, and its gates computed from both affine maps.


def lstm_gates(x, h):
    i, f, g, o = (x + h).chunk(4, -1)
    return [1 / (1 + torch.exp(-i)), 1 / (1 + torch.exp(-f)), torch.tanh(g), 1 / (1 + torch.exp(-o))]


def gru_gates(x, h):
    (x_r, x_z, x_n), (h_r, h_z, h_n) = x.chunk(3, -1), h.chunk(3, -1)
    r, z = 1 / (1 + torch.exp(-x_r - h_r)), 1 / (1 + torch.exp(-x_z - h_z))
    return [r, z, torch.tanh(x_n + r * h_n)]


def elman_gates(x, h):
    return [torch.tanh(x + h)]


REFERENCES = {
    LSTMCell: (nn.LSTMCell, lstm_gates),
    GRUCell: (nn.GRUCell, gru_gates),
    ElmanCell: (nn.RNNCell, elman_gates),
}


def slow_layer(cell, sequence, reverse):
    """States and gates (T, H) of one sequence (T, F), by torch.nn's cell with the weights copied."""
    cell_type, gates_of = REFERENCES[type(cell)]
    reference = cell_type(cell.input_size, cell.hidden_size).double()
    reference.load_state_dict(cell.state_dict())
    hidden = torch.zeros(1, cell.hidden_size, dtype=torch.float64)
    state = (hidden, hidden) if cell_type is nn.LSTMCell else hidden
    course = []
    for now in sequence.flip(0) if reverse else sequence:
        before = state[0] if cell_type is nn.LSTMCell else state
        x = now @ cell.weight_ih.T + cell.bias_ih
        gates = gates_of(x[None], before @ cell.weight_hh.T + cell.bias_hh)
        state = reference(now[None], state)
        states = state if cell_type is nn.LSTMCell else (state,)
        course.append([part[0] for part in (*states, *gates)])
    parts = [torch.stack(part) for part in zip(*course, strict=True)]
    parts = [part.flip(0) for part in parts] if reverse else parts
    return parts[: len(states)], parts[len(states) :]


STACKS = {
    "one": {},
    "two directions": {"bidirectional": True, "backend": "auto"},
    "two layers": {"num_layers": 2, "dropout": 0.5},
    "both": {"num_layers": 2, "bidirectional": True},
}


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("cell", REFERENCES)
def test_states_and_gates_equal_torch_cells(cell, stack):
    model = classifier(cell, **STACKS[stack])
    batch = ragged_batch()
    num_directions = model.recurrent.num_directions
    activities = [cell_activity(model, batch, layer) for layer in range(len(model.recurrent.layers))]
    for index, length in enumerate(LENGTHS.tolist()):
        inputs = batch.inputs[index, :length]
        for start in range(0, len(activities), num_directions):
            outputs = []
            for layer in range(start, start + num_directions):
                states, gates = slow_layer(model.recurrent.layers[layer].cell, inputs, layer % num_directions == 1)
                found = activities[layer]
                assert len(found.states) == len(states)
                assert len(found.gates) == len(gates)
                for value, expected in zip(
                    (*found.states.values(), *found.gates.values()), (*states, *gates), strict=True
                ):
                    torch.testing.assert_close(value[index, :length], expected, rtol=1e-10, atol=1e-12)
                    assert value[index, length:].isnan().all()
                outputs.append(states[0])
            inputs = torch.cat(outputs, -1)
    assert tuple(activities[0].states) == cell.state_names
    assert not activities[0].pre_activations


PROBABILITIES = [
    *(("binary", {"readout": readout, "num_layers": 2}) for readout in ("last", "mean", "max", "last_mean_max")),
    *((target, {"readout": readout}) for target in ("multiclass", "multilabel") for readout in ("last", "mean")),
    ("binary", {"bidirectional": True, "readout": "max"}),
    ("multiclass", {"bidirectional": True, "readout": "last_mean_max"}),
    ("multiclass", {"bidirectional": True, "num_layers": 2}),
    ("binary", {"vocab_size": 4, "embedding_size": 3}),
    ("multilabel", {"vocab_size": 4, "embedding_size": 3, "bidirectional": True}),
]


@pytest.mark.parametrize(("target", "options"), PROBABILITIES)
def test_probability_after_a_step_equals_that_of_the_shortened_sequence(target, options):
    model = classifier(GRUCell, target, **options)
    batch = ragged_batch(target, options.get("vocab_size"))
    found = cell_activity(model, batch).probabilities
    assert found.shape == (4, 6) if target == "binary" else (4, 6, 3)
    for index, length in enumerate(LENGTHS.tolist()):
        for steps in range(1, length + 1):
            [expected] = model.probabilities(batch.inputs[index : index + 1, :steps])
            torch.testing.assert_close(found[index, steps - 1], expected, rtol=1e-10, atol=1e-12)
        assert found[index, length:].isnan().all()
    at_the_end = found[torch.arange(4), LENGTHS - 1]
    torch.testing.assert_close(at_the_end, model.probabilities(batch.inputs, LENGTHS), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_gates_keep_the_dtype(dtype):
    model, batch = classifier(LSTMCell), ragged_batch()
    expected = cell_activity(model, batch)
    activity = cell_activity(model.to(dtype), batch)
    assert not activity.pre_activations
    for name, gate in activity.gates.items():
        assert gate.dtype == dtype
        torch.testing.assert_close(gate.double(), expected.gates[name], rtol=0, atol=0.03, equal_nan=True)


def test_activity_contains_inputs_and_lengths():
    batch = ragged_batch(padding=7.0)
    activity = cell_activity(classifier(GRUCell), batch)
    expected = batch.inputs.masked_fill((batch.inputs == 7), math.nan)
    torch.testing.assert_close(activity.inputs, expected, equal_nan=True, rtol=0, atol=0)
    assert torch.equal(activity.lengths, LENGTHS)
    tokens = ragged_batch(vocab_size=4)
    assert torch.equal(cell_activity(classifier(GRUCell, vocab_size=4), tokens).inputs, tokens.inputs)


def gate_inputs(cell, inputs, states):
    """W_ih x_t + b_ih + W_hh h_(t-1) + b_hh (B, T, G*H), and the states before each step."""
    before = [functional.pad(part, (0, 0, 1, 0))[:, :-1] for part in states.values()]
    gates = inputs @ cell.weight_ih.T + cell.bias_ih
    if cell.recurrent:
        gates = gates + before[0] @ cell.weight_hh.T + cell.bias_hh
    return gates.detach(), before


class ExponentialGates(GatedCell):
    """The sLSTM's gates in log space, a peephole, and a gate without an activation function."""

    num_gates = 4
    state_names = ("hidden", "cell", "normaliser", "stabiliser")
    gate_names = ("cell", "input", "forget", "output")

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.peephole = nn.Parameter(torch.randn(hidden_size))

    def activations(self, input_gates, hidden_gates, state):
        z, i, f, o = (input_gates + hidden_gates).chunk(4, 1)
        stabiliser = torch.maximum(f + state[3], i)
        i, f = torch.exp(i - stabiliser), torch.exp(f + state[3] - stabiliser)
        return z, i, f, torch.sigmoid(o + self.peephole * (f * state[1] + i * z))

    def update(self, input_gates, hidden_gates, state):
        z, i, f, o = self.activations(input_gates, hidden_gates, state)
        _, input_sum, forget_sum, _ = (input_gates + hidden_gates).chunk(4, 1)
        cell, normaliser = f * state[1] + i * z, f * state[2] + i
        return o * torch.tanh(cell) / normaliser, cell, normaliser, torch.maximum(forget_sum + state[3], input_sum)


def test_declared_activations_can_depend_on_states_and_parameters():
    model = classifier(ExponentialGates)
    inputs = torch.randn(2, 6, 2, dtype=torch.float64)
    activity = cell_activity(model, Batch(inputs, torch.ones(2), torch.tensor([6, 6])))
    cell = model.recurrent.layers[0].cell
    x, (_, c, n, m) = gate_inputs(cell, inputs, activity.states)
    z, i, f, o = x.chunk(4, -1)
    new_m = torch.maximum(f + m, i)
    expected = {"cell": z, "input": (i - new_m).exp(), "forget": (f + m - new_m).exp()}
    new_c = expected["forget"] * c + expected["input"] * expected["cell"]
    expected["output"] = torch.sigmoid(o + cell.peephole.detach() * new_c)
    assert not activity.pre_activations
    assert activity.gates.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(activity.gates[name], value)
    torch.testing.assert_close(activity.states["normaliser"], expected["forget"] * n + expected["input"])


class Undeclared(GatedCell):
    num_gates = 2
    gate_names = ("keep", "new")

    def update(self, input_gates, hidden_gates, state):
        keep, new = (input_gates + hidden_gates if self.recurrent else input_gates).chunk(2, -1)
        return (torch.sigmoid(keep) * state[0] + torch.tanh(new),)


class UndeclaredWithoutRecurrence(Undeclared):
    recurrent = False


class MixesUnits(GatedCell):
    """No kernel supports it."""

    num_gates = 2

    def update(self, input_gates, hidden_gates, state):
        forget, new = (input_gates + hidden_gates).chunk(2, -1)
        return (torch.sigmoid(forget.cumsum(-1)) * state[0] + torch.tanh(new),)


class CoupledLSTM(LSTMCell):
    """It inherits `activations` that its own `update` does not use."""

    def update(self, input_gates, hidden_gates, state):
        _, f, g, o = (input_gates + hidden_gates).chunk(4, -1)
        cell = torch.sigmoid(f) * state[1] + (1 - torch.sigmoid(f)) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(cell), cell


@pytest.mark.parametrize("noise", [{}, {"zoneout": 0.3}], ids=["plain", "zoneout"])
@pytest.mark.parametrize("cell", [Undeclared, UndeclaredWithoutRecurrence, MixesUnits, CoupledLSTM])
def test_cell_without_declared_activations_shows_pre_activations(cell, noise):
    model = classifier(cell, **noise)
    batch = ragged_batch(padding=0.0)
    activity = cell_activity(model, batch)
    expected, _ = gate_inputs(model.recurrent.layers[0].cell, batch.inputs, activity.states)
    real = torch.arange(6) < LENGTHS[:, None]
    torch.testing.assert_close(torch.cat([*activity.gates.values()], -1)[real], expected[real])
    names = cell.gate_names or ("gate 0", "gate 1")
    assert tuple(activity.gates) == names
    assert activity.pre_activations
    labels = [axis.get_ylabel() for axis in cell_figure(model, batch).axes]
    assert {f"{name}\npre-activation" for name in names} <= {*labels}
    assert not any(label.endswith("\ngate") for label in labels)


def test_dropout_changes_no_state_and_no_gate_in_evaluation():
    plain = classifier(LSTMCell)
    noisy = classifier(LSTMCell, recurrent_dropout=0.5)
    noisy.load_state_dict(plain.state_dict())
    batch = ragged_batch()
    expected, found = cell_activity(plain, batch), cell_activity(noisy, batch)
    assert not found.pre_activations
    for name in ("states", "gates"):
        assert list(getattr(found, name)) == list(getattr(expected, name))
        for value, other in zip(getattr(found, name).values(), getattr(expected, name).values(), strict=True):
            torch.testing.assert_close(value, other, equal_nan=True)


def test_gates_under_dropout_and_zoneout_come_from_the_states_before():
    model = classifier(LSTMCell, recurrent_dropout=0.5, zoneout=0.3)
    batch = ragged_batch(padding=0.0)
    activity = cell_activity(model, batch)
    assert tuple(activity.states) == ("hidden", "cell")
    gates, (_, before) = gate_inputs(model.recurrent.layers[0].cell, batch.inputs, activity.states)
    i, f, g, o = lstm_gates(gates, torch.zeros(()))
    real = torch.arange(6) < LENGTHS[:, None]
    for value, expected in zip(activity.gates.values(), (i, f, g, o), strict=True):
        torch.testing.assert_close(value[real], expected[real])
    torch.testing.assert_close(activity.states["cell"][real], (0.3 * before + 0.7 * (f * before + i * g))[real])


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (lambda new: (new,), ValueError, r"2 tensors of shape \(B, H\) for \('keep', 'new'\), got a tuple of 1: "),
        (lambda new: (new, new[:, :2]), ValueError, r"got a tuple of 2: .*\(24, 2\) for \(B, H\) = \(24, 5\)"),
        (lambda new: new, TypeError, "got a tensor of shape"),
    ],
    ids=["one-gate", "shape", "no-tuple"],
)
def test_wrong_activations_are_reported(result, error, message):
    def activations(self, input_gates, hidden_gates, state):
        return result(input_gates.chunk(2, -1)[1])

    cell = type("Wrong", (Undeclared,), {"activations": activations, "update": Undeclared.update})
    with pytest.raises(error, match=rf"Wrong: activations\(\) must be a tuple of .*{message}"):
        cell_activity(classifier(cell), ragged_batch())


class Running(RecurrentCell):
    """Not a GatedCell: the running mean of the inputs, from a random initial state."""

    def initial_state(self, batch_size, *, device, dtype):
        return torch.rand(batch_size, self.hidden_size).to(device, dtype), torch.zeros(
            batch_size, self.hidden_size, device=device, dtype=dtype
        )

    def forward(self, inputs, state):
        total, count = state[0] + inputs.sum(-1, keepdim=True), state[1] + 1
        return total / count, (total, count)


@pytest.mark.parametrize("names", [None, ("total", "count"), ("total",)])
def test_general_cell_shows_its_states(names):
    cell = type("Named", (Running,), {"state_names": names}) if names else Running
    batch = ragged_batch()
    activity = cell_activity(classifier(cell), batch)
    assert activity.gates == {}
    assert tuple(activity.states) == (names if names == ("total", "count") else ("state 0", "state 1"))
    total, count = activity.states.values()
    assert total[1, :, 0].diff().tolist() == pytest.approx(batch.inputs[1, 1:].sum(-1).tolist())
    assert count[1, :, 0].tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("cell", [LSTMCell, Running])
def test_model_and_random_state_do_not_change(cell, training, mode):
    model = classifier(cell, num_layers=2, dropout=0.5, backend="auto").train(training)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with mode():
        batch = ragged_batch()
        random_state = torch.get_rng_state()
        activity = cell_activity(model, batch, 1)
        assert torch.equal(torch.get_rng_state(), random_state)
    assert not any(value.requires_grad for value in (*activity.states.values(), activity.probabilities))
    assert all((parameter.grad == 7).all() for parameter in model.parameters())
    assert all(module.training == training for module in model.recurrent.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_mode_is_restored_after_an_error():
    model = classifier(GRUCell)
    with pytest.raises(ValueError, match="lengths must be between 1 and the 6 time steps"):
        cell_activity(model, ragged_batch()._replace(lengths=torch.tensor([0, 1, 1, 1])))
    assert model.training
    assert not model.recurrent._forward_hooks


@pytest.mark.parametrize("layer", [-1, 2])
def test_layer_out_of_range_is_refused(layer):
    with pytest.raises(ValueError, match=f"layer must be between 0 and 1, got {layer}"):
        cell_activity(classifier(GRUCell, bidirectional=True), ragged_batch(), layer)


@pytest.mark.parametrize("argument", ["num_sequences", "max_steps"])
def test_figure_of_no_sequence_or_step_is_refused(argument):
    with pytest.raises(ValueError, match=f"{argument} must be at least 1, got 0"):
        cell_figure(classifier(GRUCell), ragged_batch(), **{argument: 0})


def images(figure):
    """The values (H, T) of the heat maps in each column, by caption."""
    found = {}
    rows = [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]
    num_columns = sum(bool(axis.get_title()) for axis in rows)
    for start in range(0, len(rows), num_columns):
        row = rows[start : start + num_columns]
        if row[0].images:
            found[row[0].get_ylabel()] = [torch.from_numpy(axis.images[0].get_array().filled(math.nan)) for axis in row]
    return found


def test_heat_maps_show_the_activity_with_units_in_one_order():
    cell = type("Named", (GRUCell,), {"gate_names": ("reset", "update", "new")})
    model = classifier(cell)
    batch = ragged_batch()
    figure = cell_figure(model, batch, num_sequences=4)
    activity = cell_activity(model, batch)
    found = images(figure)
    assert list(found) == ["hidden\nstate", "reset\ngate", "update\ngate", "new\ngate"]
    # The only sequence of label 0 comes second.
    columns = [0, 3, 1, 2]
    assert [axis.get_title() for axis in figure.axes[:4]] == [
        f"sequence {index}: label {int(batch.targets[index])}" for index in columns
    ]
    order = unit_order(activity.states["hidden"][columns])
    assert order.tolist() != sorted(order)
    for values, panels in zip((*activity.states.values(), *activity.gates.values()), found.values(), strict=True):
        for index, panel in zip(columns, panels, strict=True):
            torch.testing.assert_close(panel, values[index][:, order].T.float(), equal_nan=True, check_dtype=False)


def test_colours_match_the_range_of_values():
    figure = cell_figure(classifier(partial(LSTMCell, forget_bias=None)), ragged_batch())
    ranges = {}
    for axis in figure.axes:
        if axis.images and axis.get_ylabel():
            ranges[axis.get_ylabel()] = (axis.images[0].cmap.name, *axis.images[0].get_clim())
    gates = {f"{gate}\ngate": ("viridis", 0, 1) for gate in ("input", "forget", "output")}
    states = {f"{name}\nstate": ("RdBu_r", -1, 1) for name in ("hidden", "cell")}
    assert ranges == {**states, **gates, "cell\ngate": ("RdBu_r", -1, 1)}
    bars = [axis for axis in figure.axes if axis.get_label() == "<colorbar>"]
    assert len(bars) == 6


def test_range_widens_for_large_values():
    figure = cell_figure(classifier(Running), ragged_batch())
    [counts] = [axis for axis in figure.axes if axis.get_ylabel() == "state 1"]
    assert counts.images[0].get_clim() == (-6, 6)


def test_unit_order_groups_similar_units():
    course = torch.randn(2, 20, 1)
    sign = torch.tensor([1, -1, 1, 1, -1, -1, 1, -1])
    outputs = course * sign + 0.01 * torch.randn(2, 20, 8) + 5 * torch.randn(8)
    outputs[1, 15:] = math.nan
    assert sign[unit_order(outputs)].diff().count_nonzero() == 1


def test_long_sequences_are_cut():
    model = classifier(GRUCell, bidirectional=True)
    batch = ragged_batch()
    batch = batch._replace(targets=torch.ones(4))
    figure = cell_figure(model, batch, num_sequences=2, layer=1, max_steps=4)
    short = Batch(batch.inputs[:2, :4], batch.targets[:2], LENGTHS[:2].clamp(max=4))
    activity = cell_activity(model, short, 1)
    assert [panel.shape for panel in images(figure)["hidden\nstate"]] == [(5, 4)] * 2
    found = images(figure)["hidden\nstate"][1]
    order = unit_order(activity.states["hidden"])
    torch.testing.assert_close(found.double(), activity.states["hidden"][1][:, order].T, rtol=1e-6, atol=1e-6)
    assert figure.axes[1].get_title() == "sequence 1: label 1\nfirst 4 of 6 steps"
    assert figure.get_suptitle() == "GRUCell, backwards"


CURVES = [("binary", {}), ("multiclass", {}), ("multilabel", {"bidirectional": True}), ("binary", {"vocab_size": 4})]


@pytest.mark.parametrize(("target", "options"), CURVES)
def test_first_and_last_row_show_input_and_probability(target, options):
    model = classifier(GRUCell, target, **options)
    batch = ragged_batch(target, options.get("vocab_size"))
    figure = cell_figure(model, batch, num_sequences=1)
    axes = [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]
    assert axes[0].get_ylabel() == ("token" if model.embedding else "input")
    assert axes[-1].get_ylabel() == "probability"
    shown, curves = (
        torch.stack([torch.as_tensor(line.get_ydata()) for line in axis.lines if len(line.get_xdata()) == 3])
        for axis in (axes[0], axes[-1])
    )
    torch.testing.assert_close(shown.double(), batch.inputs[0, :3].double().view(3, -1).T, rtol=1e-6, atol=1e-6)
    at_the_end = model.probabilities(batch.inputs[:1, :3])
    torch.testing.assert_close(curves[:, -1].double(), at_the_end.view(-1), rtol=1e-6, atol=1e-6)
    label = {"binary": "label 1", "multiclass": "label 2", "multilabel": "labels 0, 2"}[target]
    assert axes[0].get_title() == f"sequence 0: {label}"
    assert axes[-1].get_xlim() == (0.5, 3.5)


@pytest.mark.parametrize("weight", [0.1, math.nan, math.inf])
def test_figure_of_a_diverged_model_can_be_drawn(weight):
    model = classifier(partial(ElmanCell, nonlinearity="relu"), "multiclass").float()
    nn.init.constant_(model.recurrent.layers[0].cell.bias_ih[:1], weight)  # the other units diverge one step later
    cell_figure(model, ragged_batch("multiclass")).savefig(picture := io.BytesIO(), format="png")
    assert picture.tell() > 5000


def test_fit_draws_the_figure_only_with_the_flag(tmp_path, monkeypatch, command_line_state):
    monkeypatch.chdir(tmp_path)
    common = ("fit", "--device", "cpu", "--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false")
    sizes = ("--data.num_train", "32", "--data.num_val", "40", "--model.cell", "GRUCell")
    for name, flags in (("with", ("--figures.inside_cell", "true")), ("without", ())):
        status, _, err = seqlight_run(*common, *sizes, "--name", name, *flags)
        assert status == 0, err
    tags = {}
    for name in ("with", "without"):
        events = EventAccumulator(f"runs/{name}/version_0").Reload()
        tags[name] = set(events.Tags()["images"])
    assert tags["with"] - tags["without"] == {"val_figures/inside_cell"}
    weights = [
        torch.load(f"runs/{name}/version_0/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("with", "without")
    ]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
