"""Time of one training step at seqlight's defaults, against two ways without seqlight.

    loop      a hand-written loop: DataLoader, torch.nn layer, Adam; no clipping, curves or checkpoints
    port      a first, plain LightningModule: `self.log` of loss and accuracy in every step
    torch     SequenceClassifier as `seqlight fit` trains it (clipping, schedule, curves, checkpoints), with
              torch's own layers: backend="torch"
    kernel    the same with generated kernels, the default: backend="auto"

All run on one thread and in one process, in turns. The time of a step is the time of an epoch's steps, including
fetching batches, progress bar and logging, divided by their number. It is processor time, which other work on the
machine disturbs less than wall-clock time. Validation is off. Work done once per epoch or run (writing checkpoints,
starting the Trainer) is not counted. Ratios are taken within a round, and the script prints medians over rounds.

`--check` prints instead the cost of the check that losses and gradients are finite, as a share of a step without it.
Steps with and without the check take turns within one run, and the lowest tenths of both are compared.
"""

import argparse
import contextlib
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import BinaryAccuracy

from seqlight import (
    Batch,
    ElmanCell,
    GRUCell,
    LSTMCell,
    ResumeCheckpoint,
    RunDescription,
    SealedCheckpointIO,
    SequenceClassifier,
    SumSign,
    SyntheticSequences,
    TensorBoardFigures,
)
from seqlight.callbacks.best_checkpoint import BestCheckpoint
from seqlight.callbacks.logger import CurvesLogger
from seqlight.callbacks.profiler import NoProfiler
from seqlight.callbacks.progress_bar import TimedProgressBar
from seqlight.recurrent.layer import Backend
from seqlight.training import step_monitor
from seqlight.training.finite_check import FiniteCheck
from seqlight.training.gradients import gradient_total

CELLS = {"RNN": (nn.RNN, ElmanCell), "LSTM": (nn.LSTM, LSTMCell), "GRU": (nn.GRU, GRUCell)}
HIDDEN_SIZE, BATCH_SIZE, LEARNING_RATE = 32, 32, 0.01
MOST_CHECK = 0.02
MOST_LOOP, MOST_PORT = 1.4, 0.55  # targets with torch's layers, against loop and port
MOST_KERNEL = {"RNN": 1.0, "LSTM": 1.0, "GRU": 0.7}  # targets with kernels, against the loop


class Net(nn.Module):
    """A torch.nn recurrent layer, and a linear layer on its last output."""

    def __init__(self, layer: type[nn.RNNBase]) -> None:
        super().__init__()
        self.layer = layer(1, HIDDEN_SIZE, batch_first=True)
        self.head = nn.Linear(HIDDEN_SIZE, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Probabilities (B,)."""
        outputs, _ = self.layer(inputs)
        return torch.sigmoid(self.head(outputs[:, -1])).squeeze(-1)


class Port(pl.LightningModule):
    """The loop as a plain LightningModule."""

    def __init__(self, layer: type[nn.RNNBase]) -> None:
        super().__init__()
        self.net = Net(layer)
        self.loss = nn.BCELoss()
        self.accuracy = BinaryAccuracy()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Return the loss; log loss and accuracy in every step."""
        inputs, targets = batch
        probabilities = self.net(inputs)
        loss = self.loss(probabilities, targets)
        self.accuracy(probabilities, targets)
        self.log("train_loss", loss, prog_bar=True)
        self.log("train_accuracy", self.accuracy, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the same optimizer as in the loop."""
        return torch.optim.Adam(self.parameters(), lr=LEARNING_RATE)


class Clock(pl.Callback):
    """Measure the seconds per step of each epoch, without the epoch's end."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._start = time.process_time()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock, before checkpoints are written."""
        self.times.append((time.process_time() - self._start) / trainer.num_training_batches)


def loader() -> DataLoader:
    data = SyntheticSequences(SumSign()).split("train")
    return DataLoader(TensorDataset(data.inputs, data.targets), batch_size=BATCH_SIZE, shuffle=True)


def time_loop(name: str, num_epochs: int, folder: str) -> list[float]:
    net, loss_function, batches = Net(CELLS[name][0]), nn.BCELoss(), loader()
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)
    times = []
    for _ in range(num_epochs):
        start = time.process_time()
        for inputs, targets in batches:
            loss = loss_function(net(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        times.append((time.process_time() - start) / len(batches))
    return times


def time_port(name: str, num_epochs: int, folder: str) -> list[float]:
    clock = Clock()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=num_epochs,
        logger=TensorBoardLogger(folder, name="port"),
        callbacks=[clock, ModelCheckpoint()],
    )
    trainer.fit(Port(CELLS[name][0]), loader())
    return clock.times


def time_seqlight(name: str, num_epochs: int, folder: str, backend: Backend) -> list[float]:
    clock = Clock()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=num_epochs,
        gradient_clip_val=1.0,
        log_every_n_steps=10,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        profiler=NoProfiler(),
        logger=CurvesLogger(folder, name="seqlight", default_hp_metric=False),
        callbacks=[
            clock,
            RunDescription(),
            TensorBoardFigures(),
            TimedProgressBar(),
            BestCheckpoint(filename="best", monitor="train/loss", enable_version_counter=False),
            ResumeCheckpoint(),
        ],
        plugins=[SealedCheckpointIO()],
    )
    data = SyntheticSequences(SumSign(), batch_size=BATCH_SIZE)
    model = SequenceClassifier(CELLS[name][1], input_size=1, learning_rate=LEARNING_RATE, backend=backend)
    trainer.fit(model, data)
    return clock.times


class NoCheck(FiniteCheck):
    """Accepts every step without a check."""

    def watch(self, loss: Tensor) -> Tensor:
        """Return the loss unchanged."""
        return loss

    def accepts(self, module: pl.LightningModule, parameters: Sequence[Tensor], total: float | Tensor) -> bool:
        """Return True."""
        return True


class Alternating(pl.Callback):
    """Switches the check on and off in turns, and times the steps."""

    def __init__(self) -> None:
        self.times: tuple[list[float], list[float]] = ([], [])
        self._ways = (NoCheck("stop"), FiniteCheck("stop"))
        self._number = 0
        self._start: float | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Discard the start time: the time between epochs is not part of a step."""
        self._start = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Note the time of the last step, and switch."""
        now = time.process_time()
        if self._start is not None:
            self.times[self._number % 2].append(now - self._start)
        self._number += 1
        checked = self._number % 2 == 1
        assert isinstance(pl_module, SequenceClassifier)
        pl_module._monitor._check = self._ways[checked]
        step_monitor.gradient_total = gradient_total if checked else lambda parameters: 0.0
        self._start = time.process_time()


def check_share(name: str, hidden_size: int, clipped: bool, num_epochs: int) -> tuple[float, float]:
    """Seconds of a step without the check, and the cost of the check as a share of them."""
    steps = Alternating()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=num_epochs,
        gradient_clip_val=1.0 if clipped else None,
        log_every_n_steps=11,  # odd, so that curve points fall on both kinds of steps
        limit_val_batches=0,
        enable_model_summary=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        profiler=NoProfiler(),
        logger=False,
        callbacks=[steps],
    )
    model = SequenceClassifier(
        partial(CELLS[name][1], hidden_size=hidden_size), input_size=1, learning_rate=LEARNING_RATE
    )
    trainer.fit(model, SyntheticSequences(SumSign(), batch_size=BATCH_SIZE))
    # The lowest tenth: longer times show other work on the machine.
    without, with_check = (statistics.quantiles(times, n=10)[0] for times in steps.times)
    return without, with_check / without - 1


