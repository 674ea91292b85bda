from functools import partial

import pytest
import torch
from torch import nn

from seqlight import ElmanCell, GatedCell, GRUCell, LSTMCell, RecurrentCell, RecurrentLayer, unroll
from seqlight.kernels import build, library
from seqlight.recurrent import layer as layer_module
from seqlight.recurrent import torch_backend
from seqlight.recurrent.kernel_backend import KernelWarning
from tests.user_cells import MinimalGatedUnit

assert_close = partial(torch.testing.assert_close, rtol=1e-12, atol=1e-12)


class LeakyCell(GatedCell):
    num_gates = 1

    def __init__(self, input_size, hidden_size=32):
        super().__init__(input_size, hidden_size)
        self.decay = nn.Parameter(torch.rand(hidden_size))

    def update(self, input_gates, hidden_gates, state):
        return (self.decay * state[0] + torch.tanh(input_gates + hidden_gates),)


class RunningMean(RecurrentCell):
    """The mean of the inputs so far; its initial state is not 0."""

    def __init__(self, input_size):
        super().__init__(input_size, input_size)

    def initial_state(self, batch_size, *, device, dtype):
        zeros = torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype)
        return zeros, zeros + 1

    def forward(self, inputs, state):
        total, count = state[0] + inputs, state[1]
        return total / count, (total, count + 1)


class NoGates(GatedCell):
    def update(self, input_gates, hidden_gates, state):
        return state


class CoupledLSTM(LSTMCell):
    """An LSTM whose input gate is one minus its forget gate."""

    def update(self, input_gates, hidden_gates, state):
        _, f, g, o = (input_gates + hidden_gates).chunk(4, -1)
        keep = torch.sigmoid(f)
        cell = keep * state[1] + (1 - keep) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(cell), cell


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("cell_type", [ElmanCell, LSTMCell, GRUCell, MinimalGatedUnit, LeakyCell])
def test_weights_have_torchs_shapes_and_range(cell_type):
    cell = cell_type(3, 64)
    rows = 64 * cell.num_gates
    for weight, shape in [
        (cell.weight_ih, (rows, 3)),
        (cell.weight_hh, (rows, 64)),
        (cell.bias_ih, (rows,)),
        (cell.bias_hh, (rows,)),
    ]:
        assert weight.shape == shape
        assert weight.abs().max() <= 1 / 8
        assert weight.max() > 0.1
        assert weight.min() < -0.1


def test_minimal_gated_unit_equals_its_formula():
    cell = MinimalGatedUnit(3, 4).double()
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    outputs, (final,) = unroll(cell, x)
    w_f, w_n = cell.weight_ih.detach()[:4].numpy(), cell.weight_ih.detach()[4:].numpy()
    u_f, u_n = cell.weight_hh.detach()[:4].numpy(), cell.weight_hh.detach()[4:].numpy()
    b_f, b_n = cell.bias_ih.detach()[:4].numpy(), cell.bias_ih.detach()[4:].numpy()
    c_f, c_n = cell.bias_hh.detach()[:4].numpy(), cell.bias_hh.detach()[4:].numpy()
    for row in range(2):
        h = torch.zeros(4, dtype=torch.float64).numpy()
        for t in range(6):
            x_t = x[row, t].numpy()
            f = 0.5 * (1 + torch.tensor((w_f @ x_t + b_f + u_f @ h + c_f) / 2).tanh().numpy())
            n = torch.tensor(w_n @ x_t + b_n + f * (u_n @ h + c_n)).tanh().numpy()
            h = h + f * (n - h)
            assert_close(outputs[row, t].detach(), torch.from_numpy(h))
        assert_close(final[row].detach(), torch.from_numpy(h))


@pytest.mark.parametrize(
    "make",
    [ElmanCell, partial(ElmanCell, nonlinearity="relu"), LSTMCell, GRUCell, MinimalGatedUnit, LeakyCell, CoupledLSTM],
)
def test_gradients_equal_finite_differences(make):
    cell = make(2, hidden_size=3).double()
    inputs = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    parameters = dict(cell.named_parameters())

    def outputs(inputs, *weights):
        def forward(step, state):
            return torch.func.functional_call(cell, dict(zip(parameters, weights, strict=True)), (step, state))

        state = cell.initial_state(2, device=inputs.device, dtype=inputs.dtype)
        results = []
        for step in inputs.unbind(1):
            output, state = forward(step, state)
            results.append(output)
        return torch.stack(results)

    assert torch.autograd.gradcheck(outputs, (inputs, *parameters.values()))


