"""Run a command and turn its errors into an exit status."""

import contextlib
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
from typing import Any

import seqlight
from seqlight.checkpoints.signals import Stopped, signals_handled, stop_requests
from seqlight.cli.flag_errors import UsageError, explain_import, usage_error, values_of
from seqlight.cli.flag_names import wrong_word
from seqlight.cli.flags_in_messages import with_flags
from seqlight.cli.help_page import help_page
from seqlight.cli.reported_errors import DONE, FAILED, USAGE_ERROR, exit_status, is_write_error, reported
from seqlight.common import private_jsonargparse
from seqlight.common.errors import ShownError
from seqlight.common.lightning_messages import quiet_lightning
from seqlight.common.processes import end_with_parent, is_first_here, is_reported_elsewhere
from seqlight.common.text import libraries_show_text, one_line, show, visible
from seqlight.common.unused import UnusedArgumentWarning
from seqlight.common.user_modules import allow, folder_importable

# Lightning prints the output of these flags through its logger.
_LOGGED_BY_LIGHTNING = ("--trainer.profiler", "--trainer.enable_model_summary")


def run(arguments: list[str], *, started: float | None = None) -> int:
    """Run a command and return its exit status (listed in docs/cli.md).

    Args:
        arguments: the words of the command line.
        started: the time at which the command was started, from `time.time()`; by default, now.
    """
    started = time.time() if started is None else started
    end_with_parent()
    if message := wrong_word(arguments):
        return _fail(UsageError(message), USAGE_ERROR)
    if page := help_page(arguments):
        show(page.rstrip())
        return DONE
    try:
        with (
            folder_importable(os.getcwd()),
            _warnings_adapted(),
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
        if type(stop).__name__ == "SIGTERMException":  # from Lightning, if seqlight could not save
            print("seqlight: stopped by SIGTERM; the same command continues from the last checkpoint", file=sys.stderr)
            return 128 + signal.SIGTERM
        place = traceback.extract_tb(stop.__traceback__)[-1]
        return _fail(
            UsageError(f"{place.filename}, line {place.lineno} ended the command: SystemExit({stop.code!r})"),
            USAGE_ERROR,
        )
    except Exception as error:
        if stop_requests.raised is not None:  # the error came of the signal
            return _stopped(Stopped(stop_requests.raised), arguments)
        shown = reported(error)
        if shown is None:
            raise
        known = exit_status(shown)
        return _fail(shown, USAGE_ERROR if known is None else known)


def _stopped(stop: Stopped, arguments: list[str]) -> int:
    if is_first_here():
        saved = stop.saved or ("it was not training, so nothing is lost" if arguments[:1] == ["fit"] else "")
        print(f"seqlight: stopped by {stop.name}" + (f"; {saved}" if saved else ""), file=sys.stderr)
    return stop.status


def _run_command(arguments: list[str], started: float) -> int:
    """Run a command. Only what it needs is imported."""
    if arguments[:1] in (["cells"], ["tasks"]):
        from seqlight.cli.listing import list_classes

        _import_modules(arguments)
        list_classes(arguments[0], arguments[1:])
        return DONE

    from jsonargparse import ArgumentError

    quiet_lightning()
    if arguments[:1] == ["data"]:
        from seqlight.cli.data import show_data

        try:
            show_data(arguments[1:])
        except ArgumentError as error:
            raise usage_error(error) from error
        return DONE

    for name in seqlight.__all__:  # a class must be imported to have a short name
        getattr(seqlight, name)
    if any(argument.startswith(_LOGGED_BY_LIGHTNING) for argument in arguments):
        logging.getLogger("lightning.pytorch").setLevel(logging.INFO)
    _import_modules(arguments)
    try:
        with private_jsonargparse.import_paths_noted(allow):
            if arguments[:1] == ["check"]:
                from seqlight.cli.check import check

                return DONE if check(arguments[1:]) else FAILED

            from seqlight.cli.class_help import class_help

            if text := class_help(arguments):
                show(text.rstrip())
            else:
                _run_trainer(arguments, started)
    except ArgumentError as error:
        raise usage_error(error) from error
    return DONE


def _run_trainer(arguments: list[str], started: float) -> None:
    """Run fit, validate, test or predict."""
    from seqlight.cli.command_folder import CommandFolder
    from seqlight.cli.lightning_cli import SeqlightCLI
    from seqlight.cli.series_request import SeriesRequested

    try:
        SeqlightCLI(arguments, CommandFolder(started))
    except SeriesRequested as request:
        requested = request
    else:
        return
    from seqlight.cli.fit_series import fit_series

    fit_series(arguments, requested, started)


def _fail(error: Exception, status: int) -> int:
    if is_reported_elsewhere():
        return status
    lines = [line.rstrip() for line in with_flags(str(error)).split("\n") if line.strip()]
    indent = "" if isinstance(error, ShownError) else "  "  # only a line of seqlight's own begins at the margin
    print("seqlight: error: " + visible("\n".join(lines[:5]), indent), file=sys.stderr)
    return status


@contextlib.contextmanager
def _warnings_adapted() -> Iterator[None]:
    """Ignore warnings of Lightning that do not apply here, and name the flags of arguments that have no effect."""
    with warnings.catch_warnings():
        # A trained model is tested without the callback that saved it, and continues training in a new folder.
        warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`")
        warnings.filterwarnings("ignore", message="The dirpath has changed")
        # A run that continues has such a folder.
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        # The classifier draws the training curves of such short runs too.
        warnings.filterwarnings("ignore", message=".* is smaller than the logging interval")
        warnings.simplefilter("always", UnusedArgumentWarning)
        show_warning = warnings.showwarning
        shown = set()

        def show_unused(message: Warning | str, category: type[Warning], *place: Any) -> None:
            if not issubclass(category, UnusedArgumentWarning):
                show_warning(message, category, *place)
            elif is_first_here() and str(message) not in shown:  # several runs of one command have the same arguments
                shown.add(str(message))
                show(one_line(f"seqlight: {with_flags(str(message))}"), file=sys.stderr)

        warnings.showwarning = show_unused  # type: ignore[assignment]
        yield


@contextlib.contextmanager
def _disk_errors_reported_once() -> Iterator[None]:
    """Print no traceback for write errors in TensorBoard's thread: the main thread receives and reports them."""
    before = threading.excepthook

    def report(args: threading.ExceptHookArgs) -> None:
        if not is_write_error(args.exc_value):
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
