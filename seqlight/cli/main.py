"""Run a command and turn its errors into an exit status."""

import contextlib
import errno
import importlib
import logging
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator

from jsonargparse import ArgumentError
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

import seqlight
from seqlight.checkpoints.event_files import is_event_file
from seqlight.checkpoints.run_folder import RunInUseError
from seqlight.checkpoints.signals import Stopped, signals_handled, stop_requests
from seqlight.cli.check import check
from seqlight.cli.flag_errors import UsageError, explain_import, usage_error, values_of
from seqlight.cli.flags_in_messages import with_flags
from seqlight.cli.lightning_cli import SeqlightCLI
from seqlight.cli.listing import LISTINGS, list_classes
from seqlight.common import private_jsonargparse, private_lightning, private_torch
from seqlight.common.batch import BatchError
from seqlight.common.errors import CheckpointError, ShownError, WriteError
from seqlight.common.processes import end_with_parent, is_first_here, is_peer_lost, is_reported_elsewhere
from seqlight.common.text import libraries_show_text, visible
from seqlight.common.tracebacks import error_files, is_in
from seqlight.common.user_modules import allow, folder_importable
from seqlight.data.loader import ResumeError
from seqlight.data.reading.raw import DataError
from seqlight.kernels.build import InterruptedBuildError
from seqlight.training.non_finite import NonFiniteError


class ProcessLostError(Exception):
    """Another process of the run has ended."""


# Lightning prints the output of these flags through its logger.
_LOGGED_BY_LIGHTNING = ("--trainer.profiler", "--trainer.enable_model_summary")

DONE, FAILED, USAGE_ERROR, REFUSED, NON_FINITE, CANNOT_WRITE = 0, 1, 2, 3, 4, 5
# The exit status of errors that are reported by their message alone. The first class that matches counts; an error of
# another class that `_reported` accepts is a usage error.
_STATUS: dict[type[Exception], int] = {
    CheckpointError: REFUSED,
    WriteError: CANNOT_WRITE,  # an OSError
    InterruptedBuildError: CANNOT_WRITE,
    NonFiniteError: NON_FINITE,
    UsageError: USAGE_ERROR,
    MisconfigurationException: USAGE_ERROR,
    BatchError: USAGE_ERROR,
    DataError: USAGE_ERROR,
    ResumeError: USAGE_ERROR,
    RunInUseError: USAGE_ERROR,
    OSError: USAGE_ERROR,
    ProcessLostError: FAILED,
}
# Errors of these classes can be mistakes in the code; `_reported` finds those that are not.
_AMBIGUOUS = (ValueError, TypeError, RuntimeError, ArithmeticError, ImportError, LookupError, AttributeError)
# Reasons why a file can't be written to its end.
_WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.EPIPE)


def run(arguments: list[str], *, started: float | None = None) -> int:
    """Run a command and return its exit status (listed in the README).

    Args:
        arguments: the words of the command line.
        started: the time at which the command was started, from `time.time()`; by default, now.
    """
    started = time.time() if started is None else started
    logged = any(argument.startswith(_LOGGED_BY_LIGHTNING) for argument in arguments)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.INFO if logged else logging.WARNING)
    for name in seqlight.__all__:  # a class must be imported to have a short name
        getattr(seqlight, name)
    end_with_parent()
    try:
        with (
            folder_importable(os.getcwd()),
            _warnings_ignored(),
            libraries_show_text(),
            _disk_errors_reported_once(),
            signals_handled(),
        ):
            status = _run_command(arguments, started)
            stop_requests.check()
            return status
    except Stopped as stop:
        return _stopped(stop, arguments)
    except SystemExit as stop:
        if private_jsonargparse.is_own_exit(stop):
            raise
        place = traceback.extract_tb(stop.__traceback__)[-1]
        return _fail(
            UsageError(f"{place.filename}, line {place.lineno} ended the command: SystemExit({stop.code!r})"),
            USAGE_ERROR,
        )
    except SIGTERMException:  # from Lightning, if seqlight could not save
        print("seqlight: stopped by SIGTERM; the same command continues from the last checkpoint", file=sys.stderr)
        return 128 + signal.SIGTERM
    except Exception as error:
        if stop_requests.raised is not None:  # the error came of the signal
            return _stopped(Stopped(stop_requests.raised), arguments)
        reported = _reported(error)
        if reported is None:
            raise
        return _fail(reported, next((_STATUS[kind] for kind in _STATUS if isinstance(reported, kind)), USAGE_ERROR))


