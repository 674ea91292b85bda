"""Errors that several packages raise."""

import contextlib
from collections.abc import Iterator


class CheckpointError(Exception):
    """A file that is not a checkpoint of seqlight, or a checkpoint that can't be used here."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint file that has changed since it was written."""


class WriteError(OSError):
    """A result that can't be written; an earlier file in its place is unchanged."""


@contextlib.contextmanager
def state_of_checkpoint() -> Iterator[None]:
    """Turn errors about the state of training in a checkpoint into a CheckpointError.

    Raises:
        CheckpointError: if the state does not have the expected form.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise CheckpointError(f"training can't continue from the checkpoint: {reason}") from error
