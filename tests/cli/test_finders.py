"""Lightning's LearningRateFinder and BatchSizeFinder: the value that is found is the one that is used."""

import re
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from lightning.pytorch.tuner import Tuner
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import seqlight
from seqlight import GRUCell, SequenceClassifier, SumSign, SyntheticSequences
from tests.cli.commands import QUIET, run
from tests.conftest import seqlight_run

pytestmark = [
    pytest.mark.usefixtures("user_folder"),
    pytest.mark.filterwarnings("ignore:The number of training batches", "ignore:Be aware that when using `ckpt_path`"),
]
OPTIONS = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "num_sanity_val_steps": 0,
}
find_rate = partial(LearningRateFinder, max_lr=0.1, num_training_steps=30, early_stop_threshold=None)


class Rates(pl.Callback):
    def __init__(self):
        self.rates = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])


def model(kind):
    torch.manual_seed(0)
    return SequenceClassifier(partial(GRUCell, hidden_size=4), input_size=1, lr_schedule=kind)


def data():
    return SyntheticSequences(SumSign(max_length=3), num_train=64, num_val=8, batch_size=8)


def expected_rates(kind, first, steps):
    at = torch.arange(steps, dtype=torch.float64)
    return (first * (1 + torch.cos(torch.pi * at / steps)) / 2 if kind == "cosine" else at * 0 + first).tolist()


@pytest.mark.parametrize("kind", ["cosine", "constant"])
@pytest.mark.parametrize("how", ["callback", "tuner"])
def test_found_rate_is_the_one_trained_with(how, kind):
    module, rates, finder = model(kind), Rates(), find_rate()
    callbacks = [finder, rates] if how == "callback" else [rates]
    trainer = pl.Trainer(**OPTIONS, max_epochs=2, callbacks=callbacks)
    if how == "tuner":
        result = Tuner(trainer).lr_find(module, data(), max_lr=0.1, num_training=30, early_stop_threshold=None)
        rates.rates.clear()
    trainer.fit(module, data())
    found = (finder.optimal_lr if how == "callback" else result).suggestion()
    assert found not in (None, 0.01)
    assert rates.rates == pytest.approx(expected_rates(kind, found, 16), rel=1e-12)
    assert module.learning_rate == module.hparams["learning_rate"] == found
    trainer.save_checkpoint("a.ckpt")
    saved = torch.load("a.ckpt", weights_only=True)
    assert saved["seqlight"]["schedule"]["learning_rate"] == found
    assert seqlight.load("a.ckpt").hparams["learning_rate"] == found


@pytest.mark.parametrize("kind", ["cosine", "constant"])
def test_found_batch_size_is_the_one_trained_with(kind):
    module, rates = model(kind), Rates()
    source = data()
    finder = BatchSizeFinder(init_val=4, max_trials=3, steps_per_trial=1)
    trainer = pl.Trainer(**OPTIONS, max_epochs=2, callbacks=[finder, rates])
    trainer.fit(module, source)
    assert source.batch_size == finder.optimal_batch_size == source.hparams["batch_size"]
    assert source.batch_size != 8
    steps = 2 * 64 // source.batch_size
    assert rates.rates == pytest.approx(expected_rates(kind, 0.01, steps), rel=1e-12)


@pytest.mark.parametrize("kind", ["cosine", "constant"])
def test_interrupted_run_keeps_the_found_rate(kind):
    Path("stops_once.py").write_text(
        "import os, signal\n"
        "import lightning.pytorch as pl\n"
        "class Stops(pl.Callback):\n"
        "    def on_train_batch_end(self, trainer, *_):\n"
        "        if trainer.global_step == 10 and trainer.max_steps == -1 and os.environ.pop('STOP', None):\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
    )
    flags = ["fit", "--device=cpu", *QUIET, "--model.cell.hidden_size=4", f"--model.lr_schedule={kind}"]
    flags += ["--trainer.callbacks+=LearningRateFinder", "--trainer.callbacks.num_training_steps=30"]
    flags += ["--trainer.callbacks.max_lr=0.1", "--trainer.callbacks+=stops_once.Stops", "--trainer.max_epochs=2"]
    flags += ["--data.num_train=64", "--data.num_val=8", "--data.batch_size=8", "--trainer.log_every_n_steps=1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STOP", "1")
        assert seqlight_run(*flags)[0] == 130
    out = run(*flags)
    [folder] = Path("runs").glob("*/version_0")
    found = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["seqlight"]["schedule"]["learning_rate"]
    assert re.search(rf"a callback changed model.learning_rate {re.escape(str(found))} \(was 0.01\)", out)
    points = EventAccumulator(str(folder)).Reload().Scalars("train/learning_rate")
    assert [point.step for point in points] == [*range(1, 17)]
    # The curve has the rate of the next step.
    assert [point.value for point in points[:-1]] == pytest.approx(expected_rates(kind, found, 16)[1:], rel=1e-5)


def test_found_rate_with_warmup_and_weight_decay():
    """One callback, which the Trainer takes without a list too."""
    flags = ["fit", "--device=cpu", *QUIET, "--model.cell.hidden_size=4", "--trainer.callbacks", "LearningRateFinder"]
    flags += ["--trainer.callbacks.num_training_steps=30", "--trainer.callbacks.max_lr=0.1", "--model.warmup_steps=4"]
    flags += ["--optimizer=AdamW", "--optimizer.weight_decay=0.01", "--trainer.max_epochs=2"]
    out = run(*flags, "--data.num_train=64", "--data.num_val=8", "--data.batch_size=8", "--trainer.log_every_n_steps=1")
    found = float(re.search(r"a callback changed model.learning_rate (\S+) \(was 0.01\)", out).group(1))
    [folder] = Path("runs").glob("*/version_0")
    points = EventAccumulator(str(folder)).Reload().Scalars("train/learning_rate")
    rising = [found * step / 4 for step in (1, 2, 3, 4)]
    expected = rising + expected_rates("cosine", found, 12)
    # The curve has the rate of the next step.
    assert [point.value for point in points[:-1]] == pytest.approx(expected[1:], rel=1e-5)