def _stopped(stop: Stopped, arguments: list[str]) -> int:
    if is_first_here():
        saved = stop.saved or ("it was not training, so nothing is lost" if arguments[:1] == ["fit"] else "")
        print(f"seqlight: stopped by {stop.name}" + (f"; {saved}" if saved else ""), file=sys.stderr)
    return stop.status


def _run_command(arguments: list[str], started: float) -> int:
    _import_modules(arguments)
    try:
        with private_jsonargparse.import_paths_noted(allow):
            if arguments[:1] == ["check"]:
                return DONE if check(arguments[1:]) else FAILED
            if arguments and arguments[0] in LISTINGS:
                list_classes(arguments[0], arguments[1:])
            else:
                SeqlightCLI(arguments, started)
    except ArgumentError as error:
        raise usage_error(error) from error
    return DONE


def _reported(error: Exception) -> Exception | None:
    """The error whose message is reported; None for a mistake in the code, which needs its traceback."""
    if isinstance(error, UnicodeDecodeError):
        return UsageError(f"--config: expected a text file: {error}")
    if isinstance(error, UnicodeEncodeError):
        text = ascii(error.object[:80])
        return UsageError(f"{text} can't be written as {error.encoding}: choose another name, or set PYTHONUTF8=1")
    if _is_write_error(error):
        assert isinstance(error, OSError)
        return WriteError(f"can't write {os.fsdecode(error.filename or 'results')}: {error.strerror}")
    if isinstance(error, tuple(_STATUS)):
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


def _is_write_error(error: BaseException | None) -> bool:
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


def _fail(error: Exception, status: int) -> int:
    if is_reported_elsewhere():
        return status
    lines = [line.rstrip() for line in with_flags(str(error)).split("\n") if line.strip()]
    indent = "" if isinstance(error, ShownError) else "  "  # only a line of seqlight's own begins at the margin
    print("seqlight: error: " + visible("\n".join(lines[:5]), indent), file=sys.stderr)
    return status


@contextlib.contextmanager
def _warnings_ignored() -> Iterator[None]:
    """Ignore warnings of Lightning that do not apply here."""
    with warnings.catch_warnings():
        # Lightning's own use of torch's pytree.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated", category=FutureWarning)
        # A trained model is tested without the callback that saved it, and continues training in a new folder.
        warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`")
        warnings.filterwarnings("ignore", message="The dirpath has changed")
        # A run that continues has such a folder.
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        # The classifier draws the training curves of such short runs too.
        warnings.filterwarnings("ignore", message=".* is smaller than the logging interval")
        yield


@contextlib.contextmanager
def _disk_errors_reported_once() -> Iterator[None]:
    """Print no traceback for write errors in TensorBoard's thread: the main thread receives and reports them."""
    before = threading.excepthook

    def report(args: threading.ExceptHookArgs) -> None:
        if not _is_write_error(args.exc_value):
            before(args)

    threading.excepthook = report
    try:
        yield
    finally:
        threading.excepthook = before


def _import_modules(arguments: list[str]) -> None:
    for module in values_of("--import", arguments):
        allow(module)
        try:
            importlib.import_module(module)
        except Stopped:
            raise
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {error}"
            hint = explain_import(module, error)
            raise UsageError(f"--import {module}: can't import it: {reason}", hint) from error
        if hidden := explain_import(module):
            raise UsageError(f"--import {module}: {hidden}")
