"""Time of a training step with all threads, divided by the time with one: when does a second thread pay?

seqlight/cli/threads.py takes its constant from here: the number of operations of one time step, 2 B (F + H) G H, from
which the ratio is clearly below 1.
"""

import argparse
import statistics
import time

import torch
from torch import Tensor
from torch.nn import functional

from seqlight import GRUCell, LSTMCell, RecurrentLayer

INPUT_SIZE = 1
# (B, T, H), from small to large products.
SIZES = (
    (32, 10, 32),
    (32, 50, 64),
    (32, 50, 128),
    (64, 50, 128),
    (32, 50, 256),
    (128, 50, 128),
    (64, 50, 256),
    (32, 50, 512),
    (128, 50, 256),
    (256, 50, 256),
)


def seconds_per_step(layer: RecurrentLayer, inputs: Tensor, num_threads: int, min_seconds: float) -> float:
    """Seconds of a step (forward, backward and Adam), repeated for at least `min_seconds`."""
    torch.set_num_threads(num_threads)
    optimizer = torch.optim.Adam(layer.parameters(), fused=True)
    num_steps = 0
    start = time.perf_counter()
    while True:
        outputs, _ = layer(inputs)
        functional.mse_loss(outputs[:, -1], torch.ones_like(outputs[:, -1])).backward()
        optimizer.step()
        optimizer.zero_grad()
        num_steps += 1
        seconds = time.perf_counter() - start
        if seconds >= min_seconds:
            return seconds / num_steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="rounds, with one run on one thread and one on all")
    parser.add_argument("--seconds", type=float, default=0.1, help="shortest time of a measurement")
    arguments = parser.parse_args()
    all_threads = torch.get_num_threads()
    torch.manual_seed(0)

    print(f"{all_threads} threads against 1; medians of {arguments.rounds} rounds")
    print(f"{'cell':10}{'B':>5}{'T':>5}{'H':>5}{'Mop/step':>10}{'ms, 1':>9}{'ms, all':>9}{'ratio':>7}{'quartiles':>14}")
    for cell_type in (LSTMCell, GRUCell):
        for batch_size, num_steps, hidden_size in SIZES:
            layer = RecurrentLayer(cell_type(INPUT_SIZE, hidden_size), backend="torch")
            inputs = torch.randn(batch_size, num_steps, INPUT_SIZE)
            operations = 2 * batch_size * (INPUT_SIZE + hidden_size) * cell_type.num_gates * hidden_size
            seconds_per_step(layer, inputs, all_threads, 0.0)
            rounds = [
                [seconds_per_step(layer, inputs, threads, arguments.seconds) for threads in (1, all_threads)]
                for _ in range(arguments.rounds)
            ]
            one, many = (1e3 * statistics.median(times) for times in zip(*rounds, strict=True))
            low, ratio, high = statistics.quantiles([many / one for one, many in rounds], n=4)
            print(
                f"{cell_type.__name__:10}{batch_size:5}{num_steps:5}{hidden_size:5}{operations / 1e6:10.1f}"
                f"{one:9.2f}{many:9.2f}{ratio:7.2f}{low:7.2f}{high:7.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
