"""Sequences of 100 steps that each task draws per second of processor time, on one thread.

python benchmarks/tasks.py [--rounds 7]

With --examples, the table of docs/tasks.md: each task's example is trained by its command, one after another.

python benchmarks/tasks.py --examples [Parity ...]
"""

import argparse
import os
import re
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

import torch

import seqlight
from seqlight import Dyck, ModularArithmetic, SequenceTask, Tomita
from seqlight.cli.listing import command_lines
from seqlight.data.synthetic import draw

STEPS, SEQUENCES = 100, 8192
TARGET = 100_000  # for the simple tasks
CLASSES = [getattr(seqlight, name) for name in seqlight.__all__]
TASKS = [
    cls(**arguments)
    for cls in CLASSES
    if isinstance(cls, type) and issubclass(cls, SequenceTask) and cls is not SequenceTask
    for arguments, _ in cls.measured
]
TASKS += [Dyck(num_kinds=1, max_depth=100), Dyck(num_kinds=8, max_depth=10)]
LANGUAGES = (Dyck, Tomita)


def name(task: SequenceTask) -> str:
    """The task's repr, without the lengths."""
    return re.sub(r"m\w\w_length=\w+,? ?", "", str(task))


def rate(task: SequenceTask, rounds: int) -> float:
    """Median of the sequences drawn per second. Splits are sampled in blocks, checked and put together."""
    shortest = STEPS - 1 if isinstance(task, ModularArithmetic) else STEPS  # its lengths are odd
    task = task.with_lengths(shortest, STEPS)
    draw(task, SEQUENCES, 0, "train")
    times = []
    for seed in range(rounds):
        start = time.process_time()
        draw(task, SEQUENCES, seed, "train")
        times.append(time.process_time() - start)
    return SEQUENCES / statistics.median(times)


def example_row(task: type[SequenceTask]) -> str:
    """Run the command of a task's example with the defaults, and return a row of the table."""
    assert task.example is not None
    command = " ".join(line.strip(" \\") for line in command_lines(task.__name__, task.example))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        out = subprocess.run(
            [sys.executable, "-m", *shlex.split(command), "--trainer.enable_progress_bar", "false", "--device", "cpu"],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    [accuracy] = re.findall(r"^val +\S+ +(\S+)", out, re.MULTILINE)
    baselines = re.findall(r"[\d.]+", re.findall(r"^baselines \(val\): (.*)", out, re.MULTILINE)[0])[:3]
    numbers = (float(accuracy), *map(float, baselines))
    return (
        f"| `{task.__name__}` | {task.example.cell} | {task.example.max_epochs} | "
        + " | ".join(f"{number:.3f}" for number in numbers)
        + f" | {seconds:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="number of splits drawn for each task")
    parser.add_argument("--examples", nargs="*", metavar="TASK", help="train the examples of these tasks, or of all")
    arguments = parser.parse_args()
    if arguments.examples is not None:
        tasks = sorted({type(task) for task in TASKS}, key=lambda task: task.__name__)
        for task in tasks:
            if task.__name__ in arguments.examples or not arguments.examples:
                print(example_row(task), flush=True)
        return
    torch.set_num_threads(1)
    print(f"{'task':<46}  1000 sequences of {STEPS} steps a second")
    for task in TASKS:
        target = "" if isinstance(task, LANGUAGES) else f"  (>= {TARGET // 1000})"
        print(f"{name(task):<46}  {rate(task, arguments.rounds) / 1000:>6.0f}{target}", flush=True)


if __name__ == "__main__":
    main()
