"""One layer: splitting in time, inputs, states and arguments."""

import pytest
import torch

from seqlight import GRUCell, LSTMCell, RecurrentLayer, RecurrentStack
from tests.recurrent.cases import BACKENDS, B, F, H, T, assert_close, every_cell_and_backend, random


@every_cell_and_backend
def test_time_can_be_split(cell, backend):
    layer = RecurrentLayer(cell(F), backend=backend).double()
    inputs = random(B, T, F)
    outputs, final = layer(inputs)
    first, state = layer(inputs[:, :2])
    second, last = layer(inputs[:, 2:], state=state)
    assert_close(torch.cat((first, second), 1), outputs)
    assert_close(last, final)


@pytest.mark.parametrize("backend", BACKENDS)
def test_inputs_must_have_a_time_step(backend):
    with pytest.raises(ValueError, match="at least 1 time step, got 0"):
        RecurrentStack(GRUCell, F, backend=backend)(torch.zeros(B, 0, F))


@pytest.mark.parametrize("backend", BACKENDS)
def test_inputs_must_have_the_cells_features(backend):
    with pytest.raises(ValueError, match=f"inputs must have {F} features, got {F + 1}"):
        RecurrentStack(GRUCell, F, backend=backend)(torch.zeros(B, T, F + 1))


@pytest.mark.usefixtures("without_type_checks")
def test_backend_must_be_known():
    with pytest.raises(ValueError, match="backend must be one of auto, eager, torch, kernel; got 'fast'"):
        RecurrentLayer(GRUCell(F), backend="fast")


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("state", ["rows", "width", "count", "no-tuple"])
def test_given_state_must_fit(backend, state):
    zeros = torch.zeros(B, H)
    wrong = {
        "rows": (zeros[:1], zeros[:1]),
        "width": (zeros[:, :2], zeros[:, :2]),
        "count": (zeros,),
        "no-tuple": [zeros, zeros],
    }[state]
    with pytest.raises(
        (TypeError, ValueError), match=r"LSTMCell: the state before the first step must be a tuple of 2"
    ):
        RecurrentLayer(LSTMCell(F, H), backend=backend)(torch.zeros(B, T, F), None, wrong)
