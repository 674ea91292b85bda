"""Sequences of 100 steps that each task draws per second of processor time, on one thread.

python benchmarks/tasks.py [--rounds 7]
"""

import argparse
import re
import statistics
import time

import torch

import seqlight
from seqlight import Dyck, ModularArithmetic, SequenceTask, Tomita
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="number of splits drawn for each task")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'task':<46}  1000 sequences of {STEPS} steps a second")
    for task in TASKS:
        target = "" if isinstance(task, LANGUAGES) else f"  (>= {TARGET // 1000})"
        print(f"{name(task):<46}  {rate(task, arguments.rounds) / 1000:>6.0f}{target}", flush=True)


if __name__ == "__main__":
    main()
