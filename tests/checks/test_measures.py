"""Measurements of a cell."""

import re
from functools import partial

import pytest
import torch

from seqlight import ElmanCell, GRUCell, LSTMCell, RecurrentCell
from seqlight.checks import case, measures
from tests.checks.broken_cells import PlainCell


class Leak(RecurrentCell):
    """h_t = 0.9 h_(t-1) + x_t"""

    def initial_state(self, batch_size, *, device, dtype):
        return (torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype),)

    def forward(self, inputs, state):
        new = 0.9 * state[0] + inputs
        return new, (new,)


def test_gradient_by_lag_of_a_leaky_sum():
    subject = case.Subject(partial(Leak, hidden_size=4), 4)
    found = measures.gradient_by_lag(subject, case.Case(2, 101))
    # The Jacobian is 0.9^k times the 4 x 4 identity matrix, whose norm is 2.
    assert found == ", ".join(f"{2 * 0.9**lag:.2g} at {lag}" for lag in (1, 10, 100))


@pytest.mark.parametrize(
    ("cell", "others"), [(ElmanCell, "nn.RNN"), (LSTMCell, "nn.LSTM"), (GRUCell, "nn.GRU"), (PlainCell, "nn.GRU")]
)
def test_time_per_step_of_loop_kernel_and_nearest_torch_layer(cell, others):
    num_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = measures.time_per_step(case.Subject(cell, 3), case.Case(2, 3, torch.float32))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(num_threads)
    kernel = "" if cell is PlainCell else r"kernel [\d.]+ of that, "
    assert re.fullmatch(rf"eager \d+ us, {kernel}{re.escape(others)} [\d.]+ of that", found)
