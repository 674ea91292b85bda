"""Time of whole commands, from the start of Python to its end, against the same training as a bare script.

The scripts train the model of `seqlight fit` on as many samples: one with a hand-written loop of torch, one with
Lightning's Trainer. They write no curves, figures or checkpoints, and have no progress bar. Commands and scripts run in
turns, each in a new process with one thread and in a folder of its own. The benchmark prints medians of wall-clock
times, or of processor times, which depend less on what else the machine does, and medians of the ratios within a round.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

_DATA = """
torch.manual_seed(0)
sets = {}
for name, count in (("train", 1000), ("val", 1000)):
    inputs = torch.randn(count, 10, 1)
    sets[name] = DataLoader(TensorDataset(inputs, (inputs.sum((1, 2)) > 0).float()), 32, shuffle=name == "train")
"""
LOOP = (
    """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
"""
    + _DATA
    + """
layer, head, loss_of = nn.LSTM(1, 32, batch_first=True), nn.Linear(32, 1), nn.BCEWithLogitsLoss()
parameters = [*layer.parameters(), *head.parameters()]
optimizer = torch.optim.Adam(parameters, 0.01)


def logits_of(inputs):
    return head(layer(inputs)[0][:, -1]).squeeze(-1)


for epoch in range(10):
    for inputs, targets in sets["train"]:
        loss = loss_of(logits_of(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    with torch.no_grad():
        right = sum(((logits_of(inputs) > 0) == targets).sum().item() for inputs, targets in sets["val"])
    print(epoch, loss.item(), right / 1000)
"""
)
LIGHTNING = (
    """
import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import BinaryAccuracy


class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer, self.head, self.loss = nn.LSTM(1, 32, batch_first=True), nn.Linear(32, 1), nn.BCEWithLogitsLoss()
        self.accuracy = BinaryAccuracy()

    def forward(self, inputs):
        return self.head(self.layer(inputs)[0][:, -1]).squeeze(-1)

    def training_step(self, batch, _):
        loss = self.loss(self(batch[0]), batch[1])
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, _):
        logits = self(batch[0])
        self.log("val/loss", self.loss(logits, batch[1]))
        self.accuracy(logits, batch[1])
        self.log("val/accuracy", self.accuracy)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)


"""
    + _DATA
    + """
off = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
pl.Trainer(max_epochs=10, gradient_clip_val=1.0, accelerator="cpu", **off).fit(Net(), sets["train"], sets["val"])
"""
)
SCRIPTS = {"import torch": "import torch", "loop": LOOP, "Lightning": LIGHTNING}
COMMANDS = ("fit", "fit --print_config", "cells", "tasks", "fit --epochs 3")


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def seconds(command: list[str], clock: Callable[[], float]) -> float:
    """Run a command in a new folder and return its time by the clock."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        start = clock()
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        taken = clock() - start
    if done.returncode not in (0, 2):  # 2: a wrong flag
        raise RuntimeError(f"{command[:3]} ended with status {done.returncode}: {done.stderr}")
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds, with one run of each")
    parser.add_argument("--only", choices=COMMANDS, help="one command")
    parser.add_argument("--processor", action="store_true", help="measure processor time instead of wall-clock time")
    arguments = parser.parse_args()
    clock = _processor_seconds if arguments.processor else time.perf_counter
    ways = {name: [sys.executable, "-c", script] for name, script in SCRIPTS.items()}
    for name in [arguments.only] if arguments.only else COMMANDS:
        ways[f"seqlight {name}"] = [sys.executable, "-m", "seqlight", *name.split()]
    for way in ways.values():  # files that were not read before, and compiled kernels
        seconds(way, clock)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            times[name].append(seconds(way, clock))
    print(f"{'':28}{'seconds':>8}" + "".join(f"{'/ ' + name:>16}" for name in SCRIPTS))
    for name, found in times.items():
        ratios = [
            statistics.median(one / other for one, other in zip(found, times[script], strict=True))
            for script in SCRIPTS
        ]
        print(f"{name:28}{statistics.median(found):8.2f}" + "".join(f"{ratio:16.2f}" for ratio in ratios))


if __name__ == "__main__":
    main()
