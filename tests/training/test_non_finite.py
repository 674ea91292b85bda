"""Non-finite losses and gradients stop training before they reach a weight or a checkpoint."""

import math
import re

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch.nn import functional

from seqlight import NonFiniteError, SequenceClassifier, SequenceLoader, SyntheticSequences
from seqlight.training.finite_check import FiniteCheck
from tests.conftest import seqlight_run
from tests.training.breaking import BATCHES, Before, Breaking, Numbered, data, hashes, saver, state_of, trainer_for

pytestmark = pytest.mark.filterwarnings(
    "ignore:The number of training batches",
    "ignore:The dirpath has changed",
    "ignore:Be aware that when using `ckpt_path`",
    "ignore:Checkpoint directory",
)


CLIPPING = {
    "by norm": {},
    "without": {"gradient_clip_val": None},
    "by value": {"gradient_clip_val": 0.5, "gradient_clip_algorithm": "value"},
}


@pytest.mark.parametrize("clipping", CLIPPING)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["data", "loss", "gradient"])
def test_training_stops_before_the_step_and_names_it(where, value, clipping, tmp_path):
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
        "gradient": r"the gradient of recurrent\.layers\.0\.\S+, .* is not finite: try a smaller learning_rate",
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
def test_at_most_ten_samples_are_named_with_their_ids(bucketing, tmp_path):
    model = Breaking("gradient")
    module = WithIds(Numbered(), num_train=8 * BATCHES, batch_size=12, bucketing=bucketing)
    with pytest.raises(NonFiniteError) as caught:
        trainer_for(tmp_path).fit(model, module)
    names = [f"{row} (id train-{row})" if row % 2 else str(row) for row in model.seen[-1]]
    assert len(names) > 10
    assert f"training samples: {', '.join(names[:10])}, ...\n" in str(caught.value)


class PlainLoader:
    def __init__(self, loader):
        self.batches = list(loader)

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


def test_other_loaders_name_no_samples(tmp_path):
    with pytest.raises(NonFiniteError) as caught:
        trainer_for(tmp_path).fit(Breaking("loss", at=(0, 1)), *[PlainLoader(data().train_dataloader())] * 2)
    assert "step 2 (epoch 0, batch 1): the loss is nan" in str(caught.value)
    assert "samples" not in str(caught.value)


@pytest.mark.parametrize("world_size", [1, 3])
@pytest.mark.parametrize("num_samples", [12, 37, 40])
def test_loader_knows_the_rows_of_a_batch(num_samples, world_size):
    samples = Numbered().sample(num_samples, np.random.default_rng(0))
    for rank in range(world_size):
        loader = SequenceLoader(samples, 4, shuffle=True, seed=5, rank=rank, world_size=world_size)
        for epoch in (0, 3):
            loader.set_epoch(epoch)
            seen = [(batch.inputs[:, 0, 1] * 64).int().tolist() for batch in loader]
            assert [loader.rows(number).tolist() for number in range(len(loader))] == seen
        with pytest.raises(ValueError, match=rf"number of batches \({len(loader)}\), got {len(loader)}"):
            loader.rows(len(loader))


def test_accumulated_batches_are_named(tmp_path):
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
    """Uses manual optimization."""

    automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        optimizer.step()


class Own(Breaking):
    """Has its own optimizer and loss."""

    def training_step(self, batch, batch_idx):
        super().training_step(batch, batch_idx)
        logits = self(batch.inputs, batch.lengths)
        loss = functional.mse_loss(logits, batch.targets)
        return {"loss": loss * math.nan if (self.current_epoch, batch_idx) == self.at else loss}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


@pytest.mark.parametrize(("kind", "where"), [(Manual, "loss"), (Manual, "gradient"), (Own, "loss")])
def test_subclasses_stop_before_the_step(kind, where, tmp_path):
    options = {"gradient_clip_val": None} if kind is Manual else {}
    before = Before(tmp_path)
    trainer = trainer_for(tmp_path, before, enable_checkpointing=False, log_every_n_steps=2, **options)
    with pytest.raises(NonFiniteError, match=re.escape("step 8 (epoch 1, batch 2)")):
        trainer.fit(kind(where), data())
    torch.testing.assert_close(state_of(trainer)[0], before.weights, rtol=0, atol=0)


def scaled():
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # the scaler skips the first step
def test_infinite_gradients_are_left_to_a_scaler_while_it_can_help(tmp_path):
    model = Breaking("gradient", math.inf)
    trainer_for(tmp_path, plugins=scaled(), log_every_n_steps=1).fit(model, data())
    assert len(model.seen) == 3 * BATCHES
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert model.skipped_batches == 0
    with pytest.raises(NonFiniteError, match="the gradient of"):
        trainer_for(tmp_path, plugins=scaled(), max_epochs=20).fit(Breaking("gradient", at="always"), data())


@pytest.mark.parametrize("precision", ["scaled", "bf16-mixed", "bf16-true"])
def test_loss_is_checked_at_every_precision(precision, tmp_path):
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
def test_nan_loss_of_one_process_reaches_the_shared_gradients(loss, monkeypatch):
    weight = torch.tensor(3.0, requires_grad=True)
    trainer = pl.Trainer(accelerator="cpu", barebones=True)
    monkeypatch.setattr(pl.Trainer, "world_size", 2)
    check = FiniteCheck("stop")
    check.begin(trainer)
    watched = check.watch(weight + (loss - 3.0))
    watched.backward()
    assert weight.grad.item() == 1 if math.isfinite(loss) else weight.grad.isnan()


def test_finite_gradients_with_an_overflowing_norm_are_accepted(tmp_path):
    model = Breaking("gradient", 3e38)
    trainer_for(tmp_path, gradient_clip_val=1.0).fit(model, data())
    assert len(model.seen) == 3 * BATCHES


def command(tmp_path, *flags):
    return seqlight_run(
        "fit",
        *("--data.task", "tests.training.breaking.Numbered", "--data.num_train", "40", "--data.num_val", "16"),
        *("--data.num_test", "16", "--data.batch_size", "8", "--data.task.bad", "30"),
        *("--trainer.enable_progress_bar", "false", "--trainer.max_epochs", "2", "--model.cell.hidden_size", "4"),
        *("--trainer.default_root_dir", str(tmp_path), *flags),
    )


def test_command_reports_or_skips_non_finite_values(tmp_path, command_line_state, without_type_checks):
    status, _, error = command(tmp_path, "--checkpoint.save_on_exception", "true")
    assert status == 4
    assert error.startswith("seqlight: error: step ")
    assert "non-finite inputs or targets in 30\n" in error
    assert "Traceback" not in error
    assert len(error.splitlines()) <= 5
    assert error.endswith("to skip such batches: --model.non_finite skip\n")
    assert hashes(tmp_path) == {}
    status, output, error = command(tmp_path, "--model.non_finite", "skip")
    assert status == 0, error
    assert "non-finite loss or gradient: 2\n" in output
    assert set(hashes(tmp_path)) == {"best.ckpt", "last.ckpt", "previous.ckpt"}
    status, _, error = command(tmp_path, "--model.non_finite", "perhaps")
    assert status == 2
    with pytest.raises(ValueError, match="non_finite must be one of stop, skip; got 'perhaps'"):
        SequenceClassifier(input_size=1, non_finite="perhaps")
