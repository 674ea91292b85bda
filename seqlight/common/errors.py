"""Errors that several packages raise."""

import contextlib
from collections.abc import Iterator

from seqlight.common.text import one_line


class ShownError(Exception):
    """Base class of errors whose messages contain text from files or paths.

    Args:
        lines: the lines of the message. In each, control characters are shown as escapes.
    """

    def __str__(self) -> str:
        return "\n".join(one_line(line) for line in self.args if line)


class CheckpointError(ShownError):
    """A file that is not a checkpoint of seqlight, or a checkpoint that can't be used here."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint file that has changed since it was written."""


class WriteError(ShownError, OSError):
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
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise CheckpointError(f"training can't continue from the checkpoint: {reason}") from error
