"""Subclasses with manual optimization and several optimizers."""

import contextlib
import copy
import math

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.nn import functional

from seqlight import NonFiniteError, ResumeCheckpoint
from tests.conftest import seqlight_run
from tests.training.breaking import BATCHES, Breaking, data, trainer_for
from tests.training.small_models import curves

pytestmark = pytest.mark.filterwarnings(
    "ignore:The number of training batches",
    "ignore:The dirpath has changed",
    "ignore:Checkpoint directory",
    "ignore:Be aware that when using `ckpt_path`",
)


class TwoRates(Breaking):
    """Two optimizers with their own schedules, stepped by hand; the second step's gradient can be non-finite."""

    def __init__(self, where="", value=math.nan, at=(1, 2), non_finite="stop", **data_arguments):
        super().__init__(where, value, at, non_finite)
        self.automatic_optimization = False

    def configure_optimizers(self):
        optimizers = [
            torch.optim.SGD(self.head.parameters(), 0.1, momentum=0.9),
            torch.optim.Adam(self.recurrent.parameters(), 0.01),
        ]
        return optimizers, [torch.optim.lr_scheduler.ExponentialLR(each, 0.9) for each in optimizers]

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        if self.where == "second" and (self.current_epoch, batch_idx) == self.at:
            next(self.recurrent.parameters()).grad.fill_(self.value)
        for optimizer, scheduler in zip(self.optimizers(), self.lr_schedulers(), strict=True):
            optimizer.step()
            scheduler.step()


def by_hand(model, module, skips, max_epochs):
    """Train in a plain loop, without the steps (epoch, batch, optimizer) of `skips`; returns the norm of each batch."""
    optimizers, schedulers = model.configure_optimizers()
    norms, loader = [], module.train_dataloader()
    for epoch in range(max_epochs):
        loader.set_epoch(epoch)
        for number, batch in enumerate(loader):
            model.zero_grad()
            logits = model(batch.inputs, batch.lengths)
            functional.binary_cross_entropy_with_logits(logits, batch.targets).backward()
            norms.append(torch.nn.utils.get_total_norm([each.grad for each in model.parameters()]).item())
            for index, (optimizer, scheduler) in enumerate(zip(optimizers, schedulers, strict=True)):
                if (epoch, number, index) in skips:
                    optimizer.zero_grad()
                optimizer.step()
                scheduler.step()
    return norms


