"""Commands in child processes, which can be killed, without six seconds of imports for each.

A server process forks them. It has imported everything, and has run one small training.
"""

import ctypes
import importlib
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from types import SimpleNamespace

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["tests.forkserver_warm_up", "tests.processes"])


def bind_by_permissions():
    """Make file permissions apply to root too: drop CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # the version of the interface, and 0 for this process
    capabilities = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: the lower 32 bits, then the upper
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, capabilities) == 0
    for place in (0, 1):
        capabilities[place] &= ~0b110
    assert libc.capset(header, capabilities) == 0


def _seqlight(arguments):
    """Run `python -m seqlight`; returns the exit status."""
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    # Lightning sets it when imported, from the environment.
    rank_zero_only.rank = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", 0)))
    program = sys.modules["__main__"] = importlib.import_module("seqlight.__main__")
    sys.argv = ["seqlight", *arguments]
    return program.main()


def _seqlight_launching(arguments):
    """Run `python -m seqlight` with a forked process in place of the one that Lightning starts."""
    from lightning.pytorch.strategies.launchers import subprocess_script

    spare = _Spare()
    subprocess_script.subprocess = SimpleNamespace(Popen=spare.start)
    return _seqlight(arguments)


def _torchrun(arguments):
    """Run `torchrun --nproc_per_node=2 -m seqlight` with forked processes in place of the two that it starts."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler

    spares = [_Spare() for _ in range(2)]
    subprocess_handler.Popen = lambda **options: spares.pop().start(**options)
    return run.main(["--nproc_per_node=2", "-m", "seqlight", *arguments]) or 0


_PROGRAMS = {None: _seqlight, "lightning": _seqlight_launching, "torchrun": _torchrun}


def _run(folder, output, program, arguments, environment, bound):
    for name, stream in (("out", 1), ("err", 2)):
        os.dup2(os.open(f"{output}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    if bound:
        bind_by_permissions()
    os.chdir(folder)
    os.environ.update(environment)
    _exit_with(program, arguments)


def _exit_with(program, arguments):
    try:
        status = program(arguments)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class _Spare:
    """A child process that waits until a launcher starts `python -m seqlight`, which it then runs.

    Forked before its parent has run anything. It has the part of `subprocess.Popen` that launchers use.
    """

    def __init__(self):
        receiver, self._sender = multiprocessing.Pipe(duplex=False)
        self._lock = threading.Lock()
        self.returncode = None
        self.pid = os.fork()
        if self.pid == 0:
            self._sender.close()
            try:
                command, environment, new_session = receiver.recv()
            except EOFError:  # the parent has ended
                os._exit(0)
            if new_session:
                os.setsid()
            os.environ.clear()
            os.environ.update(environment)
            place = command.index("-m")
            assert command[place + 1] in ("seqlight", "seqlight.__main__")
            _exit_with(_seqlight, command[place + 2 :])
        receiver.close()

    def start(self, args, *, env, cwd=None, stdout=None, stderr=None, start_new_session=False):
        assert cwd is stdout is stderr is None
        self._sender.send((list(args), dict(env), start_new_session))
        return self

    def poll(self):
        with self._lock:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
            return self.returncode

    def wait(self, timeout=None):
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("seqlight", timeout)
            time.sleep(0.02)
        return self.returncode

    def send_signal(self, signum):
        if self.poll() is None:
            os.kill(self.pid, signum)


class Command:
    """A command that runs in a folder.

    Args:
        folder: its working directory; its output goes to `<folder>.out` and `<folder>.err`.
        arguments: the arguments of `python -m seqlight`.
        environment: environment variables to add.
        bound: whether file permissions apply to it even if root starts it.
        launcher: "lightning" if Lightning starts its second process, "torchrun" if torchrun starts both.
        program: a function of the arguments that returns the exit status, to run instead.
        output: the beginning of the names of the output files, in place of the folder.
    """

    def __init__(self, folder, *arguments, environment=None, bound=False, launcher=None, program=None, output=None):
        self.folder, self._output = Path(folder), output or folder
        program = program or _PROGRAMS[launcher]
        places = (str(folder), str(self._output))
        self.process = _server.Process(target=_run, args=(*places, program, arguments, environment or {}, bound))
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
        path = Path(f"{self._output}.{name}")
        return path.read_text(errors="backslashreplace") if path.exists() else ""
