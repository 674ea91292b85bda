"""Building and caching of libraries. They are built without optimisation here, which takes a third of the time."""

import ctypes
import errno
import os
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import unittest.mock

import pytest
import torch

from seqlight import GRUCell, LSTMCell, RecurrentLayer, unroll
from seqlight.common import drafts
from seqlight.kernels import build, library
from seqlight.recurrent.kernel_backend import KernelWarning
from tests.user_cells import MinimalGatedUnit

UNOPTIMISED = [*build.FLAGS, "-O0"]


def forget_loaded():
    for cached in (build.load, library.library_of):
        cached.cache_clear()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder; no library is loaded."""
    monkeypatch.setenv("SEQLIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "FLAGS", UNOPTIMISED)
    forget_loaded()
    yield tmp_path / "cache"
    forget_loaded()


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """A folder with the two libraries of a GRU's kernel: its own, and the loop."""
    folder = tmp_path_factory.mktemp("libraries")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQLIGHT_CACHE", str(folder))
        patch.setattr(build, "FLAGS", UNOPTIMISED)
        forget_loaded()
        run()
    forget_loaded()
    return folder


@pytest.fixture
def filled_cache(cache, libraries):
    """The cache folder with the libraries of a GRU's kernel."""
    return shutil.copytree(libraries, cache)


@pytest.fixture
def compiled(monkeypatch):
    """A list with one entry for each call of the compiler."""
    calls = []
    original = build._start
    monkeypatch.setattr(build, "_start", lambda *arguments: calls.append(1) or original(*arguments))
    return calls


def run(cell=GRUCell, inputs=None):
    torch.manual_seed(0)
    layer = RecurrentLayer(cell(2, 4), backend="kernel")
    return layer(torch.randn(3, 4, 2) if inputs is None else inputs)[0]


def test_kernel_is_built_once(cache, compiled):
    for _ in range(3):
        run()
        forget_loaded()
    assert len(compiled) == 2
    assert len(list(cache.iterdir())) == 2


def test_cells_share_the_library_of_the_loop(filled_cache, compiled):
    run(LSTMCell)
    assert len(compiled) == 1
    assert len(list(filled_cache.iterdir())) == 3


