"""Training that diverges goes back to its best weights, with half the learning rate."""

import copy
import math
from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.nn import functional

import seqlight
from seqlight import GRUCell, NonFiniteError, SequenceClassifier, SumSign, SyntheticSequences
from seqlight.common.errors import CheckpointError
from tests.plain_data import assert_same
from tests.training.small_models import trainer

STEPS = 10  # of an epoch
pytestmark = pytest.mark.filterwarnings(
    "ignore:The number of training batches",
    "ignore:The dirpath has changed",
    "ignore:Be aware that when using `ckpt_path`",
    "ignore:Checkpoint directory",
)


def data():
    return SyntheticSequences(SumSign(), num_train=16 * STEPS, batch_size=16)


def model_with(learning_rate, seed=0, **options):
    torch.manual_seed(seed)
    cell = partial(GRUCell, hidden_size=4)
    return SequenceClassifier(cell, input_size=1, learning_rate=learning_rate, **{"recover": True, **options})


class Steps(pl.Callback):
    def __init__(self):
        self.rates, self.losses = [], []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"].item())


def by_hand(model, module, learning_rate, epochs, cosine):
    """The rule in a plain loop; returns the losses, the rates and the steps after which it went back."""
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True)
    keep = lambda: copy.deepcopy((model.state_dict(), optimizer.state_dict()["state"]))  # noqa: E731
    loader, losses, rates, went_back = module.train_dataloader(), [], [], []
    best, lowest, window = keep(), math.inf, []
    for epoch in range(epochs):
        loader.set_epoch(epoch)
        for batch in loader:
            part = (1 + math.cos(math.pi * len(losses) / (epochs * STEPS))) / 2 if cosine else 1
            optimizer.param_groups[0]["lr"] = 0.5 ** len(went_back) * learning_rate * part
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.zero_grad()
            loss = functional.binary_cross_entropy_with_logits(model(batch.inputs, batch.lengths), batch.targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
            window.append(loss.item())
            if len(window) == 20:
                mean, window = sum(window) / 20, []
                if mean > 1.2 * max(losses[0], math.log(2)) and len(went_back) < 5:
                    weights, moments = copy.deepcopy(best)
                    model.load_state_dict(weights)
                    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
                    went_back.append(len(losses))
                elif mean < lowest:
                    best, lowest = keep(), mean
    return losses, rates, went_back


@pytest.mark.parametrize(("learning_rate", "schedule"), [(20.0, "cosine"), (20.0, "constant"), (0.01, "cosine")])
def test_rule_is_that_of_a_plain_loop(learning_rate, schedule, tmp_path):
    model, steps = model_with(learning_rate, lr_schedule=schedule), Steps()
    reference = copy.deepcopy(model)
    trainer(tmp_path, max_epochs=16, gradient_clip_val=1.0, callbacks=[steps]).fit(model, data())
    losses, rates, went_back = by_hand(reference, data(), learning_rate, 16, schedule == "cosine")
    assert model.recoveries == went_back
    assert bool(went_back) == (learning_rate == 20.0)
    torch.testing.assert_close(steps.losses, losses, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(steps.rates, rates)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, reference.state_dict()[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("learning_rate", [0.01, 20.0])
def test_without_it_or_without_divergence_nothing_changes(learning_rate, tmp_path):
    found = []
    for recover in (False, True):
        model, steps = model_with(learning_rate, recover=recover), Steps()
        trainer(tmp_path, max_epochs=4, gradient_clip_val=1.0, callbacks=[steps]).fit(model, data())
        found.append((steps.losses, steps.rates))
        assert bool(model.recoveries) == (recover and learning_rate > 1)
    assert (found[0] == found[1]) == (learning_rate < 1)


def bad_gradients(*bad):
    """A callback's hook that breaks a gradient in these steps."""

    class Break(pl.Callback):
        def on_after_backward(self, trainer, pl_module):
            if trainer.global_step in bad:
                pl_module.head.bias.grad.fill_(math.nan)

    return Break()


def test_gradient_that_is_not_finite_goes_back(tmp_path):
    model, steps = model_with(0.01), Steps()
    keep = ModelCheckpoint(tmp_path / "all", "{step}", every_n_train_steps=1, save_top_k=-1)
    trainer(tmp_path, max_epochs=4, callbacks=[steps, bad_gradients(33), keep]).fit(model, data())
    assert model.recoveries == [33]
    at = {step: seqlight.load(tmp_path / "all" / f"step={step}.ckpt").state_dict() for step in (20, 33, 34)}
    assert_same(at[34], at[20])  # the step itself is not taken
    assert not torch.equal(at[33]["head.weight"], at[20]["head.weight"])
    part = [(1 + math.cos(math.pi * step / 40)) / 2 for step in range(40)]
    torch.testing.assert_close(steps.rates, [0.01 * part[step] * (1 if step <= 33 else 0.5) for step in range(40)])


def test_after_five_times_training_stops_as_without_it(tmp_path):
    model = model_with(0.01)
    with pytest.raises(NonFiniteError, match=r"step 8 \(epoch 0, batch 7\)"):
        trainer(tmp_path, max_epochs=2, callbacks=[bad_gradients(2, 3, 4, 5, 6, 7)]).fit(model, data())
    assert model.recoveries == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(("schedule", "accumulate"), [("cosine", 1), ("constant", 1), ("cosine", 2)])
def test_resumed_run_is_that_of_one_piece(schedule, accumulate, tmp_path):
    options = {"max_epochs": 8, "gradient_clip_val": 1.0, "accumulate_grad_batches": accumulate}
    whole = model_with(20.0, lr_schedule=schedule)
    keep = ModelCheckpoint(tmp_path / "all", "{step}", every_n_train_steps=1, save_top_k=-1)
    trainer(tmp_path, **options, callbacks=[keep]).fit(whole, data())
    assert 20 in whole.recoveries
    assert len(whole.recoveries) > 1 or accumulate == 2
    for step in (13, 20, 31):
        model = model_with(20.0, seed=9, lr_schedule=schedule)
        path = tmp_path / "all" / f"step={step}.ckpt"
        trainer(tmp_path / "again", **options).fit(model, data(), ckpt_path=path)
        assert model.recoveries == whole.recoveries
        assert_same(model.state_dict(), whole.state_dict())


def test_another_rate_on_resuming_begins_anew(tmp_path):
    keep = ModelCheckpoint(tmp_path / "all", "{step}", every_n_train_steps=10, save_top_k=-1)
    model = model_with(20.0)
    trainer(tmp_path, max_epochs=4, callbacks=[keep]).fit(model, data())
    assert model.recoveries[0] == 20
    model, steps = model_with(0.01, lr_schedule="constant"), Steps()
    trainer(tmp_path, max_epochs=4, callbacks=[steps]).fit(model, data(), ckpt_path=tmp_path / "all" / "step=30.ckpt")
    assert steps.rates == [0.01] * 10


def test_damaged_state_is_refused(tmp_path):
    trainer(tmp_path, max_epochs=3).fit(model_with(20.0), data())
    model = model_with(20.0)
    fitted = trainer(tmp_path, max_epochs=3)
    fitted.fit(model, data())
    path = tmp_path / "a.ckpt"
    fitted.save_checkpoint(path)
    good = torch.load(path, weights_only=True)
    for name, wrong in (("lowest", "x"), ("weights", {"head.weight": torch.zeros(3)}), ("after", 3)):
        bad = copy.deepcopy(good)
        bad["seqlight"]["steps"]["recovery"][name] = wrong
        torch.save(bad, path)
        with pytest.raises(CheckpointError, match="recovery"):
            trainer(tmp_path, max_epochs=5).fit(model_with(20.0), data(), ckpt_path=path)
