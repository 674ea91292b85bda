"""Padding and epoch time saved by batches of similar length (buckets).

Padding is the number of computed steps divided by the number of true steps. Time is the time of a training epoch with
buckets divided by that of an epoch without; the two take turns.
"""

import argparse
import statistics
import time
from functools import partial

import numpy as np
import torch

from seqlight import GRUCell, SequenceClassifier, SequenceLoader
from seqlight.data.sequences import Sequences
from seqlight.training.metrics import classification_loss

NUM_SEQUENCES, INPUT_SIZE, HIDDEN_SIZE = 4000, 8, 64
BATCH_SIZES = (8, 32, 128)
LENGTHS = {
    "10 to 100, uniform": lambda rng: rng.integers(10, 101, NUM_SEQUENCES),
    "median 40, lognormal": lambda rng: np.clip(rng.lognormal(np.log(40), 0.8, NUM_SEQUENCES), 1, 1000).astype(int),
    "90 % 20, 10 % 200": lambda rng: np.where(rng.random(NUM_SEQUENCES) < 0.9, 20, 200),
}


def make_sequences(lengths: np.ndarray, rng: np.random.Generator) -> Sequences:
    values = torch.from_numpy(rng.standard_normal((lengths.sum(), INPUT_SIZE), dtype=np.float32))
    starts = torch.from_numpy(np.cumsum(lengths) - lengths)
    return Sequences(values, starts, torch.from_numpy(lengths), torch.arange(NUM_SEQUENCES) % 2.0)


def train_epoch(loader: SequenceLoader, model: SequenceClassifier, optimizer: torch.optim.Optimizer) -> float:
    """Train for an epoch; returns the seconds it took."""
    start = time.perf_counter()
    for batch in loader:
        classification_loss(model(batch.inputs, batch.lengths), batch.targets, "binary").backward()
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="epochs with and without buckets, in turns")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)

    print(f"{NUM_SEQUENCES} sequences, GRU of {HIDDEN_SIZE} units, one thread; medians of {arguments.rounds} epochs")
    print(f"{'lengths':22}{'batch':>6}{'padded':>9}{'buckets':>9}{'time':>7}")
    for name, draw in LENGTHS.items():
        data = make_sequences(draw(rng), rng)
        for batch_size in BATCH_SIZES:
            loaders = {
                bucketing: SequenceLoader(data, batch_size, shuffle=True, bucketing=bucketing)
                for bucketing in (False, True)
            }
            num_steps = int(data.lengths.sum())
            padded = {
                bucketing: sum(batch.inputs.shape[0] * batch.inputs.shape[1] for batch in loader) / num_steps
                for bucketing, loader in loaders.items()
            }
            model = SequenceClassifier(partial(GRUCell, hidden_size=HIDDEN_SIZE), input_size=INPUT_SIZE)
            optimizer = torch.optim.Adam(model.parameters(), fused=True)
            ratios = []
            for epoch in range(arguments.rounds + 1):
                seconds = {}
                for bucketing, loader in loaders.items():
                    loader.set_epoch(epoch)
                    seconds[bucketing] = train_epoch(loader, model, optimizer)
                ratios.append(seconds[True] / seconds[False])
            time_ratio = statistics.median(ratios[1:])  # the first builds the kernel
            print(f"{name:22}{batch_size:6}{padded[False]:9.2f}{padded[True]:9.2f}{time_ratio:7.2f}", flush=True)


if __name__ == "__main__":
    main()
