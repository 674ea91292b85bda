"""From a command line to an exit status."""

import contextlib
import importlib
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator

import lightning
from jsonargparse import ArgumentError
from lightning.pytorch.utilities.exceptions import MisconfigurationException

import seqlight
from seqlight.check_command import check
from seqlight.checkpoint import CheckpointError
from seqlight.cli import SeqlightCLI
from seqlight.data.batch import BatchError
from seqlight.data.loader import ResumeError
from seqlight.data.reading.raw import DataError
from seqlight.listing import LISTINGS, list_classes
from seqlight.ranks import another_speaks
from seqlight.usage import UsageError, explain, values_of

# What these flags ask for, Lightning says by its logger.
_TOLD_BY_LIGHTNING = ("--trainer.profiler", "--trainer.enable_model_summary")

DONE, UNSOUND, USAGE_ERROR, REFUSED, INTERRUPTED = 0, 1, 2, 3, 130


def run(arguments: list[str]) -> int:
    """Run a command; gives its exit status, as the README lists them."""
    wanted = any(argument.startswith(_TOLD_BY_LIGHTNING) for argument in arguments)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.INFO if wanted else logging.WARNING)
    for name in seqlight.__all__:  # short names are found among the classes that have been imported
        getattr(seqlight, name)
    try:
        with _folder_importable(os.getcwd()), warnings.catch_warnings():
            # Lightning's own use of torch's pytree.
            warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated", category=FutureWarning)
            # A trained model is tested without the callback that saved it, and goes on training in a new folder.
            warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`")
            warnings.filterwarnings("ignore", message="The dirpath has changed")
            # The classifier draws the training curves of such runs too.
            warnings.filterwarnings("ignore", message=".* is smaller than the logging interval")
            _import_modules(arguments)
            if arguments[:1] == ["check"]:
                return DONE if check(arguments[1:]) else UNSOUND
            if arguments and arguments[0] in LISTINGS:
                list_classes(arguments[0], arguments[1:])
            else:
                SeqlightCLI(arguments)
    except CheckpointError as error:
        return _fail(error, REFUSED)
    except ArgumentError as error:
        return _fail(UsageError(explain(str(error))), USAGE_ERROR)
    except (UsageError, MisconfigurationException, BatchError, DataError, ResumeError, OSError) as error:
        return _fail(error, USAGE_ERROR)
    except UnicodeDecodeError as error:
        return _fail(UsageError(f"--config: expected a file of text: {error}"), USAGE_ERROR)
    except MemoryError as error:
        return _fail(UsageError(f"not enough memory: {error}"), USAGE_ERROR)
    except (ValueError, TypeError, RuntimeError, ArithmeticError, ImportError) as error:
        if "DefaultCPUAllocator" in str(error):
            return _fail(UsageError(f"not enough memory: {error}"), USAGE_ERROR)
        last = traceback.extract_tb(error.__traceback__)[-1]
        if os.path.dirname(lightning.__file__) in last.filename:
            return _fail(UsageError(f"Lightning refuses these settings: {error}"), USAGE_ERROR)
        # A check of seqlight's own, of a cell's results, say; and no mistake of ours.
        if os.path.dirname(seqlight.__file__) in last.filename and (last.line or "").startswith("raise "):
            return _fail(error, USAGE_ERROR)
        raise
    except KeyboardInterrupt:
        print("seqlight: interrupted", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning has shut the run down
            print("seqlight: interrupted", file=sys.stderr)
            return INTERRUPTED
        raise
    return DONE


def _fail(error: Exception, status: int) -> int:
    if another_speaks():
        return status
    lines = [line.rstrip() for line in str(error).splitlines() if line.strip()]
    print("seqlight: error: " + "\n".join(lines[:5]), file=sys.stderr)
    return status


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
