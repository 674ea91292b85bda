"""SIGINT and SIGTERM: a run stops where it can go on from."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from seqlight.common.processes import is_first_here


class Stopped(SystemExit):
    """A signal has ended the command; the code is 128 and its number, as shells have it.

    Attributes:
        status: the exit status.
        name: of the signal.
        saved: what has been saved before, for the message.
    """

    def __init__(self, signum: int, saved: str = "") -> None:
        self.status = 128 + signum
        super().__init__(self.status)
        self.name = signal.Signals(signum).name
        self.saved = saved


class StopRequests:
    """What signals have asked for. Outside training they end the command at once; within, at the end of a step.

    Attributes:
        signum: the signal that has asked a training to stop, if one has.
        deferred: whether training is under way, which stops by itself where it is saved.
        done: whether all is saved, and the command about to end by itself.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.deferred = False
        self.done = False

    def defer(self) -> None:
        """From now on signals are noted; also SIGTERM, for which Lightning has put a handler of its own."""
        self.deferred = True
        if signal.getsignal(signal.SIGINT) == self.handle:
            signal.signal(signal.SIGTERM, self.handle)

    def handle(self, signum: int, _frame: FrameType | None) -> None:
        """Stop now or note that it is wanted; who presses Ctrl-C again wants it now, saved or not."""
        if self.done:
            return
        if not self.deferred:
            raise Stopped(signum)
        if signum == signal.SIGINT and self.signum == signal.SIGINT:
            os._exit(128 + signum)
        if signum == signal.SIGINT and is_first_here():
            os.write(2, b"seqlight: SIGINT: the run stops when it is saved; again leaves at once\n")
        self.signum = signum


requests = StopRequests()


@contextlib.contextmanager
def signals_handled() -> Iterator[None]:
    """Let SIGINT and SIGTERM reach `requests`, in the main thread, where Python has signals handled."""
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
