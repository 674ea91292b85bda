"""Checks of one step of a cell."""

from typing import Any

import torch
from torch import Tensor

from seqlight.cells.cell import GatedCell, RecurrentCell
from seqlight.cells.state import State, check_state, describe_value
from seqlight.common.random_state import random_state_kept


def check_one_step(cell: RecurrentCell, *, device: torch.device, dtype: torch.dtype) -> None:
    """Check two steps with a batch of 3 against the contract of `RecurrentCell`.

    The second step finds a cell that mixes sequences through its state, which is often zero before the first step.
    The random state and the cell's buffers are restored.

    Raises:
        TypeError: if a step does not return an output and a tuple with the same number of states.
        ValueError: if a shape is wrong, or one sequence changes the results of the others.
    """
    buffers = [(buffer, buffer.clone()) for buffer in cell.buffers()]
    noise = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, cell.input_size, generator=noise, device="cpu").to(device, dtype)
    change = torch.randn(cell.input_size, generator=noise, device="cpu").to(device, dtype)
    results = []
    # The random state of other devices is not read, because that would initialise them.
    with torch.no_grad(), random_state_kept(device):
        for rows in (inputs, torch.cat((inputs[:1] + change, inputs[1:]))):
            _seed(device)
            state = cell.initial_state(3, device=device, dtype=dtype)
            check_state(cell, "initial_state()", state, 3)
            steps: list[Tensor] = []
            for _ in range(2):
                output, state = check_step(cell, cell(rows, state), len(state), 3)
                steps += (output, *state)
            results.append(steps)
    for buffer, value in buffers:
        buffer.data.copy_(value)
    for first, second in zip(*results, strict=True):
        if not torch.allclose(first[1:], second[1:], rtol=1e-3, atol=1e-5, equal_nan=True):
            raise ValueError(
                f"{type(cell).__name__} mixes the sequences of a batch: a change in the input of the first sequence "
                "changes the results of the others; expected each to depend only on its own input and state"
            )


def _seed(device: torch.device) -> None:
    """Seed the CPU and this device only, since torch.manual_seed would change other devices too."""
    torch.default_generator.manual_seed(0)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(0)
    elif device.type != "cpu":
        torch.get_device_module(device).manual_seed(0)


def check_step(cell: RecurrentCell, result: Any, num_states: int, batch_size: int) -> tuple[Tensor, State]:
    """Check the result of a step, and return its output and next state.

    Raises:
        TypeError, ValueError: with the cell, the value and what was expected.
    """
    name = type(cell).__name__
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Tensor)):
        raise TypeError(f"{name}.forward() must return (output, next_state), got {describe_value(result)}")
    output, state = result
    source = "update()" if isinstance(cell, GatedCell) else "forward()'s next state"
    check_state(cell, source, state, batch_size, num_states)
    shape = (batch_size, cell.hidden_size)
    if output.shape != shape:
        raise ValueError(
            f"{name}.forward() must return an output of shape (B, H) = {shape}, got {describe_value(output)}"
        )
    return output, state


def check_given_state(cell: RecurrentCell, state: Any, batch_size: int) -> None:
    """Check a state that a caller passes in.

    Raises:
        TypeError, ValueError: with the cell, the value and what was expected.
    """
    count = len(cell.state_names) if isinstance(cell, GatedCell) else None
    check_state(cell, "the state before the first step", state, batch_size, count)


def check_next_state(cell: GatedCell, state: Any, batch_size: int) -> None:
    """Check the state that `update` returned.

    Raises:
        TypeError, ValueError: with the cell, the value and what was expected.
    """
    check_state(cell, "update()", state, batch_size, len(cell.state_names))
