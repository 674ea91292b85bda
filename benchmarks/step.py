"""Time of one training step at seqlight's defaults, against two ways without seqlight.

    loop      a hand-written loop: DataLoader, torch.nn layer, Adam; no clipping, curves or checkpoints
    port      a first, plain LightningModule: `self.log` of loss and accuracy in every step
    torch     SequenceClassifier as `seqlight fit` trains it (clipping, schedule, curves, checkpoints), with
              torch's own layers: backend="torch"
    kernel    the same with generated kernels, the default: backend="auto"
    floor     Lightning's own loop: a Trainer without callbacks and logger, around a module that computes nothing

All run on one thread and in one process, in turns. The time of a step is the time of an epoch's steps, including
fetching batches, progress bar and logging, divided by their number. It is processor time, which other work on the
machine disturbs less than wall-clock time. Validation is off. Work done once per epoch or run (writing checkpoints,
starting the Trainer) is not counted. Ratios are taken within a round, and the script prints medians over rounds.

`--device gpu` trains on the first CUDA device: times are then wall-clock times that wait for the device at their start
and end, and the ways are loop, port and torch, since kernels run on the CPU.

`--check` prints instead the cost of the check that losses and gradients are finite, as a share of a step without it.
Steps with and without the check take turns within one run, and the lowest tenths of both are compared. On a GPU, eight
steps with and eight without take turns: waiting for the device after each step would hide what the check waits for.
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
from torch.optim import Optimizer
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
from seqlight.training.non_finite_step import Step

CELLS = {"RNN": (nn.RNN, ElmanCell), "LSTM": (nn.LSTM, LSTMCell), "GRU": (nn.GRU, GRUCell)}
HIDDEN_SIZE, BATCH_SIZE, LEARNING_RATE = 32, 32, 0.01
MOST_CHECK = 0.02
MOST_LOOP, MOST_PORT = 1.4, 0.55  # targets with torch's layers, against loop and port
STEPS_OF_A_TURN = {"cpu": 1, "gpu": 8}
MOST_KERNEL = {"RNN": 1.0, "LSTM": 1.0, "GRU": 0.6}  # targets with kernels, against the loop


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


def seconds(device: str) -> float:
    """Processor time; on a GPU, wall-clock time, after the device has done its work."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


class Clock(pl.Callback):
    """Measure the seconds per step of each epoch, without the epoch's end."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.times: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._start = seconds(self.device)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock, before checkpoints are written."""
        self.times.append((seconds(self.device) - self._start) / trainer.num_training_batches)


def loader() -> DataLoader:
    data = SyntheticSequences(SumSign()).split("train")
    return DataLoader(TensorDataset(data.inputs, data.targets), batch_size=BATCH_SIZE, shuffle=True)


def time_loop(name: str, num_epochs: int, folder: str, device: str) -> list[float]:
    place = {"cpu": "cpu", "gpu": "cuda"}[device]
    net, loss_function, batches = Net(CELLS[name][0]).to(place), nn.BCELoss(), loader()
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)
    times = []
    for _ in range(num_epochs):
        start = seconds(device)
        for inputs, targets in batches:
            loss = loss_function(net(inputs.to(place)), targets.to(place))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        times.append((seconds(device) - start) / len(batches))
    return times


def time_port(name: str, num_epochs: int, folder: str, device: str) -> list[float]:
    clock = Clock(device)
    trainer = pl.Trainer(
        accelerator=device,
        devices=1,
        max_epochs=num_epochs,
        logger=TensorBoardLogger(folder, name="port"),
        callbacks=[clock, ModelCheckpoint()],
    )
    trainer.fit(Port(CELLS[name][0]), loader())
    return clock.times


class Nothing(pl.LightningModule):
    """A module whose steps compute nothing; all that is left is Lightning's loop."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return the parameter, as a loss."""
        return self.weight

    def backward(self, loss: Tensor, *args: object, **kwargs: object) -> None:
        """Compute no gradient."""

    def configure_optimizers(self) -> Optimizer:
        """Return an optimizer without a gradient to use."""
        return torch.optim.SGD(self.parameters(), lr=LEARNING_RATE)


def time_floor(name: str, num_epochs: int, folder: str, device: str) -> list[float]:
    clock = Clock(device)
    trainer = pl.Trainer(
        accelerator=device,
        devices=1,
        max_epochs=num_epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        profiler=NoProfiler(),
        callbacks=[clock],
    )
    trainer.fit(Nothing(), [torch.zeros(1) for _ in range(len(loader()))])
    return clock.times


