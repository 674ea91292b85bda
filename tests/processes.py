"""Commands in processes of their own that can be killed, without six seconds of imports for each.

A server that has imported everything forks them, before any of them has run anything.
"""

import multiprocessing
import os
import sys
import traceback
from pathlib import Path

PRELOADED = ["lightning.pytorch", "matplotlib.figure", "tensorboard.compat.proto.summary_pb2", "seqlight.command"]
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload([*PRELOADED, "tests.processes"])


def _run(arguments, folder, environment, user):
    from seqlight.command import run

    for name, stream in (("out", 1), ("err", 2)):
        os.dup2(os.open(f"{folder}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
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
    """A command that has been started in a folder; by another user, if root starts it and says so."""

    def __init__(self, folder, *arguments, environment=None, user=None):
        self.folder = Path(folder)
        self.process = _server.Process(target=_run, args=(list(arguments), str(folder), environment or {}, user))
        self.process.start()
        self.pid = self.process.pid

    def wait(self, seconds=120):
        """Exit status (negative for a signal, as subprocess has it), standard output and standard error."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutError(f"{self.read('out')}\n{self.read('err')}")
        return self.process.exitcode, self.read("out"), self.read("err")

    def read(self, name):
        path = Path(f"{self.folder}.{name}")
        return path.read_text() if path.exists() else ""
