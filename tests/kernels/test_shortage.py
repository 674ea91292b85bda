"""Kernels where memory, address space or threads are short; the layout of what Python passes to a kernel."""

import ctypes
import hashlib
import os
import re
import resource
import struct
import subprocess
import sys
from dataclasses import replace

import psutil
import pytest
import torch

from seqlight import LSTMCell
from seqlight.kernels import autograd, build, library
from tests.kernels.cells import OwnProjection

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and linkers of Linux")

# Put before the loop: allocations fail from the one that `allocations_left` counts down to, for good, and only
# `threads_left` threads start.
SCARCE = """
#include <cstdlib>
#include <new>
#include <system_error>
#include <thread>

extern "C" { __attribute__((visibility("default"))) long allocations_left = 1l << 60, threads_left = 1l << 60; }
static bool fails() { return __atomic_fetch_sub(&allocations_left, 1, __ATOMIC_SEQ_CST) <= 0; }
void *operator new(std::size_t size) { return fails() ? throw std::bad_alloc() : std::malloc(size); }
void operator delete(void *data) noexcept { std::free(data); }
void operator delete(void *data, std::size_t) noexcept { std::free(data); }

namespace std {
inline void *scarce_alloc(size_t alignment, size_t size) { return fails() ? nullptr : aligned_alloc(alignment, size); }
struct scarce_thread : thread {
  template <class... Part> static thread started(Part &&...parts) {
    if (threads_left-- <= 0) throw system_error(make_error_code(errc::resource_unavailable_try_again));
    return thread(forward<Part>(parts)...);
  }
  template <class... Part>
  explicit scarce_thread(Part &&...parts) : thread(started(forward<Part>(parts)...)) {}
  scarce_thread(scarce_thread &&) = default;
};
}
#define aligned_alloc scarce_alloc
#define thread scarce_thread
"""


def run(kernel, cell, inputs, before_backward=lambda: None):
    """Outputs, final states and gradients, as one vector."""
    outputs, final = autograd.run_kernel(kernel, cell, inputs, None, None)
    before_backward()
    gradients = torch.autograd.grad(outputs.sin().sum() + sum(part.sum() for part in final), list(cell.parameters()))
    return torch.cat([part.flatten() for part in (outputs, *final, *gradients)]).detach()


@pytest.fixture(scope="module", params=[LSTMCell, OwnProjection])
def scarce(request):
    """A function that runs a kernel on three threads with limited allocations and threads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "FLAGS", [*build.FLAGS, "-O0", "-Wl,-Bsymbolic"])
        patch.setattr(library, "_WORTH_A_THREAD", 0)
        threads = torch.get_num_threads()
        torch.set_num_threads(3)
        torch.manual_seed(0)
        cell, inputs = request.param(3, 6), torch.randn(5, 4, 3)
        kernel = autograd.make_kernel(cell, torch.float32)
        source = replace(kernel.source, loop=SCARCE + kernel.source.loop)
        kernel = replace(kernel, source=source)
        functions = ("seqlight_forward", "seqlight_backward")
        [loop] = build.load((source.loop, functions))
        left = {name: ctypes.c_long.in_dll(loop, f"{name}_left") for name in ("allocations", "threads")}

        def work(only_in_backward=False, **limits):
            def limit():
                for name, number in left.items():
                    number.value = limits.get(name, 1 << 60)

            number = left["allocations"]
            number.value = 1 << 60
            if not only_in_backward:
                limit()
            result = run(kernel, cell, inputs, limit if only_in_backward else lambda: None)
            return result, number.value

        yield work
        torch.set_num_threads(threads)


@pytest.mark.parametrize("only_in_backward", [False, True], ids=["forward", "backward"])
def test_each_failed_allocation_raises_memory_error(scarce, only_in_backward):
    expected, _ = scarce()
    failures = 0
    for allocations in range(200):
        try:
            result, left = scarce(only_in_backward, allocations=allocations)
        except MemoryError:
            failures += 1
        else:
            assert torch.equal(result, expected)
            if left >= 0:  # nothing has failed
                break
    else:
        raise AssertionError("the kernel takes more than 200 allocations")
    assert failures > 5
    assert torch.equal(scarce()[0], expected)  # and the next call works


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_work_without_a_thread_runs_in_the_calling_one(scarce, threads):
    expected, _ = scarce()
    assert torch.equal(scarce(threads=threads)[0], expected)


def _limited(subject, limit):
    """Run a kernel in a forked process; returns a digest of its results, an error's name, or the exit status."""
    receiver, sender = os.pipe()
    pid = os.fork()
    if pid == 0:
        text = "failed"
        try:
            limit()
            text = hashlib.sha256(run(*subject).numpy().tobytes()).hexdigest()
        except (MemoryError, RuntimeError) as error:
            text = "torch's error" if "DefaultCPUAllocator" in str(error) else type(error).__name__
        finally:
            os.write(sender, text.encode())
            os._exit(0)
    os.close(sender)
    with open(receiver) as results:
        text = results.read()
    return text or f"status {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}"


