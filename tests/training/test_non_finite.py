"""What is not finite reaches no weight and no checkpoint."""

import copy
import hashlib
import math
import re
from dataclasses import dataclass
from functools import partial

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn import functional

from seqlight import (
    Batch,
    GRUCell,
    NonFiniteError,
    SequenceClassifier,
    SequenceDataModule,
    SequenceLoader,
    SequenceTask,
    SyntheticSequences,
)
from seqlight.callbacks.best_checkpoint import BestCheckpoint
from seqlight.callbacks.logger import CurvesLogger
from seqlight.training.gradients import clip_by_norm, gradient_norm, gradient_total
from seqlight.training.non_finite import FiniteCheck
from tests.conftest import seqlight_run

pytestmark = pytest.mark.filterwarnings(
    "ignore:The number of training batches",
    "ignore:The dirpath has changed",
    "ignore:Be aware that when using `ckpt_path`",
    "ignore:Checkpoint directory",
)
BATCHES = 5  # an epoch, of 8 sequences


@dataclass(frozen=True)
class Numbered(SequenceTask):
    """Sequences of unequal length whose second feature is their own number; one may have a value that is not finite."""

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
    """The same forward, another gradient."""

    @staticmethod
    def forward(ctx, inputs, factor):
        ctx.factor = factor
        return inputs.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.factor, None


class Breaking(SequenceClassifier):
    """Its loss, or only the gradient of its loss, is not finite in one batch of one epoch."""

    def __init__(self, where="", value=math.nan, at=(1, 2), non_finite="stop", learning_rate=0.01):
        super().__init__(
            partial(GRUCell, hidden_size=4), input_size=2, non_finite=non_finite, learning_rate=learning_rate
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
    """The weights, the optimiser's state and the checkpoints' hashes before each batch."""

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


def data(bad=-1, value=math.nan, num_val=16):
    return SyntheticSequences(Numbered(bad, value), num_train=8 * BATCHES, num_val=num_val, batch_size=8)


def trainer_for(folder, *callbacks, **options):
    defaults = {
        "accelerator": "cpu",
        "max_epochs": 3,
        "gradient_clip_val": 1.0,
        "logger": False,
        "default_root_dir": folder,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "limit_val_batches": 0,
    }
    return pl.Trainer(**{**defaults, **options}, callbacks=list(callbacks))


def saver(folder, monitor=None, **options):
    return BestCheckpoint(folder, "best", monitor=monitor, enable_version_counter=False, **options)


CLIPPING = {
    "by norm": {},
    "without": {"gradient_clip_val": None},
    "by value": {"gradient_clip_val": 0.5, "gradient_clip_algorithm": "value"},
}


@pytest.mark.parametrize("clipping", CLIPPING)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["data", "loss", "gradient"])
def test_stops_before_the_step_and_names_it(where, value, clipping, tmp_path):
    bad = 30
    model = Breaking(where, value)
    module = data(bad if where == "data" else -1, value)
    before = Before(tmp_path)
    checkpoint = saver(tmp_path, save_last=True, save_on_exception=True)
    trainer = trainer_for(tmp_path, before, checkpoint, log_every_n_steps=3, **CLIPPING[clipping])
    with pytest.raises(NonFiniteError) as caught:
        trainer.fit(model, module)
    step, batch, epoch = len(model.seen), (len(model.seen) - 1) % BATCHES, (len(model.seen) - 1) // BATCHES
    if where != "data":
        assert (epoch, batch) == (1, 2)
    lines = str(caught.value).splitlines()
    what = {
        "data": r"(the loss is nan|the gradient of recurrent.* is not finite)",
        "loss": f"the loss is {value}",
        "gradient": r"the gradient of recurrent\.layers\.0\.\S+, .* is not finite",
    }
    assert re.fullmatch(rf"step {step} \(epoch {epoch}, batch {batch}\): {what[where]}", lines[0])
    samples = "training samples: " + ", ".join(map(str, model.seen[-1]))
    assert lines[1] == samples + ("; non-finite inputs or targets in 30" if where == "data" else "")
    assert len(lines) <= 5
    weights, optimizer = state_of(trainer)
    torch.testing.assert_close(weights, before.weights, rtol=0, atol=0)
    torch.testing.assert_close(optimizer, before.optimizer, rtol=0, atol=0)
    assert hashes(tmp_path) == before.hashes
    assert len(before.hashes) == 2 * (epoch > 0)


