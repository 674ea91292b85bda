"""From a command line to an exit status."""

import contextlib
import errno
import importlib
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator

import lightning
from jsonargparse import ArgumentError
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

import seqlight
from seqlight.checkpoints.run_folder import RunInUseError
from seqlight.checkpoints.signals import Stopped, signals_handled
from seqlight.cli.check import check
from seqlight.cli.flags import with_flags
from seqlight.cli.lightning_cli import SeqlightCLI
from seqlight.cli.listing import LISTINGS, list_classes
from seqlight.cli.usage import UsageError, explain, values_of
from seqlight.common import private_api
from seqlight.common.batch import BatchError
from seqlight.common.errors import CheckpointError, WriteError
from seqlight.common.processes import another_speaks, end_with_parent, is_first_here, lost_another
from seqlight.data.loader import ResumeError
from seqlight.data.reading.raw import DataError
from seqlight.training.non_finite import NonFiniteError

# What these flags ask for, Lightning says by its logger.
_TOLD_BY_LIGHTNING = ("--trainer.profiler", "--trainer.enable_model_summary")

DONE, FAILED, USAGE_ERROR, REFUSED, NON_FINITE, CANNOT_WRITE = 0, 1, 2, 3, 4, 5
# Of what can happen to a file that is being written.
_WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.EPIPE)


def run(arguments: list[str]) -> int:
    """Run a command; gives its exit status, as the README lists them."""
    wanted = any(argument.startswith(_TOLD_BY_LIGHTNING) for argument in arguments)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.INFO if wanted else logging.WARNING)
    for name in seqlight.__all__:  # a class must be imported to have a short name
        getattr(seqlight, name)
    end_with_parent()
    try:
        with _folder_importable(os.getcwd()), warnings.catch_warnings(), _disk_errors_said_once(), signals_handled():
            # Lightning's own use of torch's pytree.
            warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated", category=FutureWarning)
            # A trained model is tested without the callback that saved it, and goes on training in a new folder.
            warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`")
            warnings.filterwarnings("ignore", message="The dirpath has changed")
            # So it is where a run goes on.
            warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
            # The classifier draws the training curves of such runs too.
            warnings.filterwarnings("ignore", message=".* is smaller than the logging interval")
            _import_modules(arguments)
            if arguments[:1] == ["check"]:
                return DONE if check(arguments[1:]) else FAILED
            if arguments and arguments[0] in LISTINGS:
                list_classes(arguments[0], arguments[1:])
            else:
                SeqlightCLI(arguments)
    except CheckpointError as error:
        return _fail(error, REFUSED)
    except WriteError as error:
        return _fail(error, CANNOT_WRITE)
    except NonFiniteError as error:
        return _fail(error, NON_FINITE)
    except ArgumentError as error:
        return _fail(UsageError(explain(str(error))), USAGE_ERROR)
    except OSError as error:
        if error.errno in _WRITE_ERRORS:  # of TensorBoard's files, say
            return _fail(WriteError(f"can't write {error.filename or 'results'}: {error.strerror}"), CANNOT_WRITE)
        return _fail(error, USAGE_ERROR)
    except (UsageError, MisconfigurationException, BatchError, DataError, ResumeError, RunInUseError) as error:
        return _fail(error, USAGE_ERROR)
    except UnicodeDecodeError as error:
        return _fail(UsageError(f"--config: expected a file of text: {error}"), USAGE_ERROR)
    except MemoryError as error:
        return _fail(UsageError(f"not enough memory: {error}"), USAGE_ERROR)
    except (ValueError, TypeError, RuntimeError, ArithmeticError, ImportError, LookupError, AttributeError) as error:
        if private_api.is_raised_while_restoring(error):
            reason = f"{type(error).__name__}: {error}"
            return _fail(CheckpointError(f"training can't continue from the checkpoint: {reason}"), REFUSED)
        if private_api.is_out_of_memory(error):
            return _fail(UsageError(f"not enough memory: {error}"), USAGE_ERROR)
        if isinstance(error, RuntimeError) and lost_another(error):
            return _fail(RuntimeError("another process of this run has ended, and with it the run"), FAILED)
        if private_api.is_raised_in(error, os.path.dirname(lightning.__file__)):
            return _fail(UsageError(f"Lightning refuses these settings: {error}"), USAGE_ERROR)
        if private_api.is_deliberate(error, "seqlight"):
            return _fail(error, USAGE_ERROR)
        raise
    except Stopped as stop:
        if is_first_here():
            saved = stop.saved or ("it was not training, and nothing is lost" if arguments[:1] == ["fit"] else "")
            print(f"seqlight: stopped by {stop.name}" + (f"; {saved}" if saved else ""), file=sys.stderr)
        return stop.status
    except SIGTERMException:  # Lightning's own, where ours could not save
        print("seqlight: stopped by SIGTERM; the same command goes on from where it was saved last", file=sys.stderr)
        return 128 + signal.SIGTERM
    return DONE


def _fail(error: Exception, status: int) -> int:
    if another_speaks():
        return status
    lines = [line.rstrip() for line in with_flags(str(error)).splitlines() if line.strip()]
    print("seqlight: error: " + "\n".join(lines[:5]), file=sys.stderr)
    return status


@contextlib.contextmanager
def _disk_errors_said_once() -> Iterator[None]:
    """TensorBoard's thread that can't write tells the main thread, which says so; it need not print a traceback."""
    before = threading.excepthook

    def report(args: threading.ExceptHookArgs) -> None:
        if not (isinstance(args.exc_value, OSError) and args.exc_value.errno in _WRITE_ERRORS):
            before(args)

    threading.excepthook = report
    try:
        yield
    finally:
        threading.excepthook = before


@contextlib.contextmanager
def _folder_importable(folder: str) -> Iterator[None]:
    """Let modules of the user's folder be imported, after all others, as `python -m` does."""
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _import_modules(arguments: list[str]) -> None:
    for module in values_of("--import", arguments):
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as error:
            raise UsageError(f"--import {module}: can't import it: {type(error).__name__}: {error}") from error
