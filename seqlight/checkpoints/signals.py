"""SIGINT and SIGTERM stop a training at a point from which it can be resumed."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from seqlight.common.processes import is_first_here


class Stopped(SystemExit):
    """A signal has ended the command. The exit status is 128 plus its number, as in a shell.

    Attributes:
        status: the exit status.
        name: the signal's name.
        saved: what was saved before, for the message.
    """

    def __init__(self, signum: int, saved: str = "") -> None:
        self.status = 128 + signum
        super().__init__(self.status)
        self.name = signal.Signals(signum).name
        self.saved = saved


class StopRequests:
    """The signal that was received. It ends the command at once, or, in training, at the end of a step.

    Attributes:
        signum: the signal that training is to stop for, or None.
        deferred: whether training is running, which stops by itself after it has saved.
        done: whether everything is saved, and the command is about to end.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.deferred = False
        self.done = False

    def defer(self) -> None:
        """Record signals from now on, SIGTERM too, for which Lightning has installed its own handler."""
        self.deferred = True
        if signal.getsignal(signal.SIGINT) == self.handle:
            signal.signal(signal.SIGTERM, self.handle)

    def handle(self, signum: int, _frame: FrameType | None) -> None:
        """Stop now, or record the signal. A second Ctrl-C stops at once, saved or not."""
        if self.done:
            return
        if not self.deferred:
            raise Stopped(signum)
        if signum == signal.SIGINT and self.signum == signal.SIGINT:
            os._exit(128 + signum)
        if signum == signal.SIGINT and is_first_here():
            os.write(2, b"seqlight: SIGINT: the run stops when it is saved; press Ctrl-C again to stop at once\n")
        self.signum = signum


requests = StopRequests()


@contextlib.contextmanager
def signals_handled() -> Iterator[None]:
    """Handle SIGINT and SIGTERM by `requests`, if this is the main thread; Python handles signals only there."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    requests.signum, requests.deferred, requests.done = None, False, False
    before = {signum: signal.signal(signum, requests.handle) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        requests.deferred = False
        for signum, handler in before.items():
            signal.signal(signum, handler)
