"""Training steps of a user's cells, run as kernels, against three other ways to run the same equations.

    kernel    seqlight's generated kernel: RecurrentLayer(cell, backend="kernel")
    torch.nn  nn.RNN, nn.LSTM or nn.GRU, with PackedSequence for ragged lengths; the MGU is compared with nn.GRU
    flax      nnx.RNN and the same cell under jit, with optax's Adam (flax_steps.py; `pip install -e '.[bench]'`)
    loop      the plain loop in Python: seqlight.unroll, at small sizes

A step is forward, squared error of the last output, backward and fused Adam. All ways start from the same
weights, and must have the same losses before they are timed. They take turns within each round. A ratio is the
time of another way divided by the time of the kernel, within a round; the script prints medians over rounds, each
with its target. With one thread, times are processor times, which other work on the machine disturbs less. With
all threads, they are wall-clock times.

The script also prints how long it takes to get a kernel (trace the cell; then build, or load from the cache), and
the floating-point operations per second of a step's three products with W_hh or its gradient, against MKL and
oneDNN in products of the same shapes.
"""

import argparse
import copy
import importlib.util
import math
import os
import pickle
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

from seqlight import GatedCell, RecurrentLayer, unroll
from seqlight.kernels import autograd, build, library

INPUT_SIZE, LEARNING_RATE = 8, 0.001
MOST_FIRST_BUILD, MOST_CACHED_BUILD = 1500, 50  # targets, ms
LEAST_FLAX, LEAST_LOOP, LEAST_RATE = 1.0, 4.0, 0.5  # targets


class Elman(GatedCell):
    num_gates = 1

    def update(self, input_gates, hidden_gates, state):
        return (torch.tanh(input_gates + hidden_gates),)


class LSTM(GatedCell):
    num_gates = 4
    state_names = ("hidden", "cell")

    def update(self, input_gates, hidden_gates, state):
        i, f, g, o = (input_gates + hidden_gates).chunk(4, -1)
        cell = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(cell), cell


class GRU(GatedCell):
    num_gates = 3

    def update(self, input_gates, hidden_gates, state):
        input_reset, input_update, input_new = input_gates.chunk(3, -1)
        hidden_reset, hidden_update, hidden_new = hidden_gates.chunk(3, -1)
        reset, update = torch.sigmoid(input_reset + hidden_reset), torch.sigmoid(input_update + hidden_update)
        new = torch.tanh(input_new + reset * hidden_new)
        return ((1 - update) * new + update * state[0],)


class MGU(GatedCell):
    num_gates = 2

    def update(self, input_gates, hidden_gates, state):
        input_forget, input_new = input_gates.chunk(2, -1)
        hidden_forget, hidden_new = hidden_gates.chunk(2, -1)
        forget = torch.sigmoid(input_forget + hidden_forget)
        new = torch.tanh(input_new + forget * hidden_new)
        return ((1 - forget) * state[0] + forget * new,)


CELLS = {"Elman": (Elman, nn.RNN), "LSTM": (LSTM, nn.LSTM), "GRU": (GRU, nn.GRU), "MGU": (MGU, nn.GRU)}


class Size(NamedTuple):
    """The size of a batch. Lengths are spread evenly from the shortest to the longest."""

    batch: int
    shortest: int
    longest: int
    hidden: int

    @property
    def ragged(self) -> bool:
        """Whether lengths differ."""
        return self.shortest < self.longest

    def __str__(self) -> str:
        steps = f"{self.shortest}-{self.longest}" if self.ragged else self.longest
        return f"{self.batch}x{steps}x{self.hidden}"


def parse_size(text: str) -> Size:
    batch, steps, hidden = text.split("x")
    shortest, _, longest = steps.partition("-")
    return Size(int(batch), int(shortest), int(longest or shortest), int(hidden))


SIZES = ("32x10x32", "64x100x64", "128x100x256", "8x1000x64", "64x10-100x64")


def least_torch(name: str, size: Size) -> float:
    """The target for the ratio to torch.nn."""
    if name == "LSTM" and not size.ragged:
        return 1.3 if str(size) == SIZES[2] else 1.0
    return 2.0


