"""Time of an epoch on own files, against a hand-written loop of torch with packed sequences on the same data.

    loop      DataLoader with padding, pack_padded_sequence, nn.GRU, Adam and clipping; no curves or checkpoints
    torch     `SequenceFiles` and SequenceClassifier as `seqlight fit` trains them, with torch's own layers
    kernel    the same with generated kernels, the default

The model is that of the defaults for files: a GRU of 64 units in both directions, whose last outputs, mean and maximum
over time are joined. The sequences have 8 features and lengths of three kinds. All run on one thread and in one
process, in turns. Times are processor times of an epoch's steps, with fetching batches, curves and progress bar.
Ratios are taken within a round, and the script prints medians over rounds.
"""

import argparse
import contextlib
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader

from seqlight import GRUCell, ResumeCheckpoint, SealedCheckpointIO, SequenceClassifier, SequenceFiles
from seqlight.callbacks.best_checkpoint import BestCheckpoint
from seqlight.callbacks.logger import CurvesLogger
from seqlight.callbacks.profiler import NoProfiler
from seqlight.callbacks.progress_bar import TimedProgressBar
from seqlight.recurrent.layer import Backend

INPUT_SIZE, HIDDEN_SIZE, BATCH_SIZE, LEARNING_RATE = 8, 64, 16, 0.01
MOST = 0.6  # the target with kernels, against the loop
Draw = Callable[[np.random.Generator, int], np.ndarray]
LENGTHS: dict[str, Draw] = {
    "10 to 100, uniform": lambda rng, number: rng.integers(10, 101, number),
    "median 40, lognormal": lambda rng, number: np.clip(rng.lognormal(np.log(40), 0.8, number), 1, 1000).astype(int),
    "90 % 20, 10 % 200": lambda rng, number: np.where(rng.random(number) < 0.9, 20, 200),
}
Sequences = list[tuple[Tensor, int]]


class Net(nn.Module):
    """A GRU in both directions on packed sequences; last outputs, mean and maximum over time; a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(INPUT_SIZE, HIDDEN_SIZE, batch_first=True, bidirectional=True)
        self.head = nn.Linear(6 * HIDDEN_SIZE, 1)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Logits (B,) of padded inputs (B, T, F) and lengths (B,)."""
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        outputs, final = self.gru(packed)
        outputs, _ = pad_packed_sequence(outputs, batch_first=True)
        padding = torch.arange(outputs.shape[1]) >= lengths[:, None]
        mean = outputs.sum(1) / lengths[:, None]
        largest = outputs.masked_fill(padding[..., None], -torch.inf).amax(1)
        logits: Tensor = self.head(torch.cat((final[0], final[1], mean, largest), 1)).squeeze(1)
        return logits


def collate(samples: Sequences) -> tuple[Tensor, Tensor, Tensor]:
    inputs, targets = zip(*samples, strict=True)
    lengths = torch.tensor([len(each) for each in inputs])
    return pad_sequence(list(inputs), batch_first=True), torch.tensor(targets, dtype=torch.float32), lengths


def time_loop(data: SequenceFiles, num_epochs: int, folder: str) -> list[float]:
    train = data.split("train")
    rows, targets = train.values.split(train.lengths.tolist()), train.targets.int().tolist()
    samples = list(zip(rows, targets, strict=True))
    batches = DataLoader(samples, BATCH_SIZE, shuffle=True, collate_fn=collate)  # type: ignore[arg-type]
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)
    times = []
    for _ in range(num_epochs):
        start = time.process_time()
        for inputs, labels, lengths in batches:
            loss = nn.functional.binary_cross_entropy_with_logits(net(inputs, lengths), labels)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
        times.append(time.process_time() - start)
    return times


class Clock(pl.Callback):
    """Measure the seconds of each epoch's steps."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._start = time.process_time()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        """Stop the clock after the last step, before checkpoints are written."""
        if trainer.is_last_batch:
            self.times.append(time.process_time() - self._start)


def time_seqlight(data: SequenceFiles, num_epochs: int, folder: str, backend: Backend) -> list[float]:
    clock = Clock()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=num_epochs,
        gradient_clip_val=1.0,
        log_every_n_steps=10,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        profiler=NoProfiler(),
        logger=CurvesLogger(folder, name="seqlight", default_hp_metric=False),
        callbacks=[
            TimedProgressBar(),
            BestCheckpoint(filename="best", monitor="train/loss", enable_version_counter=False),
            ResumeCheckpoint(),
            clock,
        ],
        plugins=[SealedCheckpointIO()],
    )
    model = SequenceClassifier(
        partial(GRUCell, hidden_size=HIDDEN_SIZE),
        input_size=INPUT_SIZE,
        bidirectional=True,
        readout="last_mean_max",
        learning_rate=LEARNING_RATE,
        recover=True,
        backend=backend,
    )
    trainer.fit(model, data)
    return clock.times


WAYS: dict[str, Callable[[SequenceFiles, int, str], list[float]]] = {
    "loop": time_loop,
    "torch": partial(time_seqlight, backend="torch"),
    "kernel": partial(time_seqlight, backend="auto"),
}


def write_file(path: Path, lengths: np.ndarray, rng: np.random.Generator) -> None:
    """Write a file of padded arrays, lengths and labels."""
    x = np.zeros((len(lengths), lengths.max(), INPUT_SIZE), np.float32)
    for row, length in zip(x, lengths, strict=True):
        row[:length] = rng.standard_normal((length, INPUT_SIZE))
    np.savez(path, inputs=x, targets=np.arange(len(lengths)) % 2, lengths=lengths)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds, with one run of each way")
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs per round")
    parser.add_argument("--sequences", type=int, default=1000, help="training sequences")
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    print(f"{'ms per epoch':24}{''.join(f'{way:>9}' for way in WAYS)}   torch/loop   kernel/loop (<= {MOST})")
    for name, draw in LENGTHS.items():
        rounds = []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "data.npz"
            write_file(path, draw(rng, arguments.sequences), rng)
            data = SequenceFiles(train=str(path), val=str(path), batch_size=BATCH_SIZE)
            for _ in range(arguments.rounds):
                with (
                    open(os.devnull, "w") as nowhere,
                    contextlib.redirect_stdout(nowhere),  # the progress bars are on, and their output is discarded
                    contextlib.redirect_stderr(nowhere),
                ):
                    # The first epoch is a warm-up.
                    times = [way(data, 1 + arguments.epochs, folder)[1:] for way in WAYS.values()]
                rounds.append([statistics.median(each) for each in times])
        ratios = [statistics.median(one[way] / one[0] for one in rounds) for way in (1, 2)]
        medians = [1e3 * statistics.median(one[way] for one in rounds) for way in range(3)]
        print(f"{name:24}{''.join(f'{each:9.0f}' for each in medians)}{ratios[0]:13.2f}{ratios[1]:14.2f}", flush=True)


if __name__ == "__main__":
    main()
