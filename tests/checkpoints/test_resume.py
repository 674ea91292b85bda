"""Learning rates, samples and results of a run that continues from a checkpoint."""

import copy
import functools
import inspect
import math
import shutil
from collections import Counter
from functools import partial
from itertools import chain

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException

import seqlight
from seqlight import (
    GRUCell,
    ResumeCheckpoint,
    SealedCheckpointIO,
    SequenceClassifier,
    SequenceFiles,
    SumSign,
    SyntheticSequences,
)
from seqlight.common.description import subclasses
from seqlight.training.optimizer import UNUSABLE, make_optimizer
from tests.cli.test_configurations import CELLS
from tests.plain_data import assert_same

EPOCH = 5  # steps
OPTIMIZERS = [cls for cls in subclasses(torch.optim.Optimizer) - {*UNUSABLE} if hasattr(torch.optim, cls.__name__)]
pytestmark = pytest.mark.filterwarnings(
    "ignore:The number of training batches",
    "ignore:The dirpath has changed",
    "ignore:Be aware that when using `ckpt_path`",
)


class Usual(SequenceClassifier):
    def __init__(self, learning_rate=0.01, lr_schedule="cosine", **options):
        cell = partial(GRUCell, hidden_size=4)
        super().__init__(cell, input_size=1, learning_rate=learning_rate, lr_schedule=lr_schedule, **options)


class Quiet(SequenceClassifier):
    """Its learning rate is not an argument."""

    def __init__(self, hidden=4):
        super().__init__(partial(GRUCell, hidden_size=hidden), input_size=1, learning_rate=0.02)


class Stepwise(Usual):
    """It has its own optimizer and schedule."""

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Rates(pl.Callback):
    def __init__(self):
        self.rates = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])


class Samples(pl.Callback):
    """The numbers of each step's sequences."""

    def __init__(self):
        self.steps = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.steps.append(batch.inputs[:, 0, 0].int().tolist())


def train(model, folder, max_epochs=2, ckpt_path=None, **settings):
    """Train with a checkpoint after each step; returns the learning rate of each step."""
    data = SyntheticSequences(SumSign(max_length=3), num_train=8 * EPOCH, batch_size=8)
    return fit(model, data, Rates(), folder, max_epochs, ckpt_path, **settings).rates


OPTIONS = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "limit_val_batches": 0,
    "enable_checkpointing": False,
}


