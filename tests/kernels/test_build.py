"""Building and caching of libraries. They are built without optimisation here, which takes a third of the time."""

import os
import shutil
import subprocess
import sys
import textwrap

import pytest
import torch

from seqlight import GRUCell, LSTMCell, RecurrentLayer, unroll
from seqlight.kernels import autograd, build
from seqlight.recurrent.kernel_backend import KernelWarning
from tests.user_cells import MinimalGatedUnit

UNOPTIMISED = [*build.FLAGS, "-O0"]


def forget_loaded():
    for cached in (build.load, autograd._library):
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
    original = build._compile
    monkeypatch.setattr(build, "_compile", lambda *arguments: calls.append(1) or original(*arguments))
    return calls


def run(cell=GRUCell):
    torch.manual_seed(0)
    return RecurrentLayer(cell(2, 4), backend="kernel")(torch.randn(3, 4, 2))[0]


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
        from seqlight.kernels import build
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


@pytest.mark.parametrize("reason", ["broken compiler", "unwritable cache"])
def test_loop_runs_if_nothing_can_be_built(cache, monkeypatch, reason, tmp_path):
    if reason == "broken compiler":
        compiler = tmp_path / "broken"
        compiler.write_text("#!/bin/sh\necho 'error: out of paper' >&2\nexit 1\n")
        compiler.chmod(0o755)
        monkeypatch.setenv("CXX", str(compiler))
        message = "broken failed: error: out of paper"
    else:
        cache.write_text("a file in place of the folder")
        message = "can't store a kernel in"
    cell, inputs = MinimalGatedUnit(2, 4), torch.randn(3, 4, 2)
    with pytest.warns(KernelWarning, match=message):
        outputs, _ = RecurrentLayer(cell)(inputs)
    torch.testing.assert_close(outputs, unroll(cell, inputs)[0])


def test_compiler_can_have_arguments_and_be_a_link(cache, monkeypatch, tmp_path):
    wrapper = tmp_path / "wrapper"
    wrapper.write_text('#!/bin/sh\n[ "$(basename "$0")" = c++ ] || exit 1\nexec g++ "$@"\n')
    wrapper.chmod(0o755)
    (tmp_path / "c++").symlink_to(wrapper)
    monkeypatch.setenv("CXX", f"'{tmp_path}/c++' -DARGUMENT")
    run()
    assert len(list(cache.iterdir())) == 2


def test_other_flags_get_other_files(filled_cache, monkeypatch):
    run()
    assert len(list(filled_cache.iterdir())) == 2
    monkeypatch.setattr(build, "FLAGS", [*build.FLAGS, "-DOTHER"])
    forget_loaded()
    run()
    assert len(list(filled_cache.iterdir())) == 4
