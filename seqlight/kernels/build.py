"""Compile C++ and load the libraries, with a cache on disk."""

import contextlib
import ctypes
import errno
import functools
import hashlib
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import platformdirs
import psutil

from seqlight.checkpoints.signals import stop_requests
from seqlight.common.drafts import draft_suffix, remove_abandoned
from seqlight.common.text import one_line

HEADERS = Path(__file__).parent
# They follow the arguments of $CXX, and override them. No fast math: it makes the whole process flush denormal numbers
# to zero, and breaks NaN.
FLAGS = (
    "-std=c++17 -O3 -march=native -w -fexceptions -fno-fast-math -fno-unsafe-math-optimizations -fno-finite-math-only "
    "-fno-associative-math -fno-reciprocal-math -fsigned-zeros -fno-math-errno -fno-trapping-math -ffp-contract=fast "
    "-fPIC -shared -pthread".split()
)
_TIME_LIMIT = 600.0  # seconds; a build takes about two

# The system's reasons why a build ends early. The same build can succeed at another time.
_SHORTAGES = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.EIO),
    *(errno.ESTALE, errno.ETXTBSY),
)
# Other signals are from mistakes in the compiler itself.
_STOPPING = [
    getattr(signal, name)
    for name in "SIGHUP SIGINT SIGQUIT SIGKILL SIGPIPE SIGALRM SIGTERM SIGXCPU SIGXFSZ".split()
    if hasattr(signal, name)
]
_WORDS = [*map(os.strerror, _SHORTAGES), *(signal.strsignal(number) or "" for number in _STOPPING)]
_INTERRUPTED = re.compile("|".join(map(re.escape, [*_WORDS, "out of memory", "memory exhausted"])))  # in the C locale


class BuildError(Exception):
    """A library can't be built with this compiler and cache; the message names the reason."""


class InterruptedBuildError(Exception):
    """A build was killed, took too long, or ran out of memory or disk space; another attempt can succeed."""

    def __init__(self, reason: str) -> None:
        super().__init__(f'{reason}; try again, or without a compiler: `backend="eager"`')


def find_compiler() -> list[str]:
    """The C++ compiler: `$CXX`, with its arguments, or the first of c++, g++ and clang++ that is installed.

    Raises:
        BuildError: if there is none.
    """
    cxx = os.environ.get("CXX", "").strip()
    try:
        candidates = [shlex.split(cxx)] if cxx else [["c++"], ["g++"], ["clang++"]]
    except ValueError as error:
        raise BuildError(f"CXX={cxx!r}: {error}") from error
    for program, *arguments in candidates:
        if path := shutil.which(program):
            return [os.path.abspath(path), *arguments]
    tried = ", ".join(shlex.quote(program) for program, *_ in candidates)
    raise BuildError(f"no C++ compiler ({tried}) on this machine")