class WithIds(SyntheticSequences):
    def sample_ids(self, split):
        return [f"{split}-{row}" if row % 2 else row for row in range(8 * BATCHES)]


@pytest.mark.parametrize("bucketing", [True, False])
def test_no_more_than_ten_samples_are_named_and_by_their_ids(bucketing, tmp_path):
    model = Breaking("gradient")
    module = WithIds(Numbered(), num_train=8 * BATCHES, batch_size=12, bucketing=bucketing)
    with pytest.raises(NonFiniteError) as caught:
        trainer_for(tmp_path).fit(model, module)
    names = [f"{row} (id train-{row})" if row % 2 else str(row) for row in model.seen[-1]]
    assert len(names) > 10
    assert f"training samples: {', '.join(names[:10])}, ...\n" in str(caught.value)


class Plain:
    def __init__(self, loader):
        self.batches = list(loader)

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


def test_loaders_of_others_have_no_indices(tmp_path):
    with pytest.raises(NonFiniteError) as caught:
        trainer_for(tmp_path).fit(Breaking("loss", at=(0, 1)), *[Plain(data().train_dataloader())] * 2)
    assert "step 2 (epoch 0, batch 1): the loss is nan" in str(caught.value)
    assert "samples" not in str(caught.value)


@pytest.mark.parametrize("world_size", [1, 3])
@pytest.mark.parametrize("num_samples", [12, 37, 40])
def test_a_loader_tells_the_rows_of_a_batch(num_samples, world_size):
    samples = Numbered().sample(num_samples, np.random.default_rng(0))
    for rank in range(world_size):
        loader = SequenceLoader(samples, 4, shuffle=True, seed=5, rank=rank, world_size=world_size)
        for epoch in (0, 3):
            loader.set_epoch(epoch)
            seen = [(batch.inputs[:, 0, 1] * 64).int().tolist() for batch in loader]
            assert [loader.rows(number).tolist() for number in range(len(loader))] == seen
        with pytest.raises(ValueError, match=rf"number of batches \({len(loader)}\), got {len(loader)}"):
            loader.rows(len(loader))


def test_accumulated_batches(tmp_path):
    model = Breaking("loss", at=(0, 2))
    with pytest.raises(NonFiniteError) as caught:
        trainer_for(tmp_path, accumulate_grad_batches=2).fit(model, data())
    assert "step 2 (epoch 0, batch 2): the loss is nan" in str(caught.value)
    assert f"samples: {', '.join(map(str, model.seen[2]))}\n" in str(caught.value)
    model = Breaking("gradient", at=(0, 2))
    with pytest.raises(NonFiniteError) as caught:
        trainer_for(tmp_path, accumulate_grad_batches=2).fit(model, data())
    assert "step 2 (epoch 0, batch 2, 3): the gradient of" in str(caught.value)
    assert f"samples: {', '.join(map(str, (model.seen[2] + model.seen[3])[:10]))}, ..." in str(caught.value)


class Manual(Breaking):
    """Steps by itself."""

    automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        optimizer.step()


class Own(Breaking):
    """Its optimiser and loss are its own."""

    def training_step(self, batch, batch_idx):
        super().training_step(batch, batch_idx)
        logits = self(batch.inputs, batch.lengths)
        loss = functional.mse_loss(logits, batch.targets)
        return {"loss": loss * math.nan if (self.current_epoch, batch_idx) == self.at else loss}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


@pytest.mark.parametrize(("kind", "where"), [(Manual, "loss"), (Manual, "gradient"), (Own, "loss")])
def test_steps_of_subclasses(kind, where, tmp_path):
    options = {"gradient_clip_val": None} if kind is Manual else {}
    before = Before(tmp_path)
    trainer = trainer_for(tmp_path, before, enable_checkpointing=False, log_every_n_steps=2, **options)
    with pytest.raises(NonFiniteError, match=re.escape("step 8 (epoch 1, batch 2)")):
        trainer.fit(kind(where), data())
    torch.testing.assert_close(state_of(trainer)[0], before.weights, rtol=0, atol=0)


