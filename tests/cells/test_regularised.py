"""Recurrent dropout and zoneout, against their formulas, with every backend."""

import copy
import pickle
from functools import partial

import pytest
import torch

from seqlight import (
    ElmanCell,
    GRUCell,
    IndRNNCell,
    LayerNormLSTMCell,
    LSTMCell,
    RecurrentLayer,
    RecurrentStack,
    SLSTMCell,
    unroll,
)
from seqlight.cells.regularised import RegularisedCell

assert_close = partial(torch.testing.assert_close, rtol=1e-12, atol=1e-12)
both = pytest.mark.parametrize("backend", ["eager", "kernel"])


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


def made(cell, **noise):
    return RegularisedCell(cell(3, 6), **noise).double()


@both
@pytest.mark.parametrize("cell", [ElmanCell, LSTMCell, GRUCell])
def test_one_dropout_mask_per_sequence_multiplies_the_hidden_state(cell, backend):
    noisy = made(cell, recurrent_dropout=0.4)
    inputs = torch.randn(50, 7, 3, dtype=torch.float64)
    outputs, final = RecurrentLayer(noisy, backend=backend)(inputs)
    mask = final[-1]
    assert set(mask.unique().tolist()) == {0.0, 1 / 0.6}
    assert abs((mask == 0).double().mean().item() - 0.4) < 4 * (0.4 * 0.6 / mask.numel()) ** 0.5
    assert not torch.equal(mask[0], mask[1])
    # The reference is the plain cell's update with h dropped only in the product with W_hh.
    plain = noisy.cell
    state = plain.initial_state(50, device=inputs.device, dtype=inputs.dtype)
    for t in range(7):
        by_input = inputs[:, t] @ plain.weight_ih.T + plain.bias_ih
        by_hidden = (mask * state[0]) @ plain.weight_hh.T + plain.bias_hh
        state = plain.update(by_input, by_hidden, state)
        assert_close(outputs[:, t], state[0])
    assert_close(final[1:-1], state)


@both
@pytest.mark.parametrize("cell", [LSTMCell, GRUCell, IndRNNCell])
def test_zoneout_keeps_each_state_with_the_given_probability(cell, backend):
    noisy = made(cell, zoneout=0.3)
    layer = RecurrentLayer(noisy, backend=backend)
    inputs = torch.randn(200, 1, 3, dtype=torch.float64)
    before = tuple(torch.randn(200, 6, dtype=torch.float64) for _ in noisy.state_names)
    _, after = layer(inputs, None, before)
    _, new = unroll(noisy.cell, inputs, before)
    for kept, old, fresh in zip(after, before, new, strict=True):
        assert ((kept == old) | torch.isclose(kept, fresh, rtol=1e-12)).all()
        share = (kept == old).double().mean().item()
        assert abs(share - 0.3) < 4 * (0.3 * 0.7 / old.numel()) ** 0.5
    if len(after) == 2:  # each state has a mask of its own
        assert ((after[0] == before[0]) != (after[1] == before[1])).any()


@both
def test_evaluation_uses_the_mean_of_zoneout_and_no_dropout(backend):
    noisy = made(GRUCell, zoneout=0.3, recurrent_dropout=0.5).eval()
    inputs = torch.randn(4, 5, 3, dtype=torch.float64)
    outputs, final = RecurrentLayer(noisy, backend=backend)(inputs)
    state = (torch.zeros(4, 6, dtype=torch.float64),)
    for t in range(5):
        _, [new] = noisy.cell(inputs[:, t], state)
        state = (0.3 * state[0] + 0.7 * new,)
        assert_close(outputs[:, t], state[0])
    assert (final[-1] == 1).all()
    assert_close(final[0], final[1])


@pytest.mark.parametrize("ragged", [False, True])
def test_kernel_and_loop_give_the_same_results(ragged):
    noisy = made(LSTMCell, zoneout=0.2, recurrent_dropout=0.3)
    lengths = torch.tensor([7, 2, 5, 1]) if ragged else None
    found = []
    for backend in ("eager", "kernel"):
        torch.manual_seed(1)
        inputs = torch.randn(4, 7, 3, dtype=torch.float64, requires_grad=True)
        outputs, final = RecurrentLayer(noisy, backend=backend)(inputs, lengths)
        weights = torch.linspace(0, 1, outputs.numel(), dtype=torch.float64).view(outputs.shape)
        gradients = torch.autograd.grad((outputs * weights).sum(), [inputs, *noisy.parameters()])
        found.append((outputs, final, *gradients))
    if ragged:  # packed rows draw the zoneout masks in another order, so only the dropout masks are equal
        assert_close(found[0][1][-1], found[1][1][-1])
    else:
        # The zoneout masks have the layout of the inputs, the same in both.
        assert_close(found[0], found[1])


