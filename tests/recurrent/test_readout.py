"""Readouts against a loop in Python, and against the final states."""

import pytest
import torch

from seqlight.recurrent.lengths import CheckedLengths, check_lengths
from seqlight.recurrent.readout import read_out
from tests.recurrent.cases import (
    BACKENDS,
    CELLS,
    RAGGED,
    B,
    F,
    T,
    assert_close,
    one_or_both_directions,
    random,
    shared_stack,
)


def loop_readout(readout, outputs, length, num_directions):
    """The readout of one sequence, from its true steps."""
    if readout == "last_mean_max":
        return [value for part in readout.split("_") for value in loop_readout(part, outputs, length, num_directions)]
    width = len(outputs[0]) // num_directions
    if readout == "last":
        return [*outputs[length - 1][:width], *(outputs[0][width:] if num_directions == 2 else [])]
    columns = list(zip(*outputs[:length], strict=True))
    return [max(column) if readout == "max" else sum(column) / length for column in columns]


@pytest.mark.parametrize("readout", ["last", "mean", "max", "last_mean_max"])
@pytest.mark.parametrize("lengths", [None, torch.full((B,), T), RAGGED], ids=["none", "full", "ragged"])
@one_or_both_directions
def test_readout_equals_a_loop(readout, lengths, bidirectional):
    stack = shared_stack(CELLS["gru"], num_layers=1, bidirectional=bidirectional, backend="auto")
    outputs, _ = stack(random(B, T, F), lengths)
    # All outputs are negative, so a 0 of the padding would be the maximum.
    outputs = torch.where(outputs != 0, -outputs.abs(), 0).detach()
    found = read_out(readout, outputs, check_lengths(lengths, outputs), stack.num_directions)
    true_lengths = [T] * B if lengths is None else lengths.tolist()
    expected = [
        loop_readout(readout, row, length, stack.num_directions)
        for row, length in zip(outputs.tolist(), true_lengths, strict=True)
    ]
    assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("backend", BACKENDS)
@one_or_both_directions
def test_last_readout_equals_the_final_states(backend, bidirectional):
    stack = shared_stack(CELLS["lstm"], bidirectional=bidirectional, backend=backend)
    outputs, final = stack(random(B, T, F), RAGGED)
    hidden = torch.cat([state[0] for state in final[-stack.num_directions :]], -1)
    assert_close(read_out("last", outputs, CheckedLengths(RAGGED, T), stack.num_directions), hidden)
    assert_close(stack.last_outputs(final), hidden)
