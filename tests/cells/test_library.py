"""The library's cells, against torch.nn and formulas from their papers."""

import inspect
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import seqlight
from seqlight import (
    ElmanCell,
    GatedCell,
    GRUCell,
    IndRNNCell,
    JANETCell,
    LayerNormLSTMCell,
    LSTMCell,
    MGUCell,
    MinGRUCell,
    MinLSTMCell,
    PeepholeLSTMCell,
    RecurrentCell,
    RecurrentLayer,
    SLSTMCell,
    UGRNNCell,
    unroll,
)
from seqlight.cells.cell import declares_activations
from tests.user_cells import MinimalGatedUnit

B, T, F, H = 3, 6, 2, 5
LIBRARY = {
    "elman": ElmanCell,
    "elman-relu": partial(ElmanCell, nonlinearity="relu"),
    "gru": GRUCell,
    "indrnn": IndRNNCell,
    "indrnn-tanh": partial(IndRNNCell, nonlinearity="tanh"),
    "janet": JANETCell,
    "janet-beta": partial(JANETCell, beta=-0.5),
    "layer-norm-lstm": LayerNormLSTMCell,
    "lstm": LSTMCell,
    "mgu": MGUCell,
    "min-gru": MinGRUCell,
    "min-lstm": MinLSTMCell,
    "peephole-lstm": PeepholeLSTMCell,
    "slstm": SLSTMCell,
    "slstm-exponential": partial(SLSTMCell, forget_gate="exponential"),
    "ugrnn": UGRNNCell,
}
GATED = {name: make for name, make in LIBRARY.items() if make is not LayerNormLSTMCell}
FORGETFUL = [JANETCell, LayerNormLSTMCell, LSTMCell, MinLSTMCell, PeepholeLSTMCell, SLSTMCell]

every_cell = pytest.mark.parametrize("make", LIBRARY.values(), ids=LIBRARY)
every_gated_cell = pytest.mark.parametrize("make", GATED.values(), ids=GATED)
assert_close = partial(torch.testing.assert_close, rtol=1e-12, atol=1e-12)


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def test_all_cells_are_tested():
    public = (getattr(seqlight, name) for name in seqlight.__all__)
    cells = {
        cls for cls in public if inspect.isclass(cls) and issubclass(cls, RecurrentCell) and not inspect.isabstract(cls)
    }
    assert cells == {make.func if isinstance(make, partial) else make for make in LIBRARY.values()}


@pytest.mark.parametrize(
    ("cell", "reference"),
    [
        (ElmanCell(3, 5), nn.RNNCell(3, 5)),
        (ElmanCell(3, 5, "relu"), nn.RNNCell(3, 5, nonlinearity="relu")),
        (LSTMCell(3, 5), nn.LSTMCell(3, 5)),
        (GRUCell(3, 5), nn.GRUCell(3, 5)),
    ],
    ids=["tanh", "relu", "lstm", "gru"],
)
def test_one_step_equals_torch_with_the_same_state_dict(cell, reference):
    cell, reference = cell.double(), reference.double()
    cell.load_state_dict(reference.state_dict())
    inputs = torch.randn(4, 3, dtype=torch.float64)
    state = tuple(torch.randn(4, 5, dtype=torch.float64) for _ in cell.state_names)
    output, next_state = cell(inputs, state)
    expected = reference(inputs, state if len(state) > 1 else state[0])
    expected = expected if isinstance(expected, tuple) else (expected,)
    assert_close(next_state, expected)
    assert_close(output, expected[0])


# Formulas of one step of one sequence. For each gate, w and u contain its matrices, b and d its biases.


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


def normalised(v, weight, bias):
    return weight * (v - v.mean()) / np.sqrt(((v - v.mean()) ** 2).mean() + 1e-5) + bias


