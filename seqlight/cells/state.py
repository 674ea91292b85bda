"""The state of a cell."""

from typing import Any

from torch import Tensor

State = tuple[Tensor, ...]


def check_state(cell: Any, of_what: str, state: Any, batch_size: int, count: int | None = None) -> None:
    """Whether `state` is a tuple of tensors (B, H), as many as `count` if that is given.

    Raises:
        TypeError, ValueError: naming the cell, what came and what was expected.
    """
    shape = (batch_size, cell.hidden_size)
    names = getattr(cell, "state_names", None)
    if isinstance(names, str):
        raise TypeError(f"{type(cell).__name__} must set state_names to a tuple, got {names!r}")
    expected = f"a tuple of {count or 'one or more'} tensors of shape (B, H)" + (f" for {names}" if names else "")
    problem = f"{type(cell).__name__}: {of_what} must be {expected}, got {describe_value(state)}"
    if not isinstance(state, tuple) or not state or not all(isinstance(part, Tensor) for part in state):
        raise TypeError(problem)
    if count is not None and len(state) != count:
        raise ValueError(problem)
    if any(part.shape != shape for part in state):
        raise ValueError(f"{problem} for (B, H) = {shape}")


def describe_value(value: Any) -> str:
    """What a step returned, for a message: shapes of tensors, and not their values."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}: " + ", ".join(describe_value(part) for part in value)
    return repr(value)[:80]