def work_under_limits():
    """Print what happens under each limit. This process runs no kernel, so it has no memory or threads to reuse."""
    library._WORTH_A_THREAD = 0
    autograd.torch.get_num_threads = lambda: 4  # torch itself has one
    cell = LSTMCell(64, 256)
    subject = autograd.make_kernel(cell, torch.float32), cell, torch.randn(256, 3, 64)
    space = psutil.Process().memory_info().vms

    def no_processes():
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        if os.getuid() == 0:  # the limit does not bind root
            os.setuid(65534)

    print("free", _limited(subject, lambda: None))
    print("threads", _limited(subject, no_processes))
    stack = resource.getrlimit(resource.RLIMIT_STACK)[0] >> 10  # kB of address space that a thread takes
    for size in (*range(0, 24000, 500), *range(stack, stack + 400, 20), 50 * stack):
        size = space + size * 1024
        print("space", _limited(subject, lambda size=size: resource.setrlimit(resource.RLIMIT_AS, (size, size))))


def test_limits_of_the_system_raise_or_change_nothing():
    # A new process, because one that has worked before has free memory.
    command = [sys.executable, "-c", "from tests.kernels.test_shortage import *; work_under_limits()"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    found = [tuple(line.split(" ", 1)) for line in done.stdout.splitlines()]
    expected = dict(found)["free"]
    assert dict(found)["threads"] == expected
    assert found[-1] == ("space", expected)
    # Whether torch or the kernel runs out of memory first depends on what the process has mapped.
    assert {expected} < {text for name, text in found if name == "space"} <= {expected, "torch's error", "MemoryError"}


def test_arguments_have_the_layout_that_python_packs(tmp_path):
    header = (build.HEADERS / "recurrence.h").read_text()
    [body] = re.findall(r"^struct Arguments {\n(.*?)^};", header, re.MULTILINE | re.DOTALL)
    declarations = [text.strip() for text in re.sub("//.*", "", body).split(";")[:-1]]
    fields = [field for text in declarations for field in re.findall(r"(\*?)(\w+)\s*(?:,|$)", text)]
    letters = "".join("P" if star else "q" for star, _ in fields)
    assert letters == re.sub(r"(\d+)(\w)", lambda run: int(run[1]) * run[2], library._ARGUMENTS.format)
    checks = [f'static_assert(sizeof(Arguments) == {library._ARGUMENTS.size}, "size");']
    for index, (star, name) in enumerate(fields):
        offset = struct.calcsize(letters[: index + 1]) - struct.calcsize(letters[index])
        kind = "std::is_pointer<decltype(Arguments::{})>" if star else "std::is_same<decltype(Arguments::{}), int64_t>"
        layout = f"offsetof(Arguments, {name}) == {offset} && {kind.format(name)}::value"
        checks.append(f'static_assert({layout}, "{name}");')
    checks.append(f'static_assert(no_memory == {library._NO_MEMORY} && done == 0, "status");')
    lines = [
        "#define REAL float",
        "#include <cstddef>",
        "#include <type_traits>",
        f'#include "{build.HEADERS}/recurrence.h"',
    ]
    (tmp_path / "check.cpp").write_text("\n".join([*lines, *checks]))
    command = [*build.find_compiler(), "-std=c++17", "-fsyntax-only", "-w", str(tmp_path / "check.cpp")]
    assert subprocess.run(command, capture_output=True, text=True).stderr == ""