def peephole_lstm(p, x, h, c):
    w, u, b, d = p["w"], p["u"], p["b"], p["d"]
    i = sigmoid(w[0] @ x + b[0] + u[0] @ h + d[0] + p["peephole_input"] * c)
    f = sigmoid(w[1] @ x + b[1] + u[1] @ h + d[1] + p["peephole_forget"] * c)
    c = f * c + i * np.tanh(w[2] @ x + b[2] + u[2] @ h + d[2])
    o = sigmoid(w[3] @ x + b[3] + u[3] @ h + d[3] + p["peephole_output"] * c)
    return o * np.tanh(c), c


def mgu(p, x, h):
    w, u, b, d = p["w"], p["u"], p["b"], p["d"]
    f = sigmoid(w[0] @ x + b[0] + u[0] @ h + d[0])
    return (h + f * (np.tanh(w[1] @ x + b[1] + f * (u[1] @ h + d[1])) - h),)


def ugrnn(p, x, h):
    w, u, b, d = p["w"], p["u"], p["b"], p["d"]
    g = sigmoid(w[0] @ x + u[0] @ h + b[0] + d[0])
    c = np.tanh(w[1] @ x + u[1] @ h + b[1] + d[1])
    return (g * h + (1 - g) * c,)


def janet(p, x, h, beta=1.0):
    w, u, b, d = p["w"], p["u"], p["b"], p["d"]
    s = u[0] @ h + w[0] @ x + b[0] + d[0]
    c = np.tanh(u[1] @ h + w[1] @ x + b[1] + d[1])
    return (sigmoid(s) * h + (1 - sigmoid(s - beta)) * c,)


def indrnn(p, x, h, f=relu):
    return (f(p["w"][0] @ x + p["recurrent_weight"] * h + p["b"][0]),)


def min_gru(p, x, h):
    z = sigmoid(p["w"][0] @ x + p["b"][0])
    return ((1 - z) * h + z * (p["w"][1] @ x + p["b"][1]),)


def min_lstm(p, x, h):
    i, f = sigmoid(p["w"][0] @ x + p["b"][0]), sigmoid(p["w"][1] @ x + p["b"][1])
    return (f / (f + i) * h + i / (f + i) * (p["w"][2] @ x + p["b"][2]),)