def cache_folder() -> Path:
    """The folder of built libraries: `$SEQLIGHT_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("SEQLIGHT_CACHE") or platformdirs.user_cache_dir("seqlight")).absolute()


@functools.cache
def load(*libraries: tuple[str, tuple[str, ...]]) -> tuple[ctypes.CDLL, ...]:
    """Load libraries from the cache; build those that are not there, all at once.

    Args:
        libraries: the C++ source and the functions of each library.

    Raises:
        BuildError: if one can't be built, stored in the cache or loaded.
        InterruptedBuildError: if a build does not end, for a reason that can pass.
    """
    compiler, folder = find_compiler(), cache_folder()
    loaded: dict[str, ctypes.CDLL] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        keys = {source: _key(compiler, source) for source, _ in libraries}
        for source, functions in libraries:
            if (library := _load_stored(folder, keys[source], functions)) is not None:
                loaded[source] = library
        if missing := {source: functions for source, functions in libraries if source not in loaded}:
            remove_abandoned(folder)
            with tempfile.TemporaryDirectory(suffix=draft_suffix(), dir=folder, ignore_cleanup_errors=True) as scratch:
                for source, path in _compile(compiler, missing, Path(scratch)).items():
                    loaded[source] = _open(path, missing[source])
                    # The file name contains the hash of the content, so a damaged file does not match its name.
                    # Atomic, because several processes can build the same library.
                    os.replace(path, folder / f"{keys[source]}-{_digest(path.read_bytes())}.so")
    except OSError as error:
        message = f"can't store a kernel in {folder} ($SEQLIGHT_CACHE): {error.strerror or error}"
        # A file that is missing here has been removed during the build.
        passes = error.errno in (*_SHORTAGES, errno.ENOENT)
        raise (InterruptedBuildError if passes else BuildError)(message) from error
    return tuple(loaded[source] for source, _ in libraries)


def _load_stored(folder: Path, key: str, functions: tuple[str, ...]) -> ctypes.CDLL | None:
    for path in folder.glob(f"{key}-*.so"):
        if _is_sound(path, key):
            with contextlib.suppress(BuildError):
                return _open(path, functions)
        path.unlink(missing_ok=True)
    return None


def _open(path: Path, functions: tuple[str, ...]) -> ctypes.CDLL:
    """Load a file.

    Raises:
        BuildError: if it is not a library of this machine, or lacks a function.
    """
    try:
        library = ctypes.CDLL(str(path))
        for name in functions:
            getattr(library, name)
    except (OSError, AttributeError) as error:
        reason = one_line(str(error).removeprefix(f"{path}: "))
        raise BuildError(f"the compiler's library can't be loaded: {reason}") from error
    return library


def _compile(compiler: list[str], sources: Iterable[str], scratch: Path) -> dict[str, Path]:
    """Compile all sources at once; if one fails or a signal arrives, kill all compilers. Returns the file of each."""
    folders = {source: scratch / str(number) for number, source in enumerate(sources)}
    processes: list[subprocess.Popen[bytes]] = []
    deadline = time.monotonic() + _TIME_LIMIT
    try:
        for source, folder in folders.items():
            folder.mkdir()
            (folder / "cell.cpp").write_text(source, encoding="utf-8")
            processes.append(_start(compiler, folder))
        for folder, process in zip(folders.values(), processes, strict=True):
            while process.poll() is None:
                stop_requests.stop_waiting()
                if time.monotonic() > deadline:
                    raise InterruptedBuildError(f"{shlex.join(compiler)} took more than {_TIME_LIMIT:.0f} seconds")
                time.sleep(0.01)
            _check(compiler, process.returncode, folder)
    except BaseException:
        _kill_unknown(scratch)
        raise
    finally:
        for process in processes:
            _end(process)
    return {source: folder / "cell.so" for source, folder in folders.items()}


def _start(compiler: list[str], folder: Path) -> subprocess.Popen[bytes]:
    # The session keeps Ctrl-C in the terminal from the compiler. Its files are in `folder`, so none is left if it is
    # killed, and it can't wait for a reader of its output.
    with (folder / "output").open("wb") as output:
        try:
            return subprocess.Popen(
                [*compiler, *FLAGS, f"-I{HEADERS}", "cell.cpp", "-o", "cell.so"],
                cwd=folder,
                env=os.environ | {"LC_ALL": "C", "TMPDIR": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except OSError as error:
            if error.errno in _SHORTAGES:
                raise
            raise BuildError(f"can't run {shlex.join(compiler)}: {error.strerror}") from error


def _check(compiler: list[str], status: int, folder: Path) -> None:
    """Check that a compiler has succeeded.

    Raises:
        BuildError, InterruptedBuildError: if it has not.
    """
    if status == 0 and (folder / "cell.so").is_file():
        return
    with (folder / "output").open("rb") as file:
        words = file.read(100_000).decode("utf-8", "backslashreplace").strip()
    line = next((line for line in words.splitlines() if "error" in line), words[:200])
    reason = one_line(line) or (f"status {status}" if status else "it wrote no library")
    message = f"{shlex.join(compiler)} failed: {reason}"
    if -status in _STOPPING or status - 128 in _STOPPING or _INTERRUPTED.search(words):
        time.sleep(0.1)  # a signal to all processes of a machine or container may be about to reach this one
        stop_requests.stop_waiting()
        raise InterruptedBuildError(f"{message} (status {status})")
    raise BuildError(message)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a compiler that has not succeeded, and all programs that it has started."""
    if process.poll() == 0:
        return
    _kill_group(process.pid)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(2)


def _kill_group(leader: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(leader, signal.SIGKILL)


def _kill_unknown(scratch: Path) -> None:
    """Kill compilers in a folder for which there is no `Popen`: a signal interrupted its constructor."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error, OSError, KeyError):
            if Path(child.environ()["TMPDIR"]).is_relative_to(scratch):  # it can have changed its working directory
                _kill_group(child.pid)


def _is_sound(path: Path, key: str) -> bool:
    """Whether the file belongs to the user, is no link, and matches the hash in its name."""
    if not path.exists():  # another process found it damaged and deleted it
        return False
    status = path.stat()
    own = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    return own and not path.is_symlink() and path.name == f"{key}-{_digest(path.read_bytes())}.so"


def _key(compiler: list[str], source: str) -> str:
    headers = [header.read_bytes() for header in sorted(HEADERS.glob("*.h"))]
    return _digest(source, *headers, *_identity(compiler), *FLAGS, _processor())


def _digest(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:32]


def _identity(compiler: list[str]) -> list[str]:
    """A compiler's command, and path, size and modification time of each program in it, such as `ccache g++`.

    Running it to ask its version would take longer.
    """
    programs = [os.path.realpath(path) for word in compiler if (path := shutil.which(word))]
    status = [os.stat(path) for path in programs]
    return [*compiler, *programs, *(f"{each.st_size} {each.st_mtime_ns}" for each in status)]


@functools.cache
def _processor() -> str:
    """The processor's model and features, which -march=native depends on."""
    try:
        text = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
        return "\n".join(line for line in text.splitlines() if line.startswith(("model name", "flags", "Features")))
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
