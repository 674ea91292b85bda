"""SIGINT and SIGTERM: a run stops after it is saved."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from seqlight.common.processes import is_first_here


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
        deferred: whether a training is running, which stops itself once it is saved.
        done: whether everything is saved and the command is about to end.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.deferred = False
        self.done = False

    def defer(self) -> None:
        """Note signals from now on; Lightning's own handler of SIGTERM is replaced."""
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
        if not self.deferred:
            raise Stopped(signum)
        if signum == signal.SIGINT and self.signum == signal.SIGINT:
            os._exit(128 + signum)
        if signum == signal.SIGINT and is_first_here():
            os.write(2, b"seqlight: SIGINT: the run stops when it is saved; press Ctrl-C again to exit at once\n")
        self.signum = signum


stop_requests = StopRequests()


@contextlib.contextmanager
def signals_handled() -> Iterator[None]:
    """Let `stop_requests` handle SIGINT and SIGTERM. Outside the main thread, where Python forbids it, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stop_requests.signum, stop_requests.deferred, stop_requests.done = None, False, False
    before = {signum: signal.signal(signum, stop_requests.handle) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        stop_requests.deferred = False
        for signum, handler in before.items():
            signal.signal(signum, handler)