def by_hand(model, module, skips, clips, accumulate, max_epochs=3):
    """A loop without the steps that `skips` names, in which the rate goes on; the mean loss of each epoch's batches."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    step, means, loader = 0, [], module.train_dataloader()
    for epoch in range(max_epochs):
        loader.set_epoch(epoch)
        sums, batches = [], list(loader)
        for first in range(0, len(batches), accumulate):
            optimizer.param_groups[0]["lr"] = (
                0.01 * (1 + math.cos(math.pi * step / (max_epochs * -(-BATCHES // accumulate)))) / 2
            )
            optimizer.zero_grad()
            losses = []
            for batch in batches[first : first + accumulate]:
                loss = functional.binary_cross_entropy_with_logits(model(batch.inputs, batch.lengths), batch.targets)
                (loss / accumulate).backward()
                losses.append((loss.item() * len(batch.targets), len(batch.targets)))
            step += 1
            taken = range(first, min(first + accumulate, BATCHES))
            if not any(skips(epoch, number, batches[number]) for number in taken):
                sums += losses
                if clips:
                    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
        means.append(sum(loss for loss, _ in sums) / sum(size for _, size in sums))
    return means


@pytest.mark.parametrize(("accumulate", "clips"), [(1, True), (1, False), (2, True)])
@pytest.mark.parametrize("where", ["data", "loss", "gradient"])
def test_skipping_is_leaving_out(where, accumulate, clips, tmp_path):
    model = Breaking(where, non_finite="skip")
    reference = copy.deepcopy(model)
    module = data(30 if where == "data" else -1)
    trainer = trainer_for(
        tmp_path,
        logger=CurvesLogger(tmp_path),
        log_every_n_steps=1000,  # then a point is drawn at each epoch's end
        gradient_clip_val=1.0 if clips else None,
        accumulate_grad_batches=accumulate,
        enable_checkpointing=False,
    )
    trainer.fit(model, module)

    def skips(epoch, number, batch):
        return not batch.inputs.isfinite().all() if where == "data" else (epoch, number) == (1, 2)

    means = by_hand(reference, module, skips, clips, accumulate)
    torch.testing.assert_close(model.state_dict(), reference.state_dict(), rtol=0, atol=0)
    events = EventAccumulator(trainer.logger.log_dir).Reload()
    assert [point.value for point in events.Scalars("train/loss")] == pytest.approx(means, rel=1e-5)
    for tag in events.Tags()["scalars"]:
        assert all(math.isfinite(point.value) for point in events.Scalars(tag)), tag
    skipped = events.Scalars("train/skipped")[-1].value
    assert skipped == model.skipped_batches
    assert 1 <= skipped <= (3 if where == "data" else 1) * accumulate
    torch.testing.assert_close(trainer.callback_metrics["train/loss"].item(), means[-1], rtol=1e-5, atol=0)


def test_an_epoch_without_a_step_stops(tmp_path):
    with pytest.raises(NonFiniteError, match=r"step 5 .*\n.*\nno step of the epoch or run would be taken"):
        trainer_for(tmp_path).fit(Breaking("gradient", at="always", non_finite="skip"), data())
    with pytest.raises(NonFiniteError, match=r"step 3 "):
        trainer_for(tmp_path, max_steps=3).fit(Breaking("loss", at="always", non_finite="skip"), data())


def test_a_resumed_run_goes_on_counting(tmp_path):
    trainer_for(tmp_path, saver(tmp_path), max_epochs=1).fit(Breaking("loss", at=(0, 1), non_finite="skip"), data())
    model = Breaking("loss", at=(1, 2), non_finite="skip")
    trainer_for(tmp_path, max_epochs=2).fit(model, data(), ckpt_path=tmp_path / "best.ckpt")
    assert model.skipped_batches == 2
    trainer_for(tmp_path, max_epochs=1).fit(model, data())  # another run
    assert model.skipped_batches == 0


class Split(SequenceDataModule):
    """Sound for training, and not for validation."""

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
def test_a_validation_loss_that_is_nan_stops(kind, tmp_path):
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
def test_a_monitored_metric_that_is_nan_stops(kind, hook, tmp_path):
    notes = Before(tmp_path)
    callback = kind(tmp_path, monitor="own", save_last=True, enable_version_counter=False)
    trainer = trainer_for(tmp_path, notes, Logs(hook), callback, limit_val_batches=1.0, num_sanity_val_steps=0)
    with pytest.raises(NonFiniteError, match=r"after step 10 \(epoch 1\): own is nan"):
        trainer.fit(Breaking(), data())
    assert hashes(tmp_path) == notes.hashes
    assert "last.ckpt" in notes.hashes
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 5


def test_a_metric_that_stops_training_early_may_not_be_nan(tmp_path):
    stopping = EarlyStopping("own", patience=9)
    trainer = trainer_for(tmp_path, Logs("on_validation_epoch_end"), stopping, saver(tmp_path, "val/loss"))
    trainer.limit_val_batches = 1.0
    with pytest.raises(NonFiniteError, match=r"after step 10 \(epoch 1\): own is nan"):
        trainer.fit(Breaking(), data())


@pytest.mark.parametrize("value", [math.nan, 1.0])
def test_a_buffer_that_is_nan_is_not_saved(value, tmp_path):
    model = Breaking()
    model.register_buffer("own", torch.tensor([1.0, value]))
    trainer = trainer_for(tmp_path, saver(tmp_path, "val/loss"), limit_val_batches=1.0)
    if math.isnan(value):
        with pytest.raises(NonFiniteError, match="own is NaN"):
            trainer.fit(model, data())
    else:
        trainer.fit(model, data())
    assert bool(hashes(tmp_path)) == (value == 1.0)


def test_a_metric_that_nobody_monitors_may_be_nan(tmp_path):
    callbacks = Logs("on_validation_epoch_end"), saver(tmp_path, "val/loss")
    trainer_for(tmp_path, *callbacks, limit_val_batches=1.0).fit(Breaking(), data())
    assert hashes(tmp_path)


class WithoutHooks(Breaking):
    """Logs for itself."""

    def on_validation_epoch_end(self):
        self.log("val/loss", self.val_evaluation.take()["loss"])

    def on_train_epoch_end(self):
        pass


def test_the_command_lines_checkpoints_look_by_themselves(tmp_path):
    trainer = trainer_for(tmp_path, saver(tmp_path, "val/loss"), limit_val_batches=1.0, num_sanity_val_steps=0)
    with pytest.raises(NonFiniteError, match="val/loss is nan"):
        trainer.fit(WithoutHooks(), Split(math.nan))
    assert hashes(tmp_path) == {}


def test_weights_that_the_last_step_made_infinite_are_not_saved(tmp_path):
    trainer = trainer_for(tmp_path, saver(tmp_path), max_steps=1, gradient_clip_val=None)
    with pytest.raises(NonFiniteError, match="after step 1: the weights of recurrent"):
        trainer.fit(Large(), data())
    assert hashes(tmp_path) == {}
    with pytest.raises(NonFiniteError, match=r"step 2 .*: the weights of .* are not finite.*smaller learning_rate"):
        trainer_for(tmp_path, gradient_clip_val=None).fit(Large(non_finite="skip"), data())


class Large(Breaking):
    """Its first step goes too far."""

    def configure_optimizers(self):
        return torch.optim.SGD([{"params": self.recurrent.parameters()}, {"params": self.head.parameters()}], lr=1e38)

    def training_step(self, batch, batch_idx):
        return 1e6 * super().training_step(batch, batch_idx)


def scaled():
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # as the scaler takes none, from the first on
def test_infinite_gradients_are_left_to_a_scaler_that_can_help(tmp_path):
    model = Breaking("gradient", math.inf)
    trainer_for(tmp_path, plugins=scaled(), log_every_n_steps=1).fit(model, data())
    assert len(model.seen) == 3 * BATCHES
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert model.skipped_batches == 0
    with pytest.raises(NonFiniteError, match="the gradient of"):
        trainer_for(tmp_path, plugins=scaled(), max_epochs=20).fit(Breaking("gradient", at="always"), data())


@pytest.mark.parametrize("precision", ["scaled", "bf16-mixed", "bf16-true"])
def test_losses_count_at_every_precision(precision, tmp_path):
    options = {"plugins": scaled()} if precision == "scaled" else {"precision": precision}
    before = Before(tmp_path)
    trainer = trainer_for(tmp_path, before, enable_checkpointing=False, **options)
    with pytest.raises(NonFiniteError, match=re.escape("step 8 (epoch 1, batch 2): the loss is inf")):
        trainer.fit(Breaking("loss", math.inf), data())
    torch.testing.assert_close(state_of(trainer)[0], before.weights, rtol=0, atol=0)
    model = Breaking("loss", math.inf, non_finite="skip")
    trainer_for(tmp_path, enable_checkpointing=False, **options).fit(model, data())
    assert model.skipped_batches == 1


@pytest.mark.parametrize("loss", [2.0, math.nan, math.inf])
def test_processes_find_a_loss_in_their_common_gradients(loss, monkeypatch):
    weight = torch.tensor(3.0, requires_grad=True)
    trainer = pl.Trainer(accelerator="cpu", barebones=True)
    monkeypatch.setattr(pl.Trainer, "world_size", 2)
    check = FiniteCheck("stop")
    check.begin(trainer)
    watched = check.watch(weight + (loss - 3.0))
    watched.backward()
    assert weight.grad.item() == 1 if math.isfinite(loss) else weight.grad.isnan()


def test_large_gradients_are_clipped_and_not_taken_for_infinite():
    parameters = [torch.zeros(2, requires_grad=True) for _ in range(2)]
    for parameter, value in zip(parameters, (3e25, 4e25), strict=True):
        parameter.grad = torch.tensor([value, 0.0])
    norm = gradient_norm(parameters)
    assert norm.item() == pytest.approx(5e25)
    clip_by_norm(parameters, 1.0, norm)
    assert [parameter.grad[0].item() for parameter in parameters] == pytest.approx([0.6, 0.8])
    parameters[1].grad[1] = -math.inf
    for total in (gradient_norm, gradient_total):
        assert not math.isfinite(total(parameters))
        assert total([]) == 0


def test_finite_gradients_whose_sum_overflows_are_taken(tmp_path):
    model = Breaking("gradient", 3e38)
    trainer_for(tmp_path, gradient_clip_val=1.0).fit(model, data())
    assert len(model.seen) == 3 * BATCHES


def command(tmp_path, *flags):
    return seqlight_run(
        "fit",
        *("--data.task", "tests.training.test_non_finite.Numbered", "--data.num_train", "40", "--data.num_val", "16"),
        *("--data.num_test", "16", "--data.batch_size", "8", "--data.task.bad", "30"),
        *("--trainer.enable_progress_bar", "false", "--trainer.max_epochs", "2", "--model.cell.hidden_size", "4"),
        *("--trainer.default_root_dir", str(tmp_path), *flags),
    )


def test_exit_status(tmp_path, command_line_state, without_type_checks):
    status, _, error = command(tmp_path, "--checkpoint.save_on_exception", "true")
    assert status == 4
    assert error.startswith("seqlight: error: step ")
    assert "non-finite inputs or targets in 30\n" in error
    assert error.endswith("to skip such batches: --model.non_finite skip\n")
    assert "Traceback" not in error
    assert len(error.splitlines()) <= 5
    assert hashes(tmp_path) == {}
    status, output, error = command(tmp_path, "--model.non_finite", "skip")
    assert status == 0, error
    assert "non-finite loss or gradient: 2\n" in output
    assert set(hashes(tmp_path)) == {"best.ckpt", "last.ckpt", "previous.ckpt"}
    status, _, error = command(tmp_path, "--model.non_finite", "perhaps")
    assert status == 2
    with pytest.raises(ValueError, match="non_finite must be one of stop, skip; got 'perhaps'"):
        SequenceClassifier(input_size=1, non_finite="perhaps")