@pytest.mark.parametrize("damage", ["truncated", "foreign", "link"])
def test_damaged_or_foreign_file_is_built_again(filled_cache, compiled, damage, tmp_path):
    expected = run()
    assert not compiled
    for path in list(filled_cache.iterdir()):
        content = path.read_bytes()
        path.unlink()
        if damage == "truncated":
            path.write_bytes(content[: len(content) // 2])
        elif damage == "foreign":
            path.write_bytes(b"not a library")
        else:
            (tmp_path / path.name).write_bytes(content)
            path.symlink_to(tmp_path / path.name)
    forget_loaded()
    assert torch.equal(run(), expected)
    assert len(compiled) == 2
    assert [path.is_symlink() for path in filled_cache.iterdir()] == [False, False]


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """A cache folder, and the output of a process that imports seqlight and starts three that build one kernel."""
    cache = tmp_path_factory.mktemp("processes") / "cache"
    script = textwrap.dedent("""
        import multiprocessing, os, torch, seqlight
        from seqlight import GRUCell, RecurrentLayer
        from seqlight.kernels import build, library
        print("exists", os.path.exists(os.environ["SEQLIGHT_CACHE"]), flush=True)

        def run():
            barrier.wait()
            print("sum", layer(torch.ones(3, 4, 2))[0].sum().item(), flush=True)

        build.FLAGS.append("-O0")
        torch.manual_seed(0)
        layer = RecurrentLayer(GRUCell(2, 4), backend="kernel")
        fork = multiprocessing.get_context("fork")
        barrier = fork.Barrier(3)
        running = [fork.Process(target=run) for _ in range(3)]
        for process in running:
            process.start()
        for process in running:
            process.join(120)
        print("exit codes", *(process.exitcode for process in running))
    """)
    environment = os.environ | {"SEQLIGHT_CACHE": str(cache)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=150)
    return cache, done.stdout + done.stderr


def test_import_builds_nothing(processes):
    _, output = processes
    assert "exists False" in output.splitlines(), output


def test_processes_can_build_the_same_kernel_at_once(processes):
    cache, output = processes
    lines = output.splitlines()
    assert "exit codes 0 0 0" in lines, output
    sums = [line for line in lines if line.startswith("sum ")]
    assert len(sums) == 3
    assert len(set(sums)) == 1
    assert all(path.suffix == ".so" for path in cache.iterdir())


@pytest.fixture
def compiler(monkeypatch, tmp_path):
    """A function that makes a shell script with this text the compiler; it returns the script's path."""

    def use(text, name="compiler"):
        path = tmp_path / name
        path.write_bytes(b"#!/bin/sh\n" + (text if isinstance(text, bytes) else text.encode()) + b"\n")
        path.chmod(0o755)
        monkeypatch.setenv("CXX", shlex.quote(str(path)))
        return path

    return use


BROKEN = {
    "words": ("echo 'error: out of paper' >&2; exit 1", "compiler failed: error: out of paper"),
    "words on standard output": ("echo 'error: out of ink'; exit 1", "failed: error: out of ink"),
    "no words": ("exit 3", "compiler failed: status 3"),
    "latin-1": (b"echo 'error: \xe4rger' >&2; exit 1", r"error: \\xe4rger"),
    "binary": (b"printf 'error: \\200\\377\\033[31m\\000' >&2; exit 1", r"error: \\x80\\xff\\x1b\[31m\\x00"),
    "crash": ("kill -SEGV $$", "compiler failed: status -11"),
    "no file": ("exit 0", "compiler failed: it wrote no library"),
    "a folder": ("mkdir cell.so", "compiler failed: it wrote no library"),
    "garbage": ("cat cell.cpp cell.cpp > cell.so", "library can't be loaded: invalid ELF header"),
    "no functions": ('echo "int i;" > cell.cpp; exec g++ "$@"', "can't be loaded: undefined symbol: seqlight_"),
    "missing part": (
        'echo "void f(); void (*p)() = f;" > cell.cpp; exec g++ "$@"',
        "can't be loaded: undefined symbol: _Z1fv",
    ),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_compiler_is_named_and_the_loop_runs(cache, compiler, text, message):
    compiler(text)
    assert_loop_runs(message)
    assert not list(cache.iterdir())


def assert_loop_runs(message):
    cell, inputs = MinimalGatedUnit(2, 4), torch.randn(3, 4, 2)
    with pytest.warns(KernelWarning, match=message):
        outputs, _ = RecurrentLayer(cell)(inputs)
    torch.testing.assert_close(outputs, unroll(cell, inputs)[0])


@pytest.mark.parametrize(
    ("cxx", "message"),
    [
        ("no-such-program -O1", r"no C\+\+ compiler \(no-such-program\)"),
        ("{folder}", r"no C\+\+ compiler \({folder}\)"),
        ("{folder}/text", r"no C\+\+ compiler \({folder}/text\)"),
        ("{folder}/bare", "can't run {folder}/bare: Exec format error"),
        ("''", r"no C\+\+ compiler \(''\)"),
        ("'", "CXX=.*No closing quotation"),
        ("g++ -m32 -nostdinc", "g\\+\\+ -m32 -nostdinc failed: .*fatal error"),
        ("g++ --no-such-flag", "unrecognized command-line option"),
        ("g++ -fsyntax-only", "it wrote no library"),
        ("g++ -c", "can't be loaded: only ET_DYN"),
    ],
)
def test_wrong_cxx_is_named_and_the_loop_runs(cache, monkeypatch, tmp_path, cxx, message):
    (tmp_path / "text").touch()
    (tmp_path / "bare").write_text("exec g++")
    (tmp_path / "bare").chmod(0o755)
    monkeypatch.setenv("CXX", cxx.format(folder=tmp_path))
    assert_loop_runs(message.replace("{folder}", str(tmp_path)))


@pytest.mark.parametrize("place", ["in place of the cache", "above it"])
def test_without_a_cache_the_loop_runs(cache, monkeypatch, place):
    cache.write_text("a file")
    if place == "above it":
        monkeypatch.setenv("SEQLIGHT_CACHE", str(cache / "folder"))
    assert_loop_runs(r"can't store a kernel in .*cache.* \(\$SEQLIGHT_CACHE\): (File exists|Not a directory)")


INTERRUPTIONS = {
    "SIGKILL": "kill -KILL $$",
    "SIGTERM": "kill -TERM $$",
    "child of a shell": "sh -c 'kill -KILL $$'; exit $?",
    "child of g++": "echo 'g++: fatal error: Killed signal terminated program cc1plus' >&2; exit 1",
    "child of clang": "echo 'clang: error: unable to execute command: Killed' >&2; exit 254",
    "linker": "echo 'collect2: fatal error: ld terminated with signal 9 [Killed]' >&2; exit 1",
    "memory": "echo 'cc1plus: out of memory allocating 65536 bytes after a total of 1 bytes' >&2; exit 1",
    "disk": "echo 'fatal error: error writing to /tmp/ccx.s: No space left on device' >&2; exit 1",
    "processes": "echo 'g++: fatal error: vfork: Resource temporarily unavailable' >&2; exit 1",
    "disk while it exists": "echo x > cell.so; echo 'final link failed: No space left on device' >&2; exit 1",
    "time": "sleep 100",
}


@pytest.mark.parametrize("backend", ["auto", "kernel"])
@pytest.mark.parametrize("text", INTERRUPTIONS.values(), ids=INTERRUPTIONS.keys())
def test_interrupted_build_raises_and_is_tried_again(filled_cache, compiler, monkeypatch, text, backend):
    monkeypatch.setattr(build, "_TIME_LIMIT", 10.0 if text != "sleep 100" else 0.1)
    compiler(text)
    layer = RecurrentLayer(GRUCell(2, 4), backend=backend)
    with pytest.raises(build.InterruptedBuildError, match=r"compiler (failed|took)"):
        layer(torch.randn(3, 4, 2))
    assert len(list(filled_cache.iterdir())) == 2  # nothing is left
    monkeypatch.delenv("CXX")
    monkeypatch.setattr(build, "_TIME_LIMIT", 600.0)
    monkeypatch.setattr(layer._kernels, "run", run_kernel_only := unittest.mock.Mock(side_effect=layer._kernels.run))
    layer(torch.randn(3, 4, 2))
    run_kernel_only.assert_called_once()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EAGAIN, errno.ENOENT])
@pytest.mark.parametrize("function", ["os.replace", "tempfile.mkdtemp", "pathlib.Path.write_text"])
def test_system_without_room_raises(cache, compiler, monkeypatch, number, function):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    compiler("mv cell.cpp cell.so")
    monkeypatch.setattr(build, "_open", lambda *_: ctypes.CDLL(None))
    monkeypatch.setattr(function, fail)
    with pytest.raises(build.InterruptedBuildError, match=os.strerror(number)):
        run()


@pytest.mark.parametrize("alive", [False, True])
def test_folders_of_killed_builds_are_removed(cache, compiler, monkeypatch, alive):
    compiler("mv cell.cpp cell.so")
    monkeypatch.setattr(build, "_open", lambda *_: ctypes.CDLL(None))
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    folder = cache / f"tmpabc{drafts.draft_suffix()}".replace(f".{os.getpid()}.", f".{process.pid}.")
    folder.mkdir(parents=True)
    (folder / "cell.s").touch()
    with process:
        if not alive:
            process.kill()
            process.wait()
        build.load(("int i;", ()))
        assert folder.exists() == alive
        process.kill()
    assert len(list(cache.glob("*.so"))) == 1


@pytest.mark.parametrize("folder", [".", "/"])
def test_ctrl_c_while_a_compiler_starts_leaves_none(cache, compiler, monkeypatch, tmp_path, folder):
    class Interrupted(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)
            while not (tmp_path / "runs").exists():
                assert self.poll() is None
            raise KeyboardInterrupt

    started = []
    compiler(f"cd {folder}; touch '{tmp_path}/runs'; sleep 1000")
    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert started[0].wait(10) == -signal.SIGKILL
    assert not list(cache.iterdir())


def test_compiler_can_have_arguments_and_be_a_link(cache, monkeypatch, tmp_path):
    wrapper = tmp_path / "wrapper"
    wrapper.write_text('#!/bin/sh\n[ "$(basename "$0")" = c++ ] || exit 1\nexec g++ "$@"\n')
    wrapper.chmod(0o755)
    (tmp_path / "c++").symlink_to(wrapper)
    monkeypatch.setenv("CXX", f"'{tmp_path}/c++' -DARGUMENT")
    run()
    assert len(list(cache.iterdir())) == 2


def test_arguments_of_cxx_change_no_results(filled_cache, monkeypatch, tmp_path):
    """Hidden symbols, warnings as errors, no exceptions and fast math, by a compiler and cache with odd paths."""
    expected = run()
    folder = tmp_path / "a folder, \N{LATIN SMALL LETTER E WITH ACUTE} & $more"
    folder.mkdir()
    (folder / "g++").write_text('#!/bin/sh\nexec "$@"\n')  # a launcher, as ccache
    (folder / "g++").chmod(0o755)
    arguments = "-fvisibility=hidden -fvisibility-inlines-hidden -Wall -Wextra -Wpedantic -pedantic-errors -Werror"
    arguments += (
        " -fno-exceptions -Ofast -ffast-math -funsafe-math-optimizations -ffinite-math-only -fassociative-math -O1"
    )
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CXX", f"./g++ g++ {arguments}")
    monkeypatch.setenv("SEQLIGHT_CACHE", ".")
    forget_loaded()
    assert torch.equal(run(), expected)
    assert run(inputs=torch.full((3, 4, 2), torch.nan)).isnan().all()
    assert torch.tensor([1e-40]).mul(0.5).item() > 0  # the process does not flush denormal numbers to zero
    assert len(list(folder.glob("*.so"))) == 2


def test_other_flags_get_other_files(filled_cache, monkeypatch):
    run()
    assert len(list(filled_cache.iterdir())) == 2
    monkeypatch.setattr(build, "FLAGS", [*build.FLAGS, "-DOTHER"])
    forget_loaded()
    run()
    assert len(list(filled_cache.iterdir())) == 4
