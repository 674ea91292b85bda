"""Non-finite metrics, buffers and weights stop training and are not saved."""

import math

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from seqlight import NonFiniteError, SequenceDataModule
from seqlight.callbacks.best_checkpoint import BestCheckpoint
from tests.training.breaking import Before, Breaking, Numbered, data, hashes, saver, trainer_for

pytestmark = pytest.mark.filterwarnings(
    "ignore:The number of training batches",
    "ignore:The dirpath has changed",
    "ignore:Be aware that when using `ckpt_path`",
    "ignore:Checkpoint directory",
)


class Split(SequenceDataModule):
    """Non-finite values in the validation split only."""

    input_size, vocab_size, target, num_outputs = 2, None, "binary", 1

    def __init__(self, value):
        super().__init__(8, 0)
        self.value = value

    def split(self, split):
        samples = Numbered().sample(40, np.random.default_rng(0))
        if split == "val":
            samples.inputs[3, 0] = self.value
        return samples


@pytest.mark.parametrize("kind", [ModelCheckpoint, BestCheckpoint])
def test_nan_validation_loss_stops_training(kind, tmp_path):
    trainer = trainer_for(tmp_path, kind(tmp_path, save_last=True), limit_val_batches=1.0)
    with pytest.raises(NonFiniteError, match=r"after step 5 \(epoch 0\): val/loss is nan"):
        trainer.fit(Breaking(), Split(math.nan))
    assert hashes(tmp_path) == {}


class Logs(pl.Callback):
    """A metric that is not finite in the second epoch."""

    def __init__(self, hook):
        setattr(self, hook, self.log_own)

    def log_own(self, trainer, pl_module):
        pl_module.log("own", torch.tensor(math.nan if trainer.current_epoch == 1 else 0.5))


@pytest.mark.parametrize("hook", ["on_validation_epoch_end", "on_train_epoch_end"])
@pytest.mark.parametrize("kind", [ModelCheckpoint, BestCheckpoint])
def test_nan_monitored_metric_stops_training(kind, hook, tmp_path):
    notes = Before(tmp_path)
    callback = kind(tmp_path, monitor="own", save_last=True, enable_version_counter=False)
    trainer = trainer_for(tmp_path, notes, Logs(hook), callback, limit_val_batches=1.0, num_sanity_val_steps=0)
    with pytest.raises(NonFiniteError, match=r"after step 10 \(epoch 1\): own is nan"):
        trainer.fit(Breaking(), data())
    assert hashes(tmp_path) == notes.hashes
    assert "last.ckpt" in notes.hashes
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 5


def test_nan_metric_of_early_stopping_stops_training(tmp_path):
    stopping = EarlyStopping("own", patience=9)
    trainer = trainer_for(tmp_path, Logs("on_validation_epoch_end"), stopping, saver(tmp_path, "val/loss"))
    trainer.limit_val_batches = 1.0
    with pytest.raises(NonFiniteError, match=r"after step 10 \(epoch 1\): own is nan"):
        trainer.fit(Breaking(), data())


@pytest.mark.parametrize("value", [math.nan, 1.0])
def test_nan_buffer_is_not_saved(value, tmp_path):
    model = Breaking()
    model.register_buffer("own", torch.tensor([1.0, value]))
    trainer = trainer_for(tmp_path, saver(tmp_path, "val/loss"), limit_val_batches=1.0)
    if math.isnan(value):
        with pytest.raises(NonFiniteError, match="own is NaN"):
            trainer.fit(model, data())
    else:
        trainer.fit(model, data())
    assert bool(hashes(tmp_path)) == (value == 1.0)


def test_nan_metric_without_a_monitor_is_accepted(tmp_path):
    callbacks = Logs("on_validation_epoch_end"), saver(tmp_path, "val/loss")
    trainer_for(tmp_path, *callbacks, limit_val_batches=1.0).fit(Breaking(), data())
    assert hashes(tmp_path)


class WithoutHooks(Breaking):
    """Has its own hooks and logs its own metrics."""

    def on_validation_epoch_end(self):
        self.log("val/loss", self.val_evaluation.take()["loss"])

    def on_train_epoch_end(self):
        pass


def test_best_checkpoint_checks_its_metric_itself(tmp_path):
    trainer = trainer_for(tmp_path, saver(tmp_path, "val/loss"), limit_val_batches=1.0, num_sanity_val_steps=0)
    with pytest.raises(NonFiniteError, match="val/loss is nan"):
        trainer.fit(WithoutHooks(), Split(math.nan))
    assert hashes(tmp_path) == {}


def test_infinite_weights_from_the_last_step_are_not_saved(tmp_path):
    trainer = trainer_for(tmp_path, saver(tmp_path), max_steps=1, gradient_clip_val=None)
    with pytest.raises(NonFiniteError, match="after step 1: the weights of recurrent"):
        trainer.fit(Large(), data())
    assert hashes(tmp_path) == {}
    with pytest.raises(NonFiniteError, match=r"step 2 .*: the weights of .* are not finite.*smaller learning_rate"):
        trainer_for(tmp_path, gradient_clip_val=None).fit(Large(non_finite="skip"), data())


class Large(Breaking):
    """Its first step makes weights infinite."""

    def configure_optimizers(self):
        return torch.optim.SGD([{"params": self.recurrent.parameters()}, {"params": self.head.parameters()}], lr=1e38)

    def training_step(self, batch, batch_idx):
        return 1e6 * super().training_step(batch, batch_idx)