class Data(NamedTuple):
    """A batch: inputs (B, T, F), targets (B, H), lengths (B,) or None."""

    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None


def draw(size: Size) -> Data:
    inputs = torch.randn(size.batch, size.longest, INPUT_SIZE)
    targets = torch.rand(size.batch, size.hidden) - 0.5
    lengths = torch.linspace(size.shortest, size.longest, size.batch).long()[torch.randperm(size.batch)]
    return Data(inputs, targets, lengths if size.ragged else None)


Clock = Callable[[], float]
# Runs a given number of times; returns the time that took and the last result (for a training step, the loss).
Way = Callable[[int], tuple[float, Any]]


def processor_time() -> float:
    """Processor time of this process and of the processes it waited for (compilers), in seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def repeat(once: Callable[[], Any], clock: Clock, num_times: int) -> tuple[float, Any]:
    """Call a function several times; returns the time and the last result."""
    start = clock()
    for _ in range(num_times):
        result = once()
    return clock() - start, result


def training(run: Callable[[Data], Tensor], parameters: Iterable[Tensor], data: Data, clock: Clock) -> Way:
    """Training steps of a function that returns the last outputs (B, H)."""
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)

    def step() -> Tensor:
        loss = functional.mse_loss(run(data), data.targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return partial(repeat, step, clock)


def with_kernel(cell: GatedCell) -> Callable[[Data], Tensor]:
    layer = RecurrentLayer(cell, backend="kernel")
    return lambda data: last_output(*layer(data.inputs, data.lengths), data.lengths)


def with_loop(cell: GatedCell) -> Callable[[Data], Tensor]:
    return lambda data: last_output(*unroll(cell, data.inputs, lengths=data.lengths), data.lengths)


def last_output(outputs: Tensor, state: tuple[Tensor, ...], lengths: Tensor | None) -> Tensor:
    return outputs[:, -1] if lengths is None else state[0]


def with_torch(layer: nn.RNNBase) -> Callable[[Data], Tensor]:
    def run(data: Data) -> Tensor:
        if data.lengths is None:
            return layer(data.inputs)[0][:, -1]
        packed = pack_padded_sequence(data.inputs, data.lengths, batch_first=True, enforce_sorted=False)
        _, state = layer(packed)
        return state[0][0] if isinstance(layer, nn.LSTM) else state[0]

    return run


class Flax:
    """A process that runs flax_steps.py."""

    def __init__(self, one_core: bool) -> None:
        command = [sys.executable, str(Path(__file__).with_name("flax_steps.py")), "1" if one_core else "all"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, message: Any) -> Any:
        """Send a message; returns the answer."""
        pickle.dump(message, self._process.stdin)
        self._process.stdin.flush()
        return pickle.load(self._process.stdout)

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()

    def training(self, name: str, cell: GatedCell, data: Data) -> Way:
        """Training steps of a cell from CELLS. The next call replaces it."""
        weights = {key: value.detach().numpy() for key, value in cell.named_parameters()}
        arrays = tuple(None if part is None else part.numpy() for part in data)
        self.ask((name, weights, arrays, LEARNING_RATE))
        return self.ask


def ways_to_train(name: str, size: Size, clock: Clock, flax: Flax | None) -> dict[str, Way]:
    """Each way to train a cell, from the same weights."""
    cell_type, layer_type = CELLS[name]
    cell, data = cell_type(INPUT_SIZE, size.hidden), draw(size)
    layer = layer_type(INPUT_SIZE, size.hidden, batch_first=True)
    if name != "MGU":
        layer.load_state_dict({f"{key}_l0": value for key, value in cell.state_dict().items()})
    ways = {"torch.nn": training(with_torch(layer), layer.parameters(), data, clock)}
    if flax is not None:
        ways["flax"] = flax.training(name, cell, data)
    if not size.ragged and size.longest * size.hidden <= 64 * 100:
        looped = copy.deepcopy(cell)
        ways["loop"] = training(with_loop(looped), looped.parameters(), data, clock)
    return {"kernel": training(with_kernel(cell), cell.parameters(), data, clock), **ways}


def check_losses(name: str, ways: dict[str, Way]) -> None:
    """Raise RuntimeError unless all ways have the same loss in the first step, and in the fifth, after Adam steps."""
    for num_steps in (1, 4):
        losses = {way: float(run(num_steps)[1]) for way, run in ways.items()}
        if name == "MGU":
            del losses["torch.nn"]  # a GRU
        if not all(math.isclose(loss, losses["kernel"], rel_tol=1e-4) for loss in losses.values()):
            raise RuntimeError(f"{name} is not the same in all ways: after steps of Adam the losses are {losses}")


def alternate(ways: dict[str, Way], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds per run of each way in each round. In a round, each way runs for at least `seconds`."""
    for run in ways.values():
        run(1)
    numbers = {way: math.ceil(seconds / max(run(1)[0], 1e-6)) for way, run in ways.items()}
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, run in ways.items():
            times[way].append(run(numbers[way])[0] / numbers[way])
    return times