@pytest.mark.parametrize("reverse", [False, True])
def test_general_cell_with_two_states_runs_over_ragged_sequences(reverse):
    inputs = torch.randn(3, 5, 2, dtype=torch.float64)
    lengths = torch.tensor([5, 1, 3])
    outputs, (total, count) = RecurrentLayer(RunningMean(2), reverse=reverse)(inputs, lengths)
    assert outputs.dtype == torch.float64
    for row, length in enumerate(lengths.tolist()):
        for t in range(length):
            seen = inputs[row, t:length] if reverse else inputs[row, : t + 1]
            assert_close(outputs[row, t], seen.mean(0))
        assert_close(total[row], inputs[row, :length].sum(0))
        assert (count[row] == 1 + length).all()


def test_own_parameters_of_a_cell_get_gradients():
    cell = LeakyCell(3, 4).double()
    outputs, _ = unroll(cell, torch.randn(2, 5, 3, dtype=torch.float64))
    outputs.sum().backward()
    assert cell.decay.grad.abs().min() > 0


def test_gated_cell_must_set_num_gates():
    with pytest.raises(TypeError, match="NoGates must set num_gates"):
        NoGates(3, 4)


def implementations_used(layer, inputs, monkeypatch):
    """The names of the implementations that a layer's call used."""
    seen = []
    for module, name, label in (
        (layer._kernels, "run", "kernel"),
        (torch_backend, "run", "torch"),
        (layer_module, "unroll_projected", "eager"),
        (layer_module, "unroll", "eager"),
    ):
        original = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *args, label=label, original=original: seen.append(label) or original(*args)
        )
    layer(inputs)
    return seen


@pytest.mark.parametrize(
    ("cell", "expected"),
    [(ElmanCell(2), "kernel"), (LSTMCell(2), "kernel"), (GRUCell(2), "kernel"), (MinimalGatedUnit(2), "kernel"),
     (CoupledLSTM(2), "kernel"), (RunningMean(2), "eager")],
)  # fmt: skip
def test_auto_uses_a_kernel_if_one_supports_the_cell(cell, expected, monkeypatch):
    assert implementations_used(RecurrentLayer(cell), torch.randn(3, 4, 2), monkeypatch) == [expected]


