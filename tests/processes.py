"""Commands in child processes, which can be killed, without six seconds of imports for each.

A server process that has imported everything forks them. The server itself never runs a command.
"""

import ctypes
import multiprocessing
import os
import sys
import traceback
from pathlib import Path

PRELOADED = ["lightning.pytorch", "matplotlib.figure", "tensorboard.compat.proto.summary_pb2", "seqlight.cli.main"]
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload([*PRELOADED, "tests.processes"])


def bind_by_permissions():
    """Make file permissions apply to root too: drop CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # the version of the interface, and 0 for this process
    capabilities = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: the lower 32 bits, then the upper
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, capabilities) == 0
    for place in (0, 1):
        capabilities[place] &= ~0b110
    assert libc.capset(header, capabilities) == 0


def _run(arguments, folder, environment, bound):
    from seqlight.cli.main import run

    for name, stream in (("out", 1), ("err", 2)):
        os.dup2(os.open(f"{folder}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    if bound:
        bind_by_permissions()
    os.chdir(folder)
    os.environ.update(environment)
    sys.argv = ["seqlight", *arguments]
    try:
        status = run(arguments)
    except BaseException:
        traceback.print_exc()
        status = 70
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class Command:
    """A command that runs in a folder. With `bound`, file permissions apply to it even if root starts it."""

    def __init__(self, folder, *arguments, environment=None, bound=False):
        self.folder = Path(folder)
        self.process = _server.Process(target=_run, args=(list(arguments), str(folder), environment or {}, bound))
        self.process.start()
        self.pid = self.process.pid

    def wait(self, seconds=120):
        """Wait; return exit status (negative for a signal, as in subprocess), standard output and standard error."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutError(f"{self.read('out')}\n{self.read('err')}")
        return self.process.exitcode, self.read("out"), self.read("err")

    def read(self, name):
        path = Path(f"{self.folder}.{name}")
        return path.read_text() if path.exists() else ""
