"""Compile C++ and load the library, with a cache on disk."""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import platformdirs

HEADERS = Path(__file__).parent
# No -ffast-math: it makes the whole process flush denormal numbers to zero, and breaks NaN.
FLAGS = (
    "-std=c++17 -O3 -march=native -fno-math-errno -fno-trapping-math -ffp-contract=fast -fPIC -shared -pthread".split()
)


class BuildError(Exception):
    """A library can't be built; the message names the compiler and its error."""


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
            return [path, *arguments]
    tried = ", ".join(program for program, *_ in candidates)
    raise BuildError(f"no C++ compiler ({tried}) on this machine")


def cache_folder() -> Path:
    """The folder of built libraries: `$SEQLIGHT_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("SEQLIGHT_CACHE") or platformdirs.user_cache_dir("seqlight"))


@functools.cache
def load(source: str) -> ctypes.CDLL:
    """Load the library of a C++ source from the cache; build it if it is not there.

    Raises:
        BuildError: if it can't be built or stored in the cache.
    """
    compiler = find_compiler()
    key = _digest(
        source,
        *(header.read_text() for header in sorted(HEADERS.glob("*.h"))),
        *_identity(compiler),
        *FLAGS,
        _processor(),
    )
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The file name contains the hash of the content, so a damaged file does not match its name.
        for path in folder.glob(f"{key}-*.so"):
            if _is_sound(path, key):
                return ctypes.CDLL(str(path))
            path.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            built = _compile(compiler, source, Path(scratch))
            path = folder / f"{key}-{_digest(built.read_bytes())}.so"
            os.replace(built, path)  # atomic, because several processes can build the same library
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(f"can't store a kernel in {folder}: {error}") from error


def _compile(compiler: list[str], source: str, folder: Path) -> Path:
    (folder / "cell.cpp").write_text(source)
    command = [*compiler, *FLAGS, f"-I{HEADERS}", "cell.cpp", "-o", "cell.so"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode or not (folder / "cell.so").exists():
        reason = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:200])
        raise BuildError(f"{' '.join(compiler)} failed: {reason}")
    return folder / "cell.so"


def _is_sound(path: Path, key: str) -> bool:
    """Whether the file belongs to the user, is no link, and matches the hash in its name."""
    if not path.exists():  # another process found it damaged and deleted it
        return False
    status = path.stat()
    own = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    return own and not path.is_symlink() and path.name == f"{key}-{_digest(path.read_bytes())}.so"


def _digest(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:32]


def _identity(compiler: list[str]) -> tuple[str, ...]:
    """A compiler's path, size, modification time and arguments; running it to ask its version would take longer."""
    path = os.path.realpath(compiler[0])
    status = os.stat(path)
    return path, str(status.st_size), str(status.st_mtime_ns), *compiler[1:]


@functools.cache
def _processor() -> str:
    """The processor's model and features, which -march=native depends on."""
    try:
        text = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
        return "\n".join(line for line in text.splitlines() if line.startswith(("model name", "flags", "Features")))
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