def median_ratio(these: list[float], those: list[float]) -> float:
    """Median over rounds of the ratio within a round."""
    return statistics.median(one / other for one, other in zip(these, those, strict=True))


def forget_loaded() -> None:
    """Forget the libraries that this process has loaded."""
    for cached in (build.load, library.library_of):
        cached.cache_clear()


def print_builds(clock: Clock, rounds: int) -> None:
    """Print the milliseconds to build a kernel, and to load it from the cache. A process's first trace is not timed."""
    print(f"{'cell':6}{'trace':>9}{'+ build':>9}{'(<= ' + str(MOST_FIRST_BUILD) + ' ms)':>15}", end="")
    print(f"{'+ load from the cache':>24} (<= {MOST_CACHED_BUILD} ms)")
    for name, (cell_type, _) in CELLS.items():
        cell, times = cell_type(INPUT_SIZE), []
        autograd.trace_update(cell, torch.float32)
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                trace, program = repeat(lambda cell=cell: autograd.trace_update(cell, torch.float32), clock, 1)
                source = autograd.print_cpp(program, "float", recurrent=True)
                os.environ["SEQLIGHT_CACHE"] = f"{folder}/first"
                forget_loaded()
                first, _ = repeat(partial(library.library_of, source), clock, 1)
                # A copy, because the system recognises a loaded library by its file.
                shutil.copytree(f"{folder}/first", f"{folder}/again")
                os.environ["SEQLIGHT_CACHE"] = f"{folder}/again"
                forget_loaded()
                cached, _ = repeat(partial(library.library_of, source), clock, 1)
                times.append((1e3 * trace, 1e3 * first, 1e3 * cached))
        trace, first, cached = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"{name:6}{trace:9.1f}{first:9.0f}{trace + first:15.0f}{cached:24.1f}{trace + cached:12.1f}", flush=True)


def print_ratios(size: Size, clock: Clock, rounds: int, seconds: float, flax: Flax | None) -> None:
    for name in CELLS:
        ways = ways_to_train(name, size, clock, flax)
        check_losses(name, ways)
        times = alternate(ways, rounds, seconds)
        targets = {"torch.nn": least_torch(name, size), "flax": LEAST_FLAX, "loop": LEAST_LOOP}
        print(f"{name:6}{size!s:>14}{1e3 * statistics.median(times['kernel']):12.3f}", end="")
        for way, least in targets.items():
            text = f"{median_ratio(times[way], times['kernel']):.2f} (>= {least})" if way in times else ""
            print(f"{text:>19}", end="")
        print(flush=True)


