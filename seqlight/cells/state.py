"""The state of a cell, and its check."""

from typing import Any

from torch import Tensor

State = tuple[Tensor, ...]


def check_state(cell: Any, source: str, state: Any, batch_size: int, count: int | None = None) -> None:
    """Check that `state` is a tuple of tensors (B, H), exactly `count` of them if that is given.

    Args:
        cell: the cell, for its size and the names of its states.
        source: where `state` comes from, for the message.
        state: the value to check.
        batch_size: B.
        count: the number of states; any number from 1 if None.

    Raises:
        TypeError, ValueError: with the cell, the value and what was expected.
    """
    names = getattr(cell, "state_names", ())
    if isinstance(names, str):
        raise TypeError(f"{type(cell).__name__} must set state_names to a tuple, got {names!r}")
    check_tensors(cell, source, state, batch_size, count, names)


def check_tensors(
    cell: Any, source: str, tensors: Any, batch_size: int, count: int | None, names: tuple[str, ...]
) -> None:
    """Check a tuple of tensors (B, H), like `check_state`, with these names in the message.

    Raises:
        TypeError, ValueError: with the cell, the value and what was expected.
    """
    shape = (batch_size, cell.hidden_size)
    expected = f"a tuple of {count or 'one or more'} tensors of shape (B, H)" + (f" for {names}" if names else "")
    problem = f"{type(cell).__name__}: {source} must be {expected}, got {describe_value(tensors)}"
    if not isinstance(tensors, tuple) or not tensors or not all(isinstance(part, Tensor) for part in tensors):
        raise TypeError(problem)
    if count is not None and len(tensors) != count:
        raise ValueError(problem)
    if any(part.shape != shape for part in tensors):
        raise ValueError(f"{problem} for (B, H) = {shape}")


def describe_value(value: Any) -> str:
    """Describe a returned value for a message: a tensor by its shape, not by its values."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}: " + ", ".join(describe_value(part) for part in value)
    return repr(value)[:80]