def time_seqlight(name: str, num_epochs: int, folder: str, device: str, backend: Backend) -> list[float]:
    clock = Clock(device)
    trainer = pl.Trainer(
        accelerator=device,
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


class OptionalCheck(FiniteCheck):
    """Checks only while `is_on`."""

    is_on = False

    def watch(self, loss: Tensor) -> Tensor:
        """Return the loss; keep it for the check."""
        return super().watch(loss) if self.is_on else loss

    def accepts(self, module: pl.LightningModule, parameters: Sequence[Tensor], total: float | Tensor) -> bool:
        """Whether the optimizer takes the step."""
        return super().accepts(module, parameters, total) if self.is_on else True

    def defer(
        self, module: pl.LightningModule, optimizer: Optimizer, parameters: Sequence[Tensor], norms: Tensor
    ) -> Tensor:
        """Let the device leave out the step; returns whether it is taken."""
        if self.is_on:
            return super().defer(module, optimizer, parameters, norms)
        taken = torch.ones((), dtype=torch.bool, device=norms.device)
        self._waiting.append(Step(0, [], [], parameters, norms, taken))
        optimizer.found_inf = None  # type: ignore[attr-defined]
        return taken


class Alternating(pl.Callback):
    """Switches the check on and off in turns, and times the steps."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.times: tuple[list[float], list[float]] = ([], [])
        self._check = OptionalCheck("stop")
        self._number = 0
        self._start: float | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Replace the model's check."""
        assert isinstance(pl_module, SequenceClassifier)
        pl_module._monitor._check = self._check
        self._check.begin(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Discard the start time: the time between epochs is not part of a step."""
        self._start = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Note the time of the last turn, and switch."""
        if batch_idx % STEPS_OF_A_TURN[self.device]:
            return
        now = seconds(self.device)
        if self._start is not None:
            self.times[self._number % 2].append((now - self._start) / STEPS_OF_A_TURN[self.device])
        self._number += 1
        self._check.is_on = self._number % 2 == 1
        step_monitor.gradient_total = gradient_total if self._check.is_on else lambda parameters: 0.0
        self._start = seconds(self.device)


def check_share(name: str, hidden_size: int, clipped: bool, num_epochs: int, device: str) -> tuple[float, float]:
    """Seconds of a step without the check, and the cost of the check as a share of them."""
    steps = Alternating(device)
    trainer = pl.Trainer(
        accelerator=device,
        devices=1,
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


def print_checks(num_epochs: int, device: str) -> None:
    print(f"{'':20}us per step{'':4}cost of the check (<= {MOST_CHECK:.0%}), clipped{'':5}without clipping")
    for name in CELLS:
        for hidden_size in (HIDDEN_SIZE, 256):
            step, clipped = check_share(name, hidden_size, True, num_epochs, device)
            _, unclipped = check_share(name, hidden_size, False, num_epochs, device)
            print(f"{name:8}H {hidden_size:<10}{1e6 * step:11.0f}{clipped:35.1%}{unclipped:24.1%}", flush=True)


WAYS: dict[str, Callable[[str, int, str, str], list[float]]] = {
    "loop": time_loop,
    "port": time_port,
    "torch": partial(time_seqlight, backend="torch"),
    "kernel": partial(time_seqlight, backend="auto"),
    "floor": time_floor,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="print the cost of the check for finite values")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, with one run of each way")
    parser.add_argument("--epochs", type=int, default=8, help="timed epochs of 32 steps per round")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="where to train")
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if arguments.check:
        print_checks(arguments.rounds * arguments.epochs, arguments.device)
    else:
        print_steps(arguments.rounds, arguments.epochs, arguments.device)


def print_steps(num_rounds: int, num_epochs: int, device: str) -> None:
    ways = dict(WAYS)
    if device == "gpu":
        del ways["kernel"]
    print(f"us per step{'':3}{''.join(f'{way:>8}' for way in ways)}", end="")
    print(f"   torch/loop (<= {MOST_LOOP})   torch/port (<= {MOST_PORT}){'   kernel/loop' if 'kernel' in ways else ''}")
    for name in CELLS:
        rounds = []
        for _ in range(num_rounds):
            with (
                tempfile.TemporaryDirectory() as folder,
                open(os.devnull, "w") as nowhere,
                contextlib.redirect_stdout(nowhere),  # the progress bars are on, and their output is discarded
                contextlib.redirect_stderr(nowhere),
            ):
                # The first epoch of each fit is a warm-up.
                rounds.append(
                    [statistics.median(way(name, 1 + num_epochs, folder, device)[1:]) for way in ways.values()]
                )
        times = dict(zip(ways, map(list, zip(*rounds, strict=True)), strict=True))
        print(
            f"{name:14}{''.join(f'{1e6 * statistics.median(way):8.0f}' for way in times.values())}"
            f"{median_ratio(times['torch'], times['loop']):15.2f}{median_ratio(times['torch'], times['port']):24.2f}",
            end="",
        )
        if "kernel" in times:
            print(f"{median_ratio(times['kernel'], times['loop']):18.2f} (<= {MOST_KERNEL[name]})", end="")
        print(flush=True)


def median_ratio(these: list[float], those: list[float]) -> float:
    """Median over rounds of the ratio within a round."""
    return statistics.median(one / other for one, other in zip(these, those, strict=True))


if __name__ == "__main__":
    main()