def print_checks(num_epochs: int) -> None:
    print(f"{'':20}us per step{'':4}cost of the check (<= {MOST_CHECK:.0%}), clipped{'':5}without clipping")
    for name in CELLS:
        for hidden_size in (HIDDEN_SIZE, 256):
            step, clipped = check_share(name, hidden_size, True, num_epochs)
            _, unclipped = check_share(name, hidden_size, False, num_epochs)
            print(f"{name:8}H {hidden_size:<10}{1e6 * step:11.0f}{clipped:35.1%}{unclipped:24.1%}", flush=True)


WAYS: dict[str, Callable[[str, int, str], list[float]]] = {
    "loop": time_loop,
    "port": time_port,
    "torch": partial(time_seqlight, backend="torch"),
    "kernel": partial(time_seqlight, backend="auto"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="print the cost of the check for finite values")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, with one run of each way")
    parser.add_argument("--epochs", type=int, default=8, help="timed epochs of 32 steps per round")
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if arguments.check:
        print_checks(arguments.rounds * arguments.epochs)
        return

    print(f"us per step{'':3}{''.join(f'{way:>8}' for way in WAYS)}", end="")
    print(f"   torch/loop (<= {MOST_LOOP})   torch/port (<= {MOST_PORT})   kernel/loop")
    for name in CELLS:
        rounds = []
        for _ in range(arguments.rounds):
            with (
                tempfile.TemporaryDirectory() as folder,
                open(os.devnull, "w") as nowhere,
                contextlib.redirect_stdout(nowhere),  # the progress bars are on, and their output is discarded
                contextlib.redirect_stderr(nowhere),
            ):
                # The first epoch of each fit is a warm-up.
                rounds.append([statistics.median(way(name, 1 + arguments.epochs, folder)[1:]) for way in WAYS.values()])
        loop, port, torch_layers, kernel = (list(times) for times in zip(*rounds, strict=True))
        times = "".join(f"{1e6 * statistics.median(way):8.0f}" for way in (loop, port, torch_layers, kernel))
        print(
            f"{name:14}{times}{median_ratio(torch_layers, loop):15.2f}{median_ratio(torch_layers, port):24.2f}"
            f"{median_ratio(kernel, loop):18.2f} (<= {MOST_KERNEL[name]})",
            flush=True,
        )


def median_ratio(these: list[float], those: list[float]) -> float:
    """Median over rounds of the ratio within a round."""
    return statistics.median(one / other for one, other in zip(these, those, strict=True))


if __name__ == "__main__":
    main()