@pytest.mark.parametrize("every", [1, 4, 5])
def test_training_equals_a_plain_loop_and_draws_each_point(every, tmp_path):
    model = TwoRates()
    reference, module = copy.deepcopy(model), data()
    logger = CSVLogger(tmp_path, name=None, version="")
    options = {"gradient_clip_val": None, "enable_checkpointing": False, "max_epochs": 2}
    trainer_for(tmp_path, logger=logger, log_every_n_steps=every, **options).fit(model, module)
    norms = by_hand(reference, module, (), 2)
    torch.testing.assert_close(model.state_dict(), reference.state_dict(), rtol=0, atol=0)
    points = {int(row["step"]): row for row in curves(tmp_path) if "train/gradient_norm" in row}
    # Each batch has two steps; a point is due when a multiple of `every` is reached.
    steps = [step for step in range(2, 4 * BATCHES + 1, 2) if step // every > (step - 2) // every]
    assert sorted(points) == steps
    for step in steps:
        assert points[step]["train/gradient_norm"] == pytest.approx(norms[step // 2 - 1], rel=1e-5)
        rates = [points[step][f"train/learning_rate_{index}"] for index in (0, 1)]
        assert rates == pytest.approx([0.1 * 0.9 ** (step // 2), 0.01 * 0.9 ** (step // 2)], rel=1e-5)


# The steps that are skipped, as (epoch, batch, optimizer). A loss that is not finite concerns all steps of its batch.
SKIPPED = {"loss": {(1, 2, 0), (1, 2, 1)}, "gradient": {(1, 2, 0), (1, 2, 1)}, "second": {(1, 2, 1)}}


@pytest.mark.parametrize("where", SKIPPED)
def test_each_step_is_checked(where, tmp_path):
    options = {"gradient_clip_val": None, "enable_checkpointing": False}
    model = TwoRates(where)
    step = 2 * (BATCHES + 2) + 1 + (where == "second")
    with pytest.raises(NonFiniteError, match=rf"step {step} \(epoch 1, batch 2\)"):
        trainer_for(tmp_path, **options).fit(model, data())
    assert all(parameter.isfinite().all() for parameter in model.parameters())

    model, module = TwoRates(where, non_finite="skip"), data()
    reference = copy.deepcopy(model)
    trainer_for(tmp_path, max_epochs=2, **options).fit(model, module)
    by_hand(reference, module, SKIPPED[where], 2)
    torch.testing.assert_close(model.state_dict(), reference.state_dict(), rtol=0, atol=0)
    assert model.skipped_batches == 1


def test_epoch_without_a_step_stops_training(tmp_path):
    model = TwoRates("loss", at="always", non_finite="skip")
    with pytest.raises(NonFiniteError, match=rf"step {2 * BATCHES - 1} .*\n.*\nno step of the epoch"):
        trainer_for(tmp_path, gradient_clip_val=None).fit(model, data())


class Interrupt(pl.Callback):
    """Ends the run within the second epoch."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (1, 2):
            raise InterruptedError


def test_resumed_run_equals_an_uninterrupted_one(tmp_path):
    torch.manual_seed(0)
    first = TwoRates()
    whole, rest = copy.deepcopy(first), TwoRates()
    options = {"gradient_clip_val": None, "log_every_n_steps": 3}

    def fit(model, name, *callbacks, ckpt_path=None):
        logger = CSVLogger(tmp_path, name=None, version=name)
        trainer = trainer_for(tmp_path, ResumeCheckpoint(every_n_steps=1), *callbacks, logger=logger, **options)
        with contextlib.suppress(InterruptedError):
            trainer.fit(model, data(), ckpt_path=ckpt_path)
        return trainer, {row["step"]: row for row in curves(tmp_path / name) if "train/gradient_norm" in row}

    trainer, points = fit(whole, "whole")
    fit(first, "first", Interrupt())
    resumed, later = fit(rest, "rest", ckpt_path=tmp_path / "first" / "checkpoints" / "last.ckpt")
    torch.testing.assert_close(rest.state_dict(), whole.state_dict(), rtol=0, atol=0)
    for one, other in zip(resumed.optimizers, trainer.optimizers, strict=True):
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)
    assert later == {step: row for step, row in points.items() if step in later}
    assert max(later) == max(points)


class Manual(TwoRates):
    """For the command line."""


def test_command_leaves_clipping_to_the_model(tmp_path, command_line_state, without_type_checks):
    config = tmp_path / "config.yaml"
    config.write_text("trainer: {gradient_clip_val: 1.0}")
    flags = [
        *("fit", "--model", "tests.training.test_manual_optimization.Manual", "--trainer.max_epochs", "1"),
        *("--data.task", "tests.training.breaking.Numbered", "--data.num_train", "16", "--data.num_val", "8"),
        *("--trainer.enable_progress_bar", "false", "--figures.every_n_epochs", "0"),
        *("--trainer.default_root_dir", str(tmp_path)),
    ]
    for named in (["--trainer.gradient_clip_val", "1.0"], ["--config", str(config)]):
        status, _, err = seqlight_run(*flags, *named)
        assert status == 2
        assert "--trainer.gradient_clip_val 1.0 can't be used: Manual uses manual optimization" in err
        assert err.endswith("give --trainer.gradient_clip_val null\n")
    status, out, err = seqlight_run(*flags)
    assert status == 0, err
    assert out.startswith("Manual uses manual optimization, so clipping is left to its training_step")
    [saved] = tmp_path.glob("*/version_0/config.yaml")
    assert "gradient_clip_val: null" in saved.read_text()
    status, out, err = seqlight_run("fit", "--config", str(saved), "--fresh")  # what a run saved can be run again
    assert status == 0, err
