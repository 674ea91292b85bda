"""What one step of a cell must keep to; checked when a layer first uses it."""

from typing import Any

import torch
from torch import Tensor

from seqlight.cells.cell import GatedCell, RecurrentCell
from seqlight.cells.state import State, check_state, describe_value


def check_one_step(cell: RecurrentCell, *, device: torch.device, dtype: torch.dtype) -> None:
    """Run a step of a batch of 3, and another, and see whether the results are what the contract says.

    The second step shows what mixes the sequences through a state that begins as zeros. Random numbers that
    the cell draws and buffers that it changes are set back.

    Raises:
        TypeError: if the step does not give an output and a tuple of as many states as there were.
        ValueError: if a shape is wrong, or one sequence changes the results of the others.
    """
    buffers = [(buffer, buffer.clone()) for buffer in cell.buffers()]
    noise = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, cell.input_size, generator=noise).to(device, dtype)
    change = torch.randn(cell.input_size, generator=noise).to(device, dtype)
    results = []
    # Only this device's random state: reading the others' would start them.
    devices = [device] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices):
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
                f"{type(cell).__name__} mixes the sequences of a batch: another input for the first "
                "changes the results of the others; expected each to depend on its own input and state"
            )


def _seed(device: torch.device) -> None:
    """Seed what a cell may draw from; torch.manual_seed would seed other devices too, and nothing sets those back."""
    torch.default_generator.manual_seed(0)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(0)
    elif device.type != "cpu":
        torch.get_device_module(device).manual_seed(0)


def check_step(cell: RecurrentCell, result: Any, num_states: int, batch_size: int) -> tuple[Tensor, State]:
    """The output and next state that a step gave, if they are that.

    Raises:
        TypeError, ValueError: naming the cell, what came and what was expected.
    """
    name = type(cell).__name__
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Tensor)):
        raise TypeError(f"{name}.forward() must return (output, next_state), got {describe_value(result)}")
    output, state = result
    of_what = "update()" if isinstance(cell, GatedCell) else "forward()'s next state"
    check_state(cell, of_what, state, batch_size, num_states)
    shape = (batch_size, cell.hidden_size)
    if output.shape != shape:
        raise ValueError(
            f"{name}.forward() must return an output of shape (B, H) = {shape}, got {describe_value(output)}"
        )
    return output, state


def check_given_state(cell: RecurrentCell, state: Any, batch_size: int) -> None:
    """Whether a state that a caller gives is one of this cell.

    Raises:
        TypeError, ValueError: naming the cell, what came and what was expected.
    """
    count = len(cell.state_names) if isinstance(cell, GatedCell) else None
    check_state(cell, "the state before the first step", state, batch_size, count)


def check_next_state(cell: GatedCell, state: Any, batch_size: int) -> None:
    """Whether what `update` returned is a state.

    Raises:
        TypeError, ValueError: naming the cell, what came and what was expected.
    """
    check_state(cell, "update()", state, batch_size, len(cell.state_names))