def print_rates(size: Size, clock: Clock, rounds: int, seconds: float) -> None:
    """Print GFLOP/s of a step, of its forward pass, and of the libraries in the same products."""
    print(f"\nGFLOP/s at {size}: products with W_hh in a kernel's training step, in its forward pass, and in the rest;")
    print("MKL and oneDNN in the products of one step forward, of one step backward, and for the gradient of W_hh")
    print(f"{'cell':6}{'step':>6}{'forward':>9}{'rest':>6}{'MKL':>19}{'oneDNN':>19}   step / best (>= {LEAST_RATE})")
    for name, (cell_type, _) in CELLS.items():
        cell, data, rows = cell_type(INPUT_SIZE, size.hidden), draw(size), cell_type.num_gates * size.hidden
        run = with_kernel(cell)
        ways: dict[str, Way] = {
            "step": training(run, cell.parameters(), data, clock),
            "forward": partial(repeat, partial(run, data), clock),
        }
        all_steps = size.batch * size.longest
        operations = {"step": 6 * all_steps * rows * size.hidden, "forward": 2 * all_steps * rows * size.hidden}
        shapes = ((size.batch, size.hidden, rows), (size.batch, rows, size.hidden), (rows, all_steps, size.hidden))
        for index, (m, k, n) in enumerate(shapes):
            left, right = torch.randn(m, k), torch.randn(k, n)
            packed = torch.ops.mkldnn._reorder_linear_weight(right.t().contiguous(), m)  # oneDNN's fastest layout
            linear = partial(torch.ops.mkldnn._linear_pointwise, left, packed, None, "none", [], "")
            torch.testing.assert_close(linear(), left @ right, rtol=1e-3, atol=1e-2)
            ways[f"MKL {index}"] = partial(repeat, partial(torch.mm, left, right), clock)
            ways[f"oneDNN {index}"] = partial(repeat, linear, clock)
            operations[f"MKL {index}"] = operations[f"oneDNN {index}"] = 2 * m * k * n
        times = alternate(ways, rounds, seconds)
        rates = {way: [operations[way] / second / 1e9 for second in times[way]] for way in ways}
        both = zip(times["step"], times["forward"], strict=True)
        rest = statistics.median(4 * all_steps * rows * size.hidden / (step - part) / 1e9 for step, part in both)
        median = {way: statistics.median(values) for way, values in rates.items()}
        best = max((way for way in ways if way[-1].isdigit()), key=lambda way: median[way])
        print(f"{name:6}{median['step']:6.0f}{median['forward']:9.0f}{rest:6.0f}", end="")
        for blas in ("MKL", "oneDNN"):
            print(f"{' /'.join(f'{median[way]:4.0f}' for way in ways if way.startswith(blas)):>19}", end="")
        print(f"{median_ratio(rates['step'], rates[best]):14.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", choices=("1", "all"), default="1")
    parser.add_argument("--rounds", type=int, default=7, help="rounds, with one run of each way; at most 3 for builds")
    parser.add_argument("--seconds", type=float, default=0.1, help="shortest time of a measurement")
    parser.add_argument("--sizes", type=parse_size, nargs="+", metavar="BxTxH", help="ragged: Bx10-100xH")
    arguments = parser.parse_args()
    sizes = arguments.sizes or [parse_size(text) for text in SIZES]
    one_thread = arguments.threads == "1"
    torch.set_num_threads(1 if one_thread else len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    clock = processor_time if one_thread else time.perf_counter
    has_flax = all(importlib.util.find_spec(name) for name in ("flax", "optax"))
    flax = Flax(one_thread) if has_flax else None

    kind_of_time = "processor time" if one_thread else "wall-clock time"
    print(f"{torch.get_num_threads()} thread(s), {kind_of_time}; medians of {arguments.rounds} rounds")
    if flax is None:
        print("no comparison with flax: flax and optax are not installed (pip install -e '.[bench]')")
    print()
    with mock.patch.dict(os.environ):  # print_builds sets SEQLIGHT_CACHE
        print_builds(clock, min(arguments.rounds, 3))
    print(f"\n{'cell':6}{'BxTxH':>14}{'kernel, ms':>12}", end="")
    print(f"{'torch.nn / kernel':>19}{'flax / kernel':>19}{'loop / kernel':>19}")
    for size in sizes:
        print_ratios(size, clock, arguments.rounds, arguments.seconds, flax)
    if flax is not None:
        flax.close()
    full = [size for size in sizes if not size.ragged]
    if full:
        largest = max(full, key=lambda size: size.batch * size.longest * size.hidden**2)
        print_rates(largest, clock, arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
