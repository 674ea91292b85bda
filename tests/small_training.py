"""A small training run that is interrupted at a given place, by real signals to real processes."""

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.processes import Command

MODULE = '''
"""Events that happen once, at given places of a run; a log of the samples seen; and models with state of their own."""
import errno
import hashlib
import os
import shutil
import signal
import time
from pathlib import Path

import lightning.pytorch as pl
import numpy
import torch
import torch.utils.tensorboard.writer
from seqlight import GatedCell, LSTMCell, SequenceClassifier

# Drawing takes half of such a run's time, and its tests read only the steps of figures.
torch.utils.tensorboard.writer.figure_to_image = lambda *_: numpy.zeros((3, 1, 1), numpy.uint8)


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
    # Under another name first: TensorBoard's thread can write into a folder that is being deleted.
    "DELETE": lambda: shutil.rmtree(Path("runs").rename("deleted")),
    "DELETE_CHECKPOINTS": lambda: [shutil.rmtree(path) for path in Path("runs").glob("*/*/checkpoints")],
    "DELETE_EVENTS": lambda: [path.unlink() for path in Path("runs").glob("*/*/events.*")],
    "RENAME": lambda: [path.rename("elsewhere") for path in Path("runs").glob("*/version_0")],
    "REPLACE": lambda: [path.rename("elsewhere") and path.mkdir() for path in Path("runs").glob("*/version_0")],
    # C code that no signal interrupts, for hours.
    "STUCK": lambda: (Path("waiting").touch(), hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)),
}


class Events(pl.Callback):
    """`EVENTS="SIGKILL@end3"`: send this signal, or take this action, after the batch of the third step."""

    def at(self, trainer, place):
        if trainer.global_rank != int(os.environ.get("EVENTS_RANK", 0)):
            return
        for event in os.environ.get("EVENTS", "").split():
            name, event_place = event.split("@")
            flag = Path(f"event-{event}")
            if event_place == f"{place}{trainer.global_step}" and not flag.exists():
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

    def on_save_checkpoint(self, trainer, *_):
        self.at(trainer, "save")

    def on_test_batch_start(self, trainer, *_):
        self.at(trainer, "test")

    def on_predict_batch_start(self, trainer, *_):
        self.at(trainer, "predict")


class Averaged(SequenceClassifier):
    """Its hook keeps a mean of its weights, its scheduler monitors a metric, and one loss of an epoch can be NaN."""

    def __init__(self, cell=LSTMCell, input_size=1, non_finite="stop", **data):
        super().__init__(cell, input_size=input_size, non_finite=non_finite, dropout=0.3, num_layers=2, **data)
        self.register_buffer("mean", torch.zeros(()))

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss * float("nan") if self.hparams.non_finite == "skip" and batch_idx == 2 else loss

    def on_train_batch_end(self, *args):
        super().on_train_batch_end(*args)
        self.mean.lerp_(self.head.weight.detach().mean(), 0.5)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), 0.5, momentum=0.9)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val/loss"}}


class Noisy(GatedCell):
    """Draws random numbers."""

    num_gates = 1

    def update(self, input_gates, hidden_gates, state):
        noise = torch.randn_like(state[0]) if self.training else 0
        return (torch.tanh(input_gates + hidden_gates + 0.1 * noise),)
'''
STEPS = 18  # in three epochs
COMMAND = [
    *("fit", "--import=events", "--trainer.callbacks+=events.Events", "--trainer.max_epochs=3", "--device=cpu"),
    *("--data.num_train=96", "--data.num_val=64", "--data.batch_size=16", "--trainer.log_every_n_steps=4"),
    *("--trainer.enable_progress_bar=false", "--model.num_layers=2", "--model.dropout=0.3", "--resume.every_n_steps=1"),
]


def start(folder, *flags, events="", command=COMMAND, environment=None, **options):
    """Start the command in a folder."""
    folder.mkdir(exist_ok=True)
    if not (folder / "events.py").exists():
        (folder / "events.py").write_text(MODULE)
    return Command(folder, *command, *flags, environment={"EVENTS": events, **(environment or {})}, **options)


def train(folder, *flags, events="", **options):
    """Run the command in a folder; returns exit status, standard output and standard error."""
    return start(folder, *flags, events=events, **options).wait()


def uninterrupted_result(folder, *flags, train=train, **options):
    """Train without interruption; returns the result."""
    status, _, err = train(folder, *flags, **options)
    assert status == 0, err
    return result(folder)


def result(folder):
    """The last and best checkpoints, scalars, and the steps of figures, of the only run in a folder."""
    [version] = folder.glob("runs/*/version_*")
    events = EventAccumulator(str(version), size_guidance={"scalars": 0}).Reload()
    scalars = {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    for tag, points in scalars.items():
        steps = [step for step, _ in points]
        assert steps == sorted(set(steps)), tag
    figures = {tag: [image.step for image in events.Images(tag)] for tag in events.Tags()["images"]}
    parts = ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step")
    states = {path.name: torch.load(path, weights_only=True) for path in sorted(version.glob("checkpoints/[bl]*.ckpt"))}
    return {name: {part: state[part] for part in parts} for name, state in states.items()}, scalars, figures