def layer_norm_lstm(p, x, h, c):
    from_input = normalised(np.concatenate(p["w"]) @ x, p["norm_ih.weight"], p["norm_ih.bias"])
    from_hidden = normalised(np.concatenate(p["u"]) @ h, p["norm_hh.weight"], p["norm_hh.bias"])
    i, f, g, o = np.split(from_input + from_hidden, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(normalised(c, p["norm_cell.weight"], p["norm_cell.bias"])), c


FORMULAS = {
    "peephole-lstm": peephole_lstm,
    "mgu": mgu,
    "ugrnn": ugrnn,
    "janet": janet,
    "janet-beta": partial(janet, beta=-0.5),
    "indrnn": indrnn,
    "indrnn-tanh": partial(indrnn, f=np.tanh),
    "min-gru": min_gru,
    "min-lstm": min_lstm,
    "layer-norm-lstm": layer_norm_lstm,
}


def arrays(cell):
    """The cell's parameters as numpy arrays, with weights and biases split into gates."""
    values = {name: parameter.detach().numpy() for name, parameter in cell.named_parameters()}
    for short, name in {"w": "weight_ih", "u": "weight_hh", "b": "bias_ih", "d": "bias_hh"}.items():
        if name in values:
            values[short] = np.split(values[name], len(cell.gate_names))
    return values


@pytest.mark.parametrize("name", FORMULAS)
def test_outputs_and_states_equal_the_formula(name):
    cell = LIBRARY[name](F, H).double()
    for parameter in cell.parameters():  # the initial 1 and 0 of layer normalisation would hide errors
        nn.init.normal_(parameter)
    inputs, initial = random(B, T, F), tuple(random(B, H) for _ in cell.state_names)
    outputs, final = unroll(cell, inputs, initial)
    for row in range(B):
        state = [part[row].numpy() for part in initial]
        for t in range(T):
            state = FORMULAS[name](arrays(cell), inputs[row, t].numpy(), *state)
            assert_close(outputs[row, t].detach(), torch.from_numpy(state[0]))
        for part, expected in zip(final, state, strict=True):
            assert_close(part[row].detach(), torch.from_numpy(expected))


# Formulas of the gates: s are the sums of both affine maps, k the hidden maps alone, then the previous states.


def elman_gates(p, s, k, h, f=np.tanh):
    return (f(s[0]),)


def gru_gates(p, s, k, h):
    reset = sigmoid(s[0])
    return reset, sigmoid(s[1]), np.tanh(s[2] - k[2] + reset * k[2])


def indrnn_gates(p, s, k, h, f=relu):
    return (f(s[0] + p["recurrent_weight"] * h),)


def lstm_gates(p, s, k, h, c):
    return sigmoid(s[0]), sigmoid(s[1]), np.tanh(s[2]), sigmoid(s[3])


def mgu_gates(p, s, k, h):
    forget = sigmoid(s[0])
    return forget, np.tanh(s[1] - k[1] + forget * k[1])


def min_lstm_gates(p, s, k, h):
    i, f = sigmoid(s[0]), sigmoid(s[1])
    return i / (i + f), f / (i + f), s[2]


def peephole_lstm_gates(p, s, k, h, c):
    i, f = sigmoid(s[0] + p["peephole_input"] * c), sigmoid(s[1] + p["peephole_forget"] * c)
    g = np.tanh(s[2])
    return i, f, g, sigmoid(s[3] + p["peephole_output"] * (f * c + i * g))


def slstm_gates(p, s, k, h, c, n, m, forget=sigmoid):
    scale = np.maximum(forget(s[1]) * np.exp(m), np.exp(s[0]))  # exp(m_t)
    return np.exp(s[0]) / scale, forget(s[1]) * np.exp(m) / scale, np.tanh(s[2]), sigmoid(s[3])


def update_and_new(p, s, k, h, f=np.tanh):
    return sigmoid(s[0]), f(s[1])


ACTIVATIONS = {
    "elman": elman_gates,
    "elman-relu": partial(elman_gates, f=relu),
    "gru": gru_gates,
    "indrnn": indrnn_gates,
    "indrnn-tanh": partial(indrnn_gates, f=np.tanh),
    "janet": update_and_new,
    "janet-beta": update_and_new,
    "lstm": lstm_gates,
    "mgu": mgu_gates,
    "min-gru": partial(update_and_new, f=lambda x: x),
    "min-lstm": min_lstm_gates,
    "peephole-lstm": peephole_lstm_gates,
    "slstm": slstm_gates,
    "slstm-exponential": partial(slstm_gates, forget=np.exp),
    "ugrnn": update_and_new,
}


@pytest.mark.parametrize("name", GATED)
def test_activations_equal_the_formula(name):
    cell = GATED[name](F, H).double()
    for parameter in cell.parameters():
        nn.init.normal_(parameter)
    inputs, state = random(B, F), tuple(random(B, H) for _ in cell.state_names)
    input_gates = cell.project(inputs)
    hidden_gates = state[0] @ cell.weight_hh.T + cell.bias_hh if cell.recurrent else input_gates[:, :0]
    activations = cell.activations(input_gates, hidden_gates, state)
    assert declares_activations(cell)
    assert len(activations) == cell.num_gates
    for row in range(B):
        k = np.split(hidden_gates[row].detach().numpy(), cell.num_gates)
        s = np.split(input_gates[row].detach().numpy(), cell.num_gates)
        if cell.recurrent:
            s = [by_input + by_hidden for by_input, by_hidden in zip(s, k, strict=True)]
        expected = ACTIVATIONS[name](arrays(cell), s, k, *(part[row].numpy() for part in state))
        for value, other in zip(activations, expected, strict=True):
            assert_close(value[row].detach(), torch.from_numpy(other))


class OwnUpdate(GRUCell):
    def update(self, input_gates, hidden_gates, state):
        return (torch.tanh(input_gates + hidden_gates).chunk(3, -1)[0],)


class OwnActivations(OwnUpdate):
    def activations(self, input_gates, hidden_gates, state):
        return torch.tanh(input_gates + hidden_gates).chunk(3, -1)


class Inherited(GRUCell):
    pass


@pytest.mark.parametrize(
    ("cell", "expected"), [(Inherited, True), (OwnUpdate, False), (OwnActivations, True), (MinimalGatedUnit, False)]
)
def test_activations_of_another_update_do_not_count(cell, expected):
    assert declares_activations(cell(F, H)) == expected


@pytest.mark.parametrize("forget_gate", ["sigmoid", "exponential"])
@pytest.mark.parametrize("backend", ["eager", "kernel"])
def test_slstm_equals_the_formula_without_stabiliser(forget_gate, backend):
    cell = SLSTMCell(F, H, forget_gate).double()
    p, inputs = arrays(cell), random(B, T, F)
    outputs, (_, c_final, n_final, m_final) = RecurrentLayer(cell, backend=backend)(inputs)
    for row in range(B):
        h, c, n = np.zeros(H), np.zeros(H), np.zeros(H)
        weights = np.zeros((0, H))  # the weight of each step's input in c
        for t in range(T):
            i, f, z, o = (p["w"][g] @ inputs[row, t].numpy() + p["b"][g] + p["u"][g] @ h + p["d"][g] for g in range(4))
            f = sigmoid(f) if forget_gate == "sigmoid" else np.exp(f)
            c = f * c + np.exp(i) * np.tanh(z)
            n = f * n + np.exp(i)
            h = sigmoid(o) * c / n
            assert_close(outputs[row, t].detach(), torch.from_numpy(h))
            weights = np.concatenate((f * weights, np.exp(i)[None]))
        assert_close((c_final * m_final.exp())[row].detach(), torch.from_numpy(c))
        assert_close((n_final * m_final.exp())[row].detach(), torch.from_numpy(n))
        assert_close(m_final[row].detach(), torch.from_numpy(np.log(weights.max(0))))  # so no weight exceeds 1


def test_slstm_can_continue_from_zeros():
    cell = SLSTMCell(F, H).double()
    inputs = random(B, T, F)
    assert_close(unroll(cell, inputs, (torch.zeros(B, H).double(),) * 4)[0], unroll(cell, inputs)[0])


def test_peephole_lstm_without_peepholes_is_torchs():
    cell, reference = PeepholeLSTMCell(F, H).double(), nn.LSTM(F, H, batch_first=True).double()
    weights = {name.removesuffix("_l0"): value for name, value in reference.state_dict().items()}
    peepholes = {f"peephole_{gate}": torch.zeros(H) for gate in ("input", "forget", "output")}
    cell.load_state_dict({**weights, **peepholes})
    inputs = random(B, T, F)
    outputs, (_, cells) = unroll(cell, inputs)
    expected, (_, expected_cells) = reference(inputs)
    assert_close(outputs, expected)
    assert_close(cells, expected_cells[0])


def test_layer_norm_lstm_equals_torchs_layer_norm():
    cell = LayerNormLSTMCell(F, H)
    norms = nn.LayerNorm(4 * H), nn.LayerNorm(4 * H), nn.LayerNorm(H)
    x, h, c = torch.randn(B, F), torch.randn(B, H), torch.randn(B, H)
    i, f, g, o = (norms[0](x @ cell.weight_ih.T) + norms[1](h @ cell.weight_hh.T)).chunk(4, -1)
    c_next = f.sigmoid() * c + i.sigmoid() * g.tanh()
    torch.testing.assert_close(cell(x, (h, c))[1], (o.sigmoid() * norms[2](c_next).tanh(), c_next))


def test_indrnn_with_weight_1_adds_up_its_inputs():
    cell = IndRNNCell(1, 1).double()
    for parameter, value in ((cell.recurrent_weight, 1), (cell.weight_ih, 1), (cell.bias_ih, 0)):
        nn.init.constant_(parameter, value)
    inputs = random(B, T, 1).abs()
    assert_close(unroll(cell, inputs)[0], inputs.cumsum(1))


def test_min_gru_is_a_weighted_sum():
    cell = MinGRUCell(F, H).double()
    inputs = random(B, T, F)
    z, new = (inputs @ cell.weight_ih.T + cell.bias_ih).chunk(2, -1)
    keep = (1 - z.sigmoid()).cumprod(1)
    assert_close(unroll(cell, inputs)[0], keep * (z.sigmoid() * new / keep).cumsum(1))


def test_min_lstm_with_equal_gates_halves_the_state():
    cell = MinLSTMCell(F, H).double()
    with torch.no_grad():
        for parameter in (cell.weight_ih, cell.bias_ih):
            parameter[:H] = parameter[H : 2 * H]
    inputs = random(B, T, F)
    new = inputs @ cell.weight_ih[2 * H :].T + cell.bias_ih[2 * H :]
    halves = 0.5 ** torch.arange(T, 0, -1, dtype=torch.float64)
    assert_close(unroll(cell, inputs)[0][:, -1], torch.einsum("t,bth->bh", halves, new))


@every_gated_cell
@pytest.mark.parametrize("with_state", [False, True], ids=["initial", "state"])
@pytest.mark.parametrize("lengths", [None, torch.tensor([T, 1, 4])], ids=["full", "ragged"])
def test_kernel_equals_eager(make, with_state, lengths):
    cell = make(F, H).double()
    inputs = random(B, T, F).requires_grad_()
    _, reached = unroll(cell, random(B, 2, F))
    state = tuple(part.detach().requires_grad_() for part in reached) if with_state else None
    results = []
    for backend in ("eager", "kernel"):
        outputs, final = RecurrentLayer(cell, backend=backend)(inputs, lengths, state)
        torch.manual_seed(1)
        loss = sum((part * random(*part.shape)).sum() for part in (outputs, *final))
        results.append((outputs, final, torch.autograd.grad(loss, [inputs, *(state or ()), *cell.parameters()])))
    assert all(gradient.isfinite().all() for gradient in results[0][2])
    torch.testing.assert_close(results[1], results[0], rtol=1e-10, atol=1e-10)


@every_cell
def test_gradients_equal_finite_differences(make):
    layer = RecurrentLayer(make(F, 3)).double()  # with the kernel, if there is one
    inputs, state = random(2, 3, F).requires_grad_(), unroll(layer.cell, random(2, 2, F))[1]
    state = tuple(part.detach().requires_grad_() for part in state)
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def run(inputs, *others):
        state, weights = others[: -len(names)], others[-len(names) :]
        weights = dict(zip(names, weights, strict=True))
        outputs, final = torch.func.functional_call(layer, weights, (inputs, None, state or None))
        return outputs, *final

    assert torch.autograd.gradcheck(run, (inputs, *state, *parameters))
    assert torch.autograd.gradcheck(run, (inputs, *parameters))


# A kernel takes a second to build: only kernels with logarithms or exponentials in their derivatives are tested.
@pytest.mark.parametrize(
    ("name", "backend"),
    [
        *((name, "eager") for name in GATED),
        ("min-lstm", "kernel"),
        ("slstm", "kernel"),
        ("slstm-exponential", "kernel"),
    ],
)
def test_extreme_gates_in_float32(name, backend):
    make = GATED[name]
    cell = make(make(1, 1).num_gates * H, H)
    nn.init.eye_(cell.weight_ih)  # the inputs are the gates
    extremes = torch.tensor([-200.0, -100, -1, 0, 1, 100, 200])
    inputs = extremes[torch.randint(len(extremes), (64, 4, cell.input_size))]
    results = []
    for dtype in (torch.float32, torch.float64):
        cell = cell.to(dtype)
        given = inputs.to(dtype).requires_grad_()
        outputs, final = RecurrentLayer(cell, backend=backend if dtype == torch.float32 else "eager")(given)
        gradients = torch.autograd.grad(outputs.sum(), [given, *cell.parameters()])
        results.append([outputs, *final, *gradients])
    single = [part.double() for part in results[0]]
    torch.testing.assert_close(single, results[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cell_type", FORGETFUL)
def test_forget_bias_is_the_sum_of_both_biases(cell_type):
    def biases(**arguments):
        torch.manual_seed(0)
        cell = cell_type(F, H, **arguments)
        assert cell.gate_names.count("forget") == 1
        names = ("norm_ih.bias", "norm_hh.bias") if cell_type is LayerNormLSTMCell else ("bias_ih", "bias_hh")
        parts = [value.view(-1, H) for name, value in cell.state_dict().items() if name in names]
        return sum(parts), cell.gate_names.index("forget")

    drawn, gate = biases()
    filled, _ = biases(forget_bias=3)
    assert drawn[gate].abs().max() <= 2 * H**-0.5
    assert_close(filled[gate], torch.full((H,), 3.0))
    others = torch.arange(len(drawn)) != gate
    assert torch.equal(filled[others], drawn[others])


@pytest.mark.parametrize("options", [{}, {"forget_bias": "auto"}, {"forget_bias": None}], ids=str)
def test_bare_lstm_cell_is_drawn_as_torchs(options):
    torch.manual_seed(3)
    expected = nn.LSTMCell(F, H).state_dict()
    torch.manual_seed(3)
    drawn = LSTMCell(F, H, **options).state_dict()
    assert all(torch.equal(drawn[name], value) for name, value in expected.items())


def test_reset_parameters_keeps_the_forget_bias():
    cell = LSTMCell(F, H, forget_bias=2.0)
    before = cell.weight_hh.clone()
    cell.reset_parameters()
    assert not torch.equal(cell.weight_hh, before)
    assert_close((cell.bias_ih + cell.bias_hh)[H : 2 * H], torch.full((H,), 2.0))


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("cell_type", FORGETFUL)
@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (float("nan"), ValueError, "forget_bias must be finite, got nan"),
        ("big", TypeError, "forget_bias must be a number, got 'big'"),
    ],
)
def test_forget_bias_must_be_a_finite_number(cell_type, value, error, message):
    with pytest.raises(error, match=message):
        cell_type(F, H, forget_bias=value)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(ElmanCell, nonlinearity="sine"), "nonlinearity must be one of tanh, relu; got 'sine'"),
        (partial(IndRNNCell, nonlinearity="sine"), "nonlinearity must be one of relu, tanh; got 'sine'"),
        (partial(SLSTMCell, forget_gate="tanh"), "forget_gate must be one of sigmoid, exponential; got 'tanh'"),
        (partial(JANETCell, beta=float("inf")), "beta must be finite, got inf"),
    ],
)
def test_bad_choices_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(F, H)