@both
def test_chunks_of_a_sequence_keep_its_dropout_mask(backend):
    layer = RecurrentLayer(made(LSTMCell, recurrent_dropout=0.5), backend=backend)
    inputs = torch.randn(3, 8, 3, dtype=torch.float64)
    first, state = layer(inputs[:, :3])
    second, _ = layer(inputs[:, 3:], state=state)
    again = tuple(part.clone() for part in state)
    plain = layer.cell.cell.initial_state(3, device=inputs.device, dtype=inputs.dtype)
    whole, _ = layer(inputs, None, (plain[0], *plain, again[-1]))
    assert_close(torch.cat((first, second), 1), whole)


@both
def test_without_noise_the_result_is_the_cells(backend):
    noisy = made(LSTMCell)
    inputs = torch.randn(3, 8, 3, dtype=torch.float64)
    assert_close(RecurrentLayer(noisy, backend=backend)(inputs), unroll(noisy.cell, inputs))


@pytest.mark.parametrize("noise", [{"zoneout": 0.1}, {"recurrent_dropout": 0.1}])
def test_checkpoint_loads_with_and_without_noise(noise):
    plain = RecurrentStack(partial(LSTMCell, hidden_size=6), 3, num_layers=2)
    noisy = RecurrentStack(partial(LSTMCell, hidden_size=6), 3, num_layers=2, **noise)
    assert list(noisy.state_dict()) == list(plain.state_dict())
    noisy.load_state_dict(plain.state_dict())
    plain.load_state_dict(pickle.loads(pickle.dumps(noisy)).state_dict())
    inputs = torch.randn(3, 8, 3)
    assert_close(copy.deepcopy(noisy).eval()(inputs)[0][:, 0] != 0, plain.eval()(inputs)[0][:, 0] != 0)
    for parameter, other in zip(noisy.parameters(), plain.parameters(), strict=True):
        assert torch.equal(parameter, other)


@pytest.mark.parametrize(
    ("cell", "noise", "error", "message"),
    [
        (LayerNormLSTMCell, {"zoneout": 0.1}, TypeError, "need a GatedCell, got LayerNormLSTMCell"),
        (IndRNNCell, {"recurrent_dropout": 0.1}, ValueError, "needs a cell with W_hh, got IndRNNCell"),
        (SLSTMCell, {"zoneout": 0.1}, ValueError, "zoneout does not support SLSTMCell: .* can't be averaged"),
        (GRUCell, {"zoneout": 1.0}, ValueError, "zoneout must be at least 0 and less than 1, got 1.0"),
        (GRUCell, {"recurrent_dropout": -0.5}, ValueError, "recurrent_dropout must be at least 0"),
    ],
)
def test_unsupported_cells_and_probabilities_are_refused(cell, noise, error, message):
    with pytest.raises(error, match=message):
        RegularisedCell(cell(3, 6), **noise)


class Doubled(GRUCell):
    def step(self, input_gates, state):
        output, state = super().step(input_gates, state)
        return 2 * output, state


class DoubledInForward(GRUCell):
    def forward(self, inputs, state):
        output, state = super().forward(inputs, state)
        return 2 * output, state


CHANGES = {
    "step": lambda cell: setattr(cell, "step", cell.step),
    "forward": lambda cell: setattr(cell, "forward", cell.forward),
    "hook": lambda cell: cell.register_forward_hook(lambda *_: None),
    "pruning": lambda cell: torch.nn.utils.prune.random_unstructured(cell, "weight_hh", 0.5),
}


@pytest.mark.filterwarnings("ignore:GRUCell runs without a kernel")
@pytest.mark.parametrize("noise", [{"zoneout": 0.1}, {"recurrent_dropout": 0.1}], ids=lambda noise: next(iter(noise)))
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("change", [Doubled, DoubledInForward, *CHANGES.values()])
def test_a_step_of_the_cells_own_is_never_dropped(change, when, noise):
    if isinstance(change, type):
        with pytest.raises(TypeError, match=f"{change.__name__} has its own step"):
            RegularisedCell(change(3, 6), **noise)
        return
    cell = GRUCell(3, 6)
    if when == "before":
        change(cell)
        with pytest.raises(TypeError, match="GRUCell has its own step"):
            RegularisedCell(cell, **noise)
        return
    for backend in ("auto", "eager"):
        cell = GRUCell(3, 6)
        layer = RecurrentLayer(RegularisedCell(cell, **noise), backend=backend)
        layer(torch.randn(2, 4, 3))
        change(cell)
        with pytest.raises(TypeError, match="GRUCell has its own step"):
            layer(torch.randn(2, 4, 3))
