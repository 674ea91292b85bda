"""SIGINT and SIGTERM: a run stops after it is saved, and every command stops within ten seconds.

`__main__` imports this module before torch, so it must not import torch.
"""

import _thread
import contextlib
import functools
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SECONDS = 8.0  # from a signal to the end of the process: many launchers kill it after ten


class Stopped(SystemExit):
    """The end of a command by a signal.

    Attributes:
        status: the exit status, 128 plus the signal's number, as in shells.
        name: the signal's name.
        saved: the part of the message about the last checkpoint.
    """

    def __init__(self, signum: int, saved: str = "") -> None:
        self.status = 128 + signum
        super().__init__(self.status)
        self.name = signal.Signals(signum).name
        self.saved = saved


class StopRequests:
    """Signals that ask the command to stop. Outside training it ends at once; in training, after a step is saved.

    Attributes:
        signum: the signal that has asked a training to stop, or None.
        raised: the signal that has raised Stopped, or None. Code that calls Python from C can lose the exception.
        importing: whether the command only imports modules, so that the process can end at any place.
        deferred: whether a training is running, which stops itself once it is saved.
        done: whether everything is saved and the command is about to end.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self.signum: int | None = None
        self.raised: int | None = None
        self.importing = self.deferred = self.done = False

    def check(self) -> None:
        """Raise Stopped if a signal has raised it before."""
        if self.raised is not None:
            raise Stopped(self.raised)

    def defer(self) -> None:
        """Note signals from now on; Lightning's own handler of SIGTERM is replaced.

        Raises:
            Stopped: if a signal has raised it before.
        """
        self.check()
        self.deferred = True
        if signal.getsignal(signal.SIGINT) == self.handle:
            signal.signal(signal.SIGTERM, self.handle)

    def stop_waiting(self) -> None:
        """End a training that has been asked to stop and waits for another program, which may never end.

        Raises:
            Stopped: in that case.
        """
        if self.deferred and self.signum is not None:
            raise Stopped(self.signum, "the same command continues from the last checkpoint")

    def handle(self, signum: int, _frame: FrameType | None) -> None:
        """Stop at once, or note the signal; a second Ctrl-C exits at once, saved or not."""
        if self.done:
            return
        if self.importing:
            _end(signum)
        if not self.deferred:
            self.raised = signum
            if not _is_stopping(sys.exception()):
                raise Stopped(signum)
            return
        if signum == signal.SIGINT and self.signum == signal.SIGINT:
            os._exit(128 + signum)
        from seqlight.common.processes import is_first_here  # training has imported torch

        if signum == signal.SIGINT and is_first_here():
            _write("seqlight: SIGINT: the run stops when it is saved; press Ctrl-C again to exit at once")
        self.signum = signum

    @contextlib.contextmanager
    def handled(self, importing: bool) -> Iterator[None]:
        """Handle signals, and let a thread watch that they are obeyed."""
        self._reset()
        self.importing = importing
        receiver, sender = socket.socketpair()
        sender.setblocking(False)
        _forget_in_forked_processes()
        before = {signum: signal.signal(signum, self.handle) for signum in _SIGNALS}
        unraisable, sys.unraisablehook = sys.unraisablehook, _report_unless_stopped
        wakeup = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        watcher = threading.Thread(target=self._watch, args=(receiver,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            sender.shutdown(socket.SHUT_RDWR)  # ends the thread; forked processes can hold the socket open
            watcher.join()
            sender.close()
            receiver.close()
            sys.unraisablehook = unraisable
            self.deferred = self.importing = False
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _watch(self, receiver: socket.socket) -> None:
        """End the process if the main thread does not, for example because it waits in C code.

        Outside training, the signal is raised again each second: C code, `__del__` and `except BaseException` can lose
        an exception. A training must end itself after SIGTERM only: it says how to interrupt it after a Ctrl-C.
        """
        deadline, signum, num_interrupts = float("inf"), signal.SIGINT, 0
        while True:
            waits = deadline != float("inf")
            if select.select([receiver], [], [], 1.0 if waits else None)[0]:
                if not (received := receiver.recv(64)):
                    return  # the command is over
                signums = [signal.Signals(number) for number in received if number in _SIGNALS]
                num_interrupts += signums.count(signal.SIGINT)
                obeyed = self.deferred and signal.SIGTERM not in signums and num_interrupts < 2
                if signums and not waits and not obeyed:
                    deadline, signum = time.monotonic() + _SECONDS, signums[-1]
            elif time.monotonic() >= deadline:
                unsaved = "it was not saved in time: the same command continues from the last checkpoint"
                _end(signum, unsaved if self.deferred else "")
            elif not self.deferred:
                _thread.interrupt_main(signum)


stop_requests = StopRequests()


@contextlib.contextmanager
def signals_handled(*, importing: bool = False) -> Iterator[None]:
    """Let `stop_requests` handle SIGINT and SIGTERM. Outside the main thread, where Python forbids it, do nothing.

    Args:
        importing: whether the process can end at any place, until this is called again.
    """
    stop_requests.importing = importing
    if threading.current_thread() is not threading.main_thread() or _are_handled():
        yield
    else:
        with stop_requests.handled(importing):
            yield


def exit_on_signals(status: int) -> None:
    """Let signals end the process with this status from now on: its command is over."""
    for signum in _SIGNALS:
        signal.signal(signum, lambda *_: os._exit(status))


def _are_handled() -> bool:
    return signal.getsignal(signal.SIGINT) == stop_requests.handle


def _is_stopping(error: BaseException | None) -> bool:
    """Whether code now handles Stopped, in an `except` or `finally` block, or an error that came of it."""
    while error is not None and not isinstance(error, Stopped):
        error = error.__context__
    return error is not None


def _report_unless_stopped(unraisable: "sys.UnraisableHookArgs") -> None:
    if not isinstance(unraisable.exc_value, Stopped):
        sys.__unraisablehook__(unraisable)


@functools.cache
def _forget_in_forked_processes() -> None:
    """Let no signal to a forked process reach this process's watcher."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: _are_handled() and signal.set_wakeup_fd(-1))


def _end(signum: int, saved: str = "") -> NoReturn:
    if os.environ.get("LOCAL_RANK", "0") == "0":
        _write(f"seqlight: stopped by {signal.Signals(signum).name}" + (f"; {saved}" if saved else ""))
    os._exit(128 + signum)


def _write(line: str) -> None:
    """Write a line to standard error, whatever the main thread is doing with it."""
    with contextlib.suppress(OSError):
        os.write(2, f"{line}\n".encode())