def test_initial_recurrent_weights_of_indrnn_lie_in_0_to_1():
    weight = IndRNNCell(1, 1000).recurrent_weight
    assert weight.min() >= 0
    assert weight.max() <= 1
    assert abs(weight.mean() - 0.5) < 0.05


def test_initial_peepholes_lie_in_torchs_range():
    cell = PeepholeLSTMCell(1, 100)
    for peephole in (cell.peephole_input, cell.peephole_forget, cell.peephole_output):
        assert peephole.shape == (100,)
        assert 0.05 < peephole.abs().max() <= 0.1


@every_cell
def test_gates_have_names(make):
    cell = make(F, H)
    assert len(set(cell.gate_names)) == len(cell.gate_names) == len(cell.weight_ih) // H


def cell_class(**attributes):
    return type("SomeCell", (GatedCell,), {"update": ElmanCell.update, **attributes})


def test_number_of_gate_names_must_equal_num_gates():
    for names in (("one",), ("one", "one")):
        with pytest.raises(TypeError, match=r"SomeCell.gate_names must be a name for each of its 2 gates, got \('one'"):
            cell_class(num_gates=2, gate_names=names)(F, H)
    assert cell_class(num_gates=2)(F, H).gate_names == ()


def test_forget_bias_needs_a_forget_gate():
    with pytest.raises(TypeError, match=r"forget_bias needs a gate named 'forget' in gate_names, got \('one',\)"):
        cell_class(num_gates=1, gate_names=("one",), forget_bias=1.0)(F, H)
