"""A small training that is ended at a given place: real processes, real signals."""

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.processes import Command

MODULE = '''
"""What happens to a run at given places, each once, and notes of what it has seen; and a cell that draws numbers."""
import errno
import os
import signal
import time
from pathlib import Path

import lightning.pytorch as pl
import torch
from seqlight import GatedCell, LSTMCell, SequenceClassifier


def wait():
    Path("waiting").touch()
    while not Path("go").exists():
        time.sleep(0.01)


def fail(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


ACTIONS = {
    "WAIT": wait,
    "FULL": lambda: setattr(os, "fsync", fail),
    "LOCK": lambda: [path.chmod(0o555) for path in Path("runs").glob("*/*/checkpoints")],
}


class Happens(pl.Callback):
    """`HAPPENS="SIGKILL@end3"`: that signal, or action, after the batch that makes the third step."""

    def at(self, trainer, place):
        if trainer.global_rank != int(os.environ.get("HAPPENS_IN", 0)):
            return
        for wanted in os.environ.get("HAPPENS", "").split():
            name, place_wanted = wanted.split("@")
            flag = Path(f"happened-{wanted}")
            if place_wanted == f"{place}{trainer.global_step}" and not flag.exists():
                flag.touch()
                ACTIONS[name]() if name in ACTIONS else os.kill(os.getpid(), getattr(signal, name))

    def setup(self, trainer, pl_module, stage):
        Path(f"process-{trainer.global_rank}").write_text(str(os.getpid()))
        self.at(trainer, "setup")

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        with open("seen.txt", "a") as file:
            print(trainer.current_epoch, trainer.global_step, *batch.inputs[:, 0, 0].tolist(), file=file)
        self.at(trainer, "start")

    def on_train_batch_end(self, trainer, *_):
        self.at(trainer, "end")

    def on_validation_batch_start(self, trainer, *_):
        self.at(trainer, "val")

    def on_train_epoch_end(self, trainer, *_):
        self.at(trainer, "epoch")


class Averaged(SequenceClassifier):
    """Its own hook keeps a mean of its weights, and its optimiser looks at a metric; the third step's loss is NaN."""

    def __init__(self, cell=LSTMCell, input_size=1, non_finite="stop", **data):
        super().__init__(cell, input_size=input_size, non_finite=non_finite, dropout=0.3, num_layers=2, **data)
        self.register_buffer("mean", torch.zeros(()))

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss * float("nan") if self._steps._check.skips and batch_idx == 2 else loss

    def on_train_batch_end(self, *args):
        super().on_train_batch_end(*args)
        self.mean.lerp_(self.head.weight.detach().mean(), 0.5)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), 0.5, momentum=0.9)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val/loss"}}


class Noisy(GatedCell):
    num_gates = 1

    def update(self, input_gates, hidden_gates, state):
        noise = torch.randn_like(state[0]) if self.training else 0
        return (torch.tanh(input_gates + hidden_gates + 0.1 * noise),)
'''
STEPS = 18  # in three epochs
COMMAND = [
    *("fit", "--import=happens", "--trainer.callbacks+=happens.Happens", "--trainer.max_epochs=3", "--device=cpu"),
    *("--data.num_train=96", "--data.num_val=64", "--data.batch_size=16", "--trainer.log_every_n_steps=4"),
    *("--trainer.enable_progress_bar=false", "--model.num_layers=2", "--model.dropout=0.3", "--resume.every_n_steps=1"),
]


def begin(folder, *flags, happens="", command=COMMAND, environment=None, bound=False):
    """The command, under way in a folder."""
    folder.mkdir(exist_ok=True)
    if not (folder / "happens.py").exists():
        (folder / "happens.py").write_text(MODULE)
    return Command(folder, *command, *flags, environment={"HAPPENS": happens, **(environment or {})}, bound=bound)


def train(folder, *flags, happens="", **options):
    """Exit status, standard output and standard error of the command in a folder."""
    return begin(folder, *flags, happens=happens, **options).wait()


def whole_result(folder, train=train, **options):
    """What a training gives that nothing ends."""
    status, _, err = train(folder, **options)
    assert status == 0, err
    return result(folder)


def result(folder):
    """Weights and optimiser of the last and the best, scalars, and figures' steps, of the only run in a folder."""
    [version] = folder.glob("runs/*/version_*")
    events = EventAccumulator(str(version), size_guidance={"scalars": 0}).Reload()
    scalars = {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    for tag, points in scalars.items():
        steps = [step for step, _ in points]
        assert steps == sorted(set(steps)), tag
    figures = {tag: [image.step for image in events.Images(tag)] for tag in events.Tags()["images"]}
    parts = ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step")
    states = {path.name: torch.load(path, weights_only=True) for path in version.glob("checkpoints/[bl]*.ckpt")}
    return {name: {part: state[part] for part in parts} for name, state in states.items()}, scalars, figures


def assert_equal(one, other):
    """Nested plain data, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            assert_equal(first, second)
    else:
        assert one == other