def fit(model, data, callback, folder, max_epochs=2, ckpt_path=None, **settings):
    """Train; returns the callback."""
    save = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
    save_last = ResumeCheckpoint()  # last.ckpt is of the last epoch
    save_last.folder = folder
    options = {**OPTIONS, "enable_checkpointing": True, "max_epochs": max_epochs, **settings}
    pl.Trainer(**options, callbacks=[callback, save, save_last]).fit(model, data, ckpt_path=ckpt_path)
    return callback


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Rates and folder of an uninterrupted run of two epochs, by its model."""

    @functools.cache
    def run(kind, max_epochs=2, **options):
        folder = tmp_path_factory.mktemp(kind.__name__)
        return train(kind(**options), folder, max_epochs), folder

    return run


def cosine(first, step, end):
    return [first * (1 + math.cos(math.pi * at / end)) / 2 for at in range(step, end)]


every_step = pytest.mark.parametrize("step", [EPOCH - 1, EPOCH, EPOCH + 2])


@every_step
@pytest.mark.parametrize(("kind", "first"), [(Usual, 0.01), (Quiet, 0.02)])
def test_cosine_continues(kind, first, step, uninterrupted, tmp_path):
    rates, folder = uninterrupted(kind)
    assert rates == pytest.approx(cosine(first, 0, 2 * EPOCH), rel=1e-12)
    assert train(kind(), tmp_path, ckpt_path=folder / f"step={step}.ckpt") == rates[step:]


@every_step
def test_own_optimizer_continues(step, uninterrupted, tmp_path):
    rates, folder = uninterrupted(Stepwise)
    assert rates == [0.01 * 0.5**at for at in range(2 * EPOCH)]
    assert train(Stepwise(0.5), tmp_path, ckpt_path=folder / f"step={step}.ckpt") == rates[step:]


@every_step
@pytest.mark.parametrize(
    ("before", "after", "max_epochs", "expected"),
    [
        ({}, {"learning_rate": 0.3}, 2, lambda step: cosine(0.3, step, 2 * EPOCH)),
        ({}, {}, 4, lambda step: cosine(0.01, step, 4 * EPOCH)),
        ({}, {"learning_rate": 0.3}, 4, lambda step: cosine(0.3, step, 4 * EPOCH)),
        ({}, {"lr_schedule": "constant"}, 2, lambda step: [0.01] * (2 * EPOCH - step)),
        ({"lr_schedule": "constant"}, {}, 2, lambda step: cosine(0.01, step, 2 * EPOCH)),
        (
            {"lr_schedule": "constant"},
            {"lr_schedule": "constant", "learning_rate": 0.3},
            3,
            lambda step: [0.3] * (3 * EPOCH - step),
        ),
    ],
    ids=["new rate", "more epochs", "new rate, more epochs", "to constant", "to cosine", "new constant rate"],
)
def test_new_schedule_applies_to_the_remaining_steps(
    before, after, max_epochs, expected, step, uninterrupted, tmp_path
):
    _, folder = uninterrupted(Usual, **before)
    rates = train(Usual(**after), tmp_path, max_epochs, folder / f"step={step}.ckpt")
    assert rates == pytest.approx(expected(step), rel=1e-12)


CHANGES = {
    "smaller batches": ({"batch_size": 2}, {}, EPOCH * 4),
    "larger batches": ({"batch_size": 16}, {}, 3),
    "one batch": ({"batch_size": 64}, {}, 1),
    "more samples": ({"num_train": 8 * EPOCH * 7}, {}, EPOCH * 7),
    "fewer samples": ({"num_train": 16}, {}, 2),
    "accumulation": ({}, {"accumulate_grad_batches": 2}, 3),
    "fewer batches": ({}, {"limit_train_batches": 2}, 2),
}


@pytest.mark.parametrize(("max_epochs", "max_steps"), [(3, -1), (7, -1), (-1, EPOCH + 4), (3, EPOCH + 1)])
@pytest.mark.parametrize("change", CHANGES)
def test_cosine_falls_to_0_over_the_steps_that_are_left(change, max_epochs, max_steps, uninterrupted, tmp_path):
    """It begins where it was, if the run is as long as before: a third of its epochs is over."""
    options, settings, per_epoch = CHANGES[change]
    _, folder = uninterrupted(Usual, max_epochs=1)
    data = SyntheticSequences(
        SumSign(max_length=3), **{"num_train": 8 * EPOCH, "batch_size": 8, "bucketing": False, **options}
    )
    settings = {"max_steps": max_steps, **settings}
    rates = fit(Usual(), data, Rates(), tmp_path, max_epochs, folder / "last.ckpt", **settings).rates
    # The end of the run, and the total of a run that had these settings from its start
    left = [max_steps - EPOCH] if max_steps != -1 else []
    left += [per_epoch * (max_epochs - 1)] if max_epochs != -1 else []
    total = [max_steps] if max_steps != -1 else []
    total += [per_epoch * max_epochs] if max_epochs != -1 else []
    expected = [0.005 * (1 - math.cos(math.pi * at / min(total))) for at in range(min(left), 0, -1)]
    assert rates == pytest.approx(expected, rel=1e-12)
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("accumulated", [2, 3])
@pytest.mark.parametrize("step", [2, 3, EPOCH + 1])
def test_cosine_falls_to_0_with_other_accumulation_within_an_epoch(step, accumulated, uninterrupted, tmp_path):
    _, folder = uninterrupted(Usual)
    path = folder / f"step={step}.ckpt"
    rates = train(Usual(), tmp_path, ckpt_path=path, accumulate_grad_batches=accumulated)
    per_epoch = math.ceil(EPOCH / accumulated)
    left = per_epoch * (2 - step // EPOCH) - step % EPOCH // accumulated
    assert len(rates) == left
    expected = [0.005 * (1 - math.cos(math.pi * at / per_epoch / 2)) for at in range(left, 0, -1)]
    assert rates == pytest.approx(expected, rel=1e-12)


def test_cosine_of_a_second_fit_falls_to_0(tmp_path):
    data, rates = SyntheticSequences(SumSign(max_length=3), num_train=8 * EPOCH, batch_size=8), Rates()
    trainer = pl.Trainer(**{**OPTIONS, "max_epochs": 1}, callbacks=[rates])
    trainer.fit(Usual(), data)
    trainer.fit_loop.max_epochs = 3
    trainer.fit(trainer.lightning_module, data)
    assert rates.rates == pytest.approx([*cosine(0.01, 0, EPOCH), *cosine(0.01, EPOCH, 3 * EPOCH)], rel=1e-12)


def rising(first, warmup, step, end, kind="cosine"):
    """The rates from a step on, in a run of `end` steps that begins with a warm-up."""
    after = cosine(first, 0, end - warmup) if kind == "cosine" else [first] * (end - warmup)
    return [*(first * (at + 1) / warmup for at in range(warmup)), *after][step:]


@pytest.mark.parametrize("step", [1, EPOCH - 1, EPOCH, EPOCH + 2])
@pytest.mark.parametrize("warmup", [3, EPOCH, EPOCH + 3])
@pytest.mark.parametrize("kind", ["cosine", "constant"])
def test_warmup_continues(kind, warmup, step, uninterrupted, tmp_path):
    options = {"warmup_steps": warmup, "lr_schedule": kind}
    rates, folder = uninterrupted(Usual, **options)
    assert rates == pytest.approx(rising(0.01, warmup, 0, 2 * EPOCH, kind), rel=1e-12)
    assert train(Usual(**options), tmp_path, ckpt_path=folder / f"step={step}.ckpt") == rates[step:]


@every_step
@pytest.mark.parametrize(
    ("before", "after", "max_epochs"),
    [
        ({}, {"warmup_steps": 7}, 2),
        ({"warmup_steps": 7}, {"warmup_steps": 3, "learning_rate": 0.3}, 2),
        ({"warmup_steps": 7}, {"warmup_steps": 7}, 4),
        ({"warmup_steps": 7}, {"warmup_steps": 7, "lr_schedule": "constant"}, 2),
        ({"lr_schedule": "constant"}, {"warmup_steps": 7, "lr_schedule": "constant"}, 2),
        ({"warmup_steps": 7, "lr_schedule": "constant"}, {"lr_schedule": "constant"}, 2),
    ],
    ids=str,
)
def test_new_warmup_applies_to_the_remaining_steps(before, after, max_epochs, step, uninterrupted, tmp_path):
    _, folder = uninterrupted(Usual, **before)
    rates = train(Usual(**after), tmp_path, max_epochs, folder / f"step={step}.ckpt")
    first, kind = after.get("learning_rate", 0.01), after.get("lr_schedule", "cosine")
    expected = rising(first, after.get("warmup_steps", 0), step, max_epochs * EPOCH, kind)
    assert rates == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("change", CHANGES)
def test_schedule_after_a_warmup_falls_to_0_with_other_settings(change, uninterrupted, tmp_path):
    options, settings, per_epoch = CHANGES[change]
    _, folder = uninterrupted(Usual, max_epochs=1, warmup_steps=3)
    data = SyntheticSequences(
        SumSign(max_length=3), **{"num_train": 8 * EPOCH, "batch_size": 8, "bucketing": False, **options}
    )
    rates = fit(Usual(warmup_steps=3), data, Rates(), tmp_path, 7, folder / "last.ckpt", **settings).rates
    left, span = per_epoch * 6, per_epoch * 7 - 3  # the whole run would have this many steps after the warm-up
    expected = [0.005 * (1 - math.cos(math.pi * min(at / span, 1))) for at in range(left, 0, -1)]
    assert rates == pytest.approx(expected, rel=1e-12)


adamw = partial(torch.optim.AdamW, weight_decay=0.3)


@pytest.mark.parametrize(
    ("before", "after", "keeps"),
    [
        (torch.optim.Adam, partial(torch.optim.Adam, weight_decay=0.5), True),
        (adamw, partial(adamw, weight_decay=0), True),
        (adamw, partial(adamw, weight_decay=0.7, betas=(0.5, 0.6)), True),
        (torch.optim.Adam, adamw, False),
        (adamw, partial(torch.optim.SGD, momentum=0.9), False),
        (partial(torch.optim.SGD, momentum=0.9, weight_decay=0.1), torch.optim.Adam, False),
    ],
)
def test_arguments_of_this_run_replace_those_of_the_checkpoint(before, after, keeps, tmp_path):
    """An optimizer of the same class keeps its state of each parameter; another one begins without."""
    torch.manual_seed(0)
    train(Usual(optimizer=before), tmp_path / "before", 1)
    path = tmp_path / "before" / "last.ckpt"
    model, seen = Usual(optimizer=after), []

    class Watch(Rates):
        def on_train_start(self, trainer, pl_module):
            optimizer = trainer.optimizers[0]
            state = {
                name: copy.deepcopy(dict(optimizer.state.get(each, {}))) for name, each in pl_module.named_parameters()
            }
            seen.append((state, [{**group, "params": None} for group in optimizer.param_groups]))

    source = SyntheticSequences(SumSign(max_length=3), num_train=8 * EPOCH, batch_size=8)
    rates = fit(model, source, Watch(), tmp_path / "after", 2, path).rates
    assert rates == pytest.approx(cosine(0.01, EPOCH, 2 * EPOCH), rel=1e-12)
    [(state, groups)] = seen
    fresh = make_optimizer(after, model, 0.01, fused=True)
    settings = [{**group, "initial_lr": 0.01, "params": None} for group in fresh.param_groups]
    assert groups == settings
    if not keeps:
        assert not any(state.values())
        return
    # The checkpoint has the parameters in the order of its groups.
    saved = torch.load(path, weights_only=True)
    old = make_optimizer(before, model, 0.01, fused=True)
    order = [parameter for group in old.param_groups for parameter in group["params"]]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for place, parameter in enumerate(order):
        torch.testing.assert_close(
            dict(state[names[id(parameter)]]), saved["optimizer_states"][0]["state"][place], rtol=0, atol=0
        )


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_cosine_needs_a_loader_with_a_length(tmp_path):
    class Endless(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(SyntheticSequences(SumSign(max_length=3)).train_dataloader())

    loader = torch.utils.data.DataLoader(Endless(), batch_size=None)
    with pytest.raises(MisconfigurationException, match="needs the end of the run"):
        pl.Trainer(**OPTIONS, max_epochs=2).fit(Usual(), loader)
    pl.Trainer(**OPTIONS, max_epochs=1, max_steps=3).fit(Usual(), loader)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """A file of 50 sequences of 1 to 7 steps, 10 of them for validation; each contains its own number."""
    path = tmp_path_factory.mktemp("file") / "a.csv"
    rows = [f"{number},{number},{'ab'[number % 2]}" for number in range(50) for _ in range(1 + number % 7)]
    path.write_text("\n".join(["id,x,label", *rows]))
    return path


@every_step
def test_each_sample_of_a_file_is_seen_once_per_epoch(step, numbered, tmp_path):
    def data():
        return SequenceFiles(numbered, batch_size=8, standardise=False)

    before = fit(Usual(), data(), Samples(), tmp_path / "before").steps
    after = fit(
        Usual(), data(), Samples(), tmp_path / "after", ckpt_path=tmp_path / "before" / f"step={step}.ckpt"
    ).steps
    steps = before[:step] + after
    assert len(steps) == 2 * EPOCH
    held_back = {int(number) for number in data().sample_ids("val")}
    epochs = [Counter(chain.from_iterable(steps[start : start + EPOCH])) for start in (0, EPOCH)]
    assert epochs == 2 * [Counter(set(range(50)) - held_back)]
    assert steps == before
    assert before[:EPOCH] != before[EPOCH:]
    # Bucketing gives less padding than random batches, most of which have a sequence of 7 steps.
    longest = [max(number % 7 for number in numbers) for numbers in before]
    assert sum(longest) < 2 * EPOCH * 5


class KeepOne(pl.Callback):
    """Keep a copy of the checkpoint of one step."""

    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            shutil.copy(trainer.checkpoint_callbacks[0].folder / "last.ckpt", self.path)


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_continues_exactly(name, tmp_path):
    """With all kinds of dropout that the cell allows in a stack."""
    drops = {"dropout": 0.2, "input_dropout": 0.2}
    if name == "GRUCell":
        drops |= {"recurrent_dropout": 0.2, "zoneout": 0.1}
    cell = partial(getattr(seqlight, name), hidden_size=4)
    check_that_training_continues(tmp_path, cell, num_layers=2, **drops)


@pytest.mark.parametrize("name", sorted(cls.__name__ for cls in OPTIMIZERS))
def test_every_optimizer_continues_exactly(name, tmp_path):
    """Within the warm-up, and with weight decay if it has one."""
    cls = getattr(torch.optim, name)
    decay = {"weight_decay": 0.1} if "weight_decay" in inspect.signature(cls).parameters else {}
    cell = partial(GRUCell, hidden_size=4)
    check_that_training_continues(tmp_path, cell, optimizer=partial(cls, **decay), warmup_steps=EPOCH + 3)


def check_that_training_continues(tmp_path, cell, **options):
    results = []
    for path in (None, tmp_path / "kept.ckpt"):
        torch.manual_seed(1 if path is None else 2)
        model = SequenceClassifier(cell, input_size=1, **options)
        trainer = pl.Trainer(
            accelerator="cpu",
            default_root_dir=tmp_path,
            max_epochs=2,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            plugins=[SealedCheckpointIO()],
            callbacks=[ResumeCheckpoint(every_n_steps=1), KeepOne(EPOCH + 2, tmp_path / "kept.ckpt")],
        )
        data = SyntheticSequences(SumSign(max_length=3), num_train=8 * EPOCH, num_val=8, batch_size=8)
        trainer.fit(model, data, ckpt_path=path)
        results.append((model.state_dict(), trainer.optimizers[0].state_dict(), trainer.callback_metrics))
    assert_same(*results)
