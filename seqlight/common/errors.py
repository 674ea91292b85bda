"""Errors that several packages raise."""

import contextlib
from collections.abc import Iterator


class CheckpointError(Exception):
    """A file that is no checkpoint of seqlight, or one that names a class that can't be used here."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint that is not as it was written."""


class WriteError(OSError):
    """A result that can't be written; what was there before is as it was."""


@contextlib.contextmanager
def state_of_checkpoint() -> Iterator[None]:
    """Where the state of a training is taken from a checkpoint.

    Raises:
        CheckpointError: if it is of another form.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise CheckpointError(f"training can't continue from the checkpoint: {reason}") from error
