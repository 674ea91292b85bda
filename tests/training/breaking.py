"""A classifier with non-finite losses or gradients, its data, and Trainers for it."""

import copy
import hashlib
import math
from dataclasses import dataclass
from functools import partial

import lightning.pytorch as pl
import torch

from seqlight import Batch, GRUCell, SequenceClassifier, SequenceTask, SyntheticSequences
from seqlight.callbacks.best_checkpoint import BestCheckpoint
from tests.training import small_models

BATCHES = 5  # per epoch, of 8 sequences each


@dataclass(frozen=True)
class Numbered(SequenceTask):
    """Sequences of unequal length whose second feature is their number; one can have a non-finite value."""

    bad: int = -1
    value: float = math.nan

    input_size = 2

    def sample(self, num_samples, rng):
        lengths = torch.from_numpy(rng.integers(2, 7, num_samples))
        inputs = torch.from_numpy(rng.standard_normal((num_samples, 6, 2), dtype="float32"))
        inputs[..., 1] = torch.arange(num_samples)[:, None] / 64
        inputs *= torch.arange(6)[None, :, None] < lengths[:, None, None]
        targets = (inputs[..., 0].sum(1) > 0).float()
        if self.bad >= 0:
            inputs[self.bad, 0, 0] = self.value
        return Batch(inputs, targets, lengths)


class BackwardGives(torch.autograd.Function):
    """The identity, with its gradient multiplied by a factor."""

    @staticmethod
    def forward(ctx, inputs, factor):
        ctx.factor = factor
        return inputs.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.factor, None


class Breaking(SequenceClassifier):
    """Its loss, or only the gradient of its loss, is not finite in one batch of one epoch."""

    def __init__(self, where="", value=math.nan, at=(1, 2), non_finite="stop", learning_rate=0.01, **others):
        super().__init__(
            partial(GRUCell, hidden_size=4),
            input_size=2,
            non_finite=non_finite,
            learning_rate=learning_rate,
            **others,
        )
        self.where, self.value, self.at = where, value, at
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append((batch.inputs[:, 0, 1] * 64).int().tolist())
        loss = super().training_step(batch, batch_idx)
        if (self.current_epoch, batch_idx) == self.at or self.at == "always":
            if self.where == "loss":
                return loss + self.value  # its gradients are finite
            if self.where == "gradient":
                return BackwardGives.apply(loss, self.value)
        return loss


class Before(pl.Callback):
    """Keep weights, optimizer state and the checkpoints' hashes before each batch."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.weights, self.optimizer = state_of(trainer)
        self.hashes = hashes(self.folder)


def state_of(trainer):
    state = trainer.lightning_module.state_dict(), trainer.optimizers[0].state_dict()["state"]
    return copy.deepcopy(state)


def hashes(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.ckpt")}


def data(bad=-1, value=math.nan):
    return SyntheticSequences(Numbered(bad, value), num_train=8 * BATCHES, num_val=16, batch_size=8)


def trainer_for(folder, *callbacks, **options):
    defaults = {"max_epochs": 3, "limit_val_batches": 0, "num_sanity_val_steps": 2}
    return small_models.trainer(folder, **{**defaults, **options}, callbacks=list(callbacks))


def saver(folder, monitor=None, **options):
    return BestCheckpoint(folder, "best", monitor=monitor, enable_version_counter=False, **options)