@pytest.mark.parametrize(
    ("cell", "expected"), [(LSTMCell(2), "torch"), (GRUCell(2), "torch"), (MinimalGatedUnit(2), "eager")]
)
def test_without_a_compiler_auto_falls_back_and_warns_once(cell, expected, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    for cached in (build.load, library.library_of):
        cached.cache_clear()  # other tests have built kernels
    layer = RecurrentLayer(cell.to(torch.float64))
    inputs = torch.randn(3, 4, 2, dtype=torch.float64)
    with pytest.warns(KernelWarning, match=f"{type(cell).__name__} runs without a kernel.*no-such-compiler") as warned:
        assert implementations_used(layer, torch.cat((inputs, inputs)), monkeypatch) == [expected]
    assert len(warned) == 1
    layer(inputs)  # a second warning would be an error


def test_subclass_of_a_torch_cell_runs_its_own_update():
    cell = CoupledLSTM(3, 4).double()
    inputs = torch.randn(2, 5, 3, dtype=torch.float64)
    outputs, state = RecurrentLayer(cell)(inputs)
    expected = cell.initial_state(2, device=inputs.device, dtype=inputs.dtype)
    for t in range(5):
        gates = inputs[:, t] @ cell.weight_ih.T + cell.bias_ih, expected[0] @ cell.weight_hh.T + cell.bias_hh
        expected = cell.update(*gates, expected)
        assert_close(outputs[:, t], expected[0])
    assert_close(state, expected)


@pytest.mark.parametrize("cell", [CoupledLSTM(3), MinimalGatedUnit(3), RunningMean(3)])
def test_torch_backend_refuses_other_cells(cell):
    with pytest.raises(ValueError, match=f"serves ElmanCell, LSTMCell and GRUCell, not {type(cell).__name__}"):
        RecurrentLayer(cell, backend="torch")


@pytest.mark.parametrize("cell_type", [ElmanCell, LSTMCell, GRUCell, MinimalGatedUnit])
@pytest.mark.parametrize("name", ["input_size", "hidden_size"])
def test_sizes_must_be_positive(cell_type, name):
    sizes = {"input_size": 3, "hidden_size": 4, name: 0}
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        cell_type(**sizes)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("value", [2.5, 4.0, "8", None])
@pytest.mark.parametrize("name", ["input_size", "hidden_size"])
def test_sizes_must_be_integers(name, value):
    sizes = {"input_size": 3, "hidden_size": 4, name: value}
    with pytest.raises(TypeError, match=f"{name} must be an integer, got {value!r}"):
        GRUCell(**sizes)


class OneGateCell(GatedCell):
    num_gates = 1

    def __init__(self, result, input_size=2, hidden_size=4):
        super().__init__(input_size, hidden_size)
        self.result = result

    def update(self, input_gates, hidden_gates, state):
        return self.result(torch.tanh(input_gates + hidden_gates))


@pytest.mark.parametrize("backend", ["auto", "eager", "kernel"])
@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (
            lambda new: new,
            TypeError,
            r"must be a tuple of 1 tensors of shape \(B, H\).*got a tensor of shape",
        ),
        (lambda new: (new, new), ValueError, r"a tuple of 1 .*got a tuple of 2: .*\(3, 4\), .*\(3, 4\)"),
        (lambda new: (new[:, :2],), ValueError, r"a tensor of shape \(3, 2\) for \(B, H\) = \(3, 4\)"),
        (lambda new: (new - new.mean(0),), ValueError, "mixes the sequences of a batch"),
    ],
    ids=["no-tuple", "two-states", "shape", "batch-mean"],
)
@pytest.mark.usefixtures("without_type_checks")
def test_error_names_the_cell_that_breaks_the_contract(backend, result, error, message):
    layer = RecurrentLayer(OneGateCell(result), backend=backend)
    with pytest.raises(error, match=f"OneGateCell.*{message}"):
        layer(torch.randn(3, 5, 2))


class StatesMixed(GatedCell):
    num_gates = 1

    def update(self, input_gates, hidden_gates, state):
        return (torch.tanh(input_gates + hidden_gates.mean(0)),)


def test_error_names_the_cell_that_mixes_states_of_a_batch():
    with pytest.raises(ValueError, match="StatesMixed mixes the sequences of a batch"):
        RecurrentLayer(StatesMixed(2, 4))(torch.randn(3, 5, 2))


def test_state_names_must_be_a_tuple():
    class OneName(MinimalGatedUnit):
        state_names = "hidden"

    with pytest.raises(TypeError, match="OneName must set state_names to a tuple, got 'hidden'"):
        RecurrentLayer(OneName(2, 4))(torch.randn(3, 5, 2))


def test_check_of_a_cell_restores_random_state_and_buffers():
    class Counting(RecurrentCell):
        def __init__(self):
            super().__init__(2, 4)
            self.register_buffer("steps", torch.zeros(()))
            self.weight = nn.Parameter(torch.randn(2, 4))

        def initial_state(self, batch_size, *, device, dtype):
            return (torch.zeros(batch_size, 4, device=device, dtype=dtype),)

        def forward(self, inputs, state):
            self.steps += 1
            output = torch.dropout(inputs @ self.weight, 0.5, True)
            return output, (output,)

    layer = RecurrentLayer(Counting())
    torch.manual_seed(0)
    outputs, _ = layer(torch.ones(3, 5, 2))
    assert layer.cell.steps == 5
    torch.manual_seed(0)
    again, _ = layer(torch.ones(3, 5, 2))
    assert torch.equal(outputs, again)


def test_check_of_a_cell_does_not_touch_other_devices(monkeypatch):
    for name in ("manual_seed", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, lambda seed: pytest.fail("the check seeds the GPU"))
    RecurrentLayer(MinimalGatedUnit(2, 4))(torch.randn(3, 5, 2))
