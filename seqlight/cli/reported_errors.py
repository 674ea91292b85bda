"""The errors that a command reports by their message alone, and its exit status then.

Lightning's errors are imported here late, because `seqlight cells` starts without Lightning.
"""

import errno
import os
import traceback

from seqlight.checkpoints.event_files import is_event_file
from seqlight.cli.flag_errors import UsageError
from seqlight.common import private_lightning, private_torch
from seqlight.common.errors import CheckpointError, ShownError, WriteError
from seqlight.common.processes import is_peer_lost
from seqlight.common.tracebacks import error_files, is_in

DONE, FAILED, USAGE_ERROR, REFUSED, NON_FINITE, CANNOT_WRITE = 0, 1, 2, 3, 4, 5
# Errors of these classes can be mistakes in the code; `reported` finds those that are not.
_AMBIGUOUS = (ValueError, TypeError, RuntimeError, ArithmeticError, ImportError, LookupError, AttributeError)
# Reasons why a file can't be written to its end.
_WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.EPIPE)


class ProcessLostError(Exception):
    """Another process of the run has ended."""


def exit_status(error: Exception) -> int | None:
    """The exit status of a command that an error of this class ends; None for an error of another class."""
    # The first class that matches counts; a WriteError is an OSError, too.
    statuses: dict[type[Exception], int] = {CheckpointError: REFUSED, WriteError: CANNOT_WRITE, ShownError: USAGE_ERROR}
    if not isinstance(error, ShownError):
        from lightning.pytorch.utilities.exceptions import MisconfigurationException

        from seqlight.kernels.build import InterruptedBuildError
        from seqlight.training.non_finite import NonFiniteError

        statuses = {
            InterruptedBuildError: CANNOT_WRITE,
            NonFiniteError: NON_FINITE,
            MisconfigurationException: USAGE_ERROR,
            OSError: USAGE_ERROR,
            ProcessLostError: FAILED,
        }
    return next((status for kind, status in statuses.items() if isinstance(error, kind)), None)


def reported(error: Exception) -> Exception | None:
    """The error whose message is reported; None for a mistake in the code, which needs its traceback."""
    if isinstance(error, UnicodeDecodeError):
        return UsageError(f"--config: expected a text file: {error}")
    if isinstance(error, UnicodeEncodeError):
        text = ascii(error.object[:80])
        return UsageError(f"{text} can't be written as {error.encoding}: choose another name, or set PYTHONUTF8=1")
    if is_write_error(error):
        assert isinstance(error, OSError)
        return WriteError(f"can't write {os.fsdecode(error.filename or 'results')}: {error.strerror}")
    if exit_status(error) is not None:
        return error
    if isinstance(error, MemoryError) and is_deliberate(error):
        return UsageError(f"not enough memory: {error}")
    if isinstance(error, MemoryError) or private_torch.is_out_of_memory(error):
        return out_of_memory(error)
    if not isinstance(error, _AMBIGUOUS):
        return None
    if private_lightning.is_raised_while_restoring(error):
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return CheckpointError(f"training can't continue from the checkpoint: {reason}")
    if isinstance(error, RuntimeError) and is_peer_lost(error):
        return ProcessLostError("another process of this run has ended, so this one ends too")
    if is_in(error_files(error)[-1], "lightning"):
        return UsageError(f"Lightning refuses these settings: {error}")
    if isinstance(error, AttributeError) and private_lightning.is_raised_for_callback(error):
        return UsageError(f"a callback does not suit the model: {error}")
    return error if is_deliberate(error) else None


def is_write_error(error: BaseException | None) -> bool:
    """Whether a result can't be written. TensorBoard opens its file anew for each write, so it can be missing."""
    return isinstance(error, OSError) and (error.errno in _WRITE_ERRORS or is_event_file(error.filename))


def out_of_memory(error: Exception) -> UsageError:
    """The error to report: what could not be allocated, and what takes less memory."""
    reason = private_torch.allocation_failure(str(error)) or (str(error).splitlines() or [""])[0].strip()
    return UsageError(
        f"not enough memory{reason and ': ' + reason}",
        "try a smaller --data.batch_size; in training, --trainer.accumulate_grad_batches 2 makes up for half of it",
        "shorter sequences, a smaller --model.cell.hidden_size and fewer layers take less memory too",
    )


def is_deliberate(error: Exception) -> bool:
    """Whether a `raise` statement of seqlight raised the error: a check of an argument, not a mistake in the code."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return is_in(last.filename, "seqlight") and (last.line or "").startswith("raise ")
