import contextlib
import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.nn import functional

import seqlight
from seqlight import (
    Batch,
    ElmanCell,
    GRUCell,
    LSTMCell,
    Parity,
    SequenceClassifier,
    SequenceTask,
    SumSign,
    SyntheticSequences,
)
from seqlight.common.batch import BatchError

QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
pytestmark = pytest.mark.filterwarnings("ignore:The number of training batches")


@dataclass(frozen=True)
class LargestFeature(SequenceTask):
    """Which of three features has the largest sum? Or, for multilabel, which sums are positive?"""

    kind: str = "multiclass"

    input_size = 3
    num_outputs = 3

    @property
    def target(self):
        return self.kind

    def sample(self, num_samples, rng):
        inputs = torch.from_numpy(rng.standard_normal((num_samples, 4, 3), dtype="float32"))
        sums = inputs.sum(1)
        targets = sums.argmax(-1) if self.kind == "multiclass" else (sums > 0).float()
        return Batch(inputs, targets, torch.full((num_samples,), 4))


def trainer(folder, **options):
    options = {
        **QUIET,
        "max_epochs": 2,
        "gradient_clip_val": 1.0,
        "logger": False,
        "default_root_dir": folder,
    } | options
    return pl.Trainer(**options)


def model_for(data, **options):
    return SequenceClassifier(
        partial(GRUCell, hidden_size=16),
        input_size=data.input_size,
        vocab_size=data.vocab_size,
        target=data.target,
        num_outputs=data.num_outputs,
        **options,
    )


@pytest.mark.parametrize("task", [SumSign(), LargestFeature(), LargestFeature("multilabel")])
def test_learns_and_reports_what_it_has_learnt(task, tmp_path):
    pl.seed_everything(0)
    data = SyntheticSequences(task, num_train=600, num_val=200)
    model = model_for(data)
    fitted = trainer(tmp_path, max_epochs=8)
    fitted.fit(model, data)
    batch = data.split("val")
    logits = model.eval()(batch.inputs, batch.lengths)
    if task.target == "multiclass":
        accuracy = (logits.argmax(-1) == batch.targets).float().mean()
        loss = functional.nll_loss(functional.log_softmax(logits, -1), batch.targets)
    else:
        accuracy = ((logits > 0) == batch.targets.bool()).float().mean()
        loss = functional.binary_cross_entropy(logits.sigmoid(), batch.targets)
    assert accuracy > 0.85
    torch.testing.assert_close(fitted.callback_metrics["val/accuracy"], accuracy)
    torch.testing.assert_close(fitted.callback_metrics["val/loss"], loss)
    probabilities = model.probabilities(batch.inputs)
    assert probabilities.shape == logits.shape
    expected = logits.softmax(-1) if task.target == "multiclass" else logits.sigmoid()
    torch.testing.assert_close(probabilities, expected.detach())


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_every_loss_is_weighted(kind, tmp_path):
    data = SyntheticSequences(LargestFeature(kind), num_train=50, num_val=40, num_test=45, batch_size=50)
    weights = torch.tensor([0.25, 4.0, 1.0])
    model = model_for(data, class_weights=tuple(weights.tolist()), learning_rate=1e-30)
    expected = {}
    for split in ("train", "val", "test"):
        batch = data.split(split)
        logits = model(batch.inputs, batch.lengths).detach()
        if kind == "multiclass":
            losses = weights[batch.targets] * functional.cross_entropy(logits, batch.targets, reduction="none")
        else:
            losses = functional.binary_cross_entropy(logits.sigmoid(), batch.targets, reduction="none")
            losses = torch.where(batch.targets == 1, weights, 1) * losses
        expected[split] = losses.mean()
    fitted = trainer(tmp_path, max_epochs=1)
    fitted.fit(model, data)
    losses = {split: fitted.callback_metrics[f"{split}/loss"] for split in ("train", "val")}
    loaded = seqlight.load(fitted.checkpoint_callback.best_model_path)
    assert loaded.hparams["class_weights"] == weights.tolist()
    [results] = trainer(tmp_path).test(loaded, data, verbose=False)
    losses["test"] = torch.tensor(results["test/loss"])
    torch.testing.assert_close(losses, expected)


@pytest.mark.parametrize("cell", [ElmanCell, LSTMCell, GRUCell])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "dropout": 0.3, "readout": "mean"}])
def test_load_gives_the_trained_model_back(cell, options, tmp_path):
    data = SyntheticSequences(Parity(max_length=6), num_train=64, num_val=32)
    model = SequenceClassifier(partial(cell, hidden_size=5), vocab_size=2, **options)
    fitted = trainer(tmp_path)
    fitted.fit(model, data)
    loaded = seqlight.load(fitted.checkpoint_callback.best_model_path)
    batch = data.split("test")
    expected = model.probabilities(batch.inputs, batch.lengths)
    torch.testing.assert_close(loaded.probabilities(batch.inputs, batch.lengths), expected, rtol=0, atol=0)
    assert not loaded.training
    assert dict(loaded.hparams) == dict(model.hparams)


def test_a_model_trained_without_a_datamodule_can_be_loaded(tmp_path):
    loader = SyntheticSequences(SumSign(), num_train=64).train_dataloader()
    fitted = trainer(tmp_path, max_epochs=1)
    fitted.fit(SequenceClassifier(LSTMCell, input_size=1), loader, loader)
    path = fitted.checkpoint_callback.best_model_path
    assert seqlight.load(path).hparams["cell"]["init_args"] == {"hidden_size": 32, "forget_bias": None}


def test_lightnings_own_way_to_load_and_test(tmp_path):
    data = SyntheticSequences(SumSign(max_length=4), num_train=8, num_val=8, num_test=40)
    model = model_for(data)
    trainer(tmp_path, max_epochs=1).fit(model, data)
    [path] = tmp_path.rglob("*.ckpt")
    loaded = SequenceClassifier.load_from_checkpoint(path)
    batch = data.split("test")
    probabilities = loaded.probabilities(batch.inputs)
    torch.testing.assert_close(probabilities, model.probabilities(batch.inputs), rtol=0, atol=0)
    [results] = trainer(tmp_path).test(loaded, data, verbose=False)
    assert set(results) == {"test/loss", "test/accuracy", "test/auroc", "test/f1"}
    expected = ((probabilities > 0.5) == batch.targets.bool()).float().mean()
    assert results["test/accuracy"] == pytest.approx(expected.item())


@pytest.mark.usefixtures("without_type_checks")
def test_another_loaders_batches_are_refused_by_name():
    with pytest.raises(BatchError, match=r"must give seqlight\.Batch\(inputs, targets, lengths\), got list"):
        SequenceClassifier(input_size=1).test_step([torch.randn(4, 6, 1), torch.zeros(4)], 0)


class FixedCell(SequenceClassifier):
    """Its arguments are others than those that it hands on."""

    def __init__(self, hidden=5, weight_decay=0.1):
        super().__init__(partial(GRUCell, hidden_size=hidden), input_size=1)


def test_a_subclass_with_arguments_of_its_own_can_be_loaded(tmp_path):
    data = SyntheticSequences(SumSign(max_length=4), num_train=8, num_val=8)
    trainer(tmp_path, max_epochs=1).fit(FixedCell(hidden=3), data)
    [path] = tmp_path.rglob("*.ckpt")
    model = FixedCell.load_from_checkpoint(path)
    assert dict(model.hparams) == {"hidden": 3, "weight_decay": 0.1}
    assert model.recurrent.output_size == 3


class Positional(SequenceClassifier):
    def __init__(self, *sizes):
        super().__init__(partial(GRUCell, hidden_size=sizes[0]), input_size=1)


def test_arguments_that_no_checkpoint_could_hold_are_refused():
    with pytest.raises(TypeError, match=r"Positional must be given its arguments by name.*\*sizes = \(3, 4\)"):
        Positional(3, 4)


@pytest.mark.parametrize("lengths", [[3], [4, 4, 4]])
@pytest.mark.usefixtures("without_type_checks")
def test_lengths_must_be_one_for_each_sequence(lengths):
    with pytest.raises(ValueError, match=r"lengths must be of shape \(2,\)"):
        SequenceClassifier(input_size=1).probabilities(torch.randn(2, 4, 1), torch.tensor(lengths))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.bool, torch.float32])
@pytest.mark.parametrize(
    "inputs", [torch.randn(2, 4, 1), torch.zeros(2, 4, dtype=torch.int64)], ids=["floats", "tokens"]
)
@pytest.mark.usefixtures("without_type_checks")
def test_lengths_must_be_of_type_int64(inputs, dtype):
    model = SequenceClassifier(input_size=1) if inputs.ndim == 3 else SequenceClassifier(vocab_size=2)
    with pytest.raises(TypeError, match=f"lengths must be int64, got {dtype}"):
        model.probabilities(inputs, torch.tensor([1, 4]).to(dtype))


@pytest.mark.parametrize("lengths", [None, torch.zeros(0, dtype=torch.int64)])
@pytest.mark.parametrize("shape", [(0, 4), (2, 0)])
def test_a_batch_without_sequences_or_steps_is_refused(shape, lengths):
    message = (
        "inputs must have at least 1 time step, got 0" if shape[0] else "inputs must hold at least 1 sequence, got 0"
    )
    lengths = None if shape[0] else lengths
    for model, inputs in (
        (SequenceClassifier(input_size=1), torch.zeros(*shape, 1)),
        (SequenceClassifier(vocab_size=2), torch.zeros(shape, dtype=torch.int64)),
    ):
        with pytest.raises(ValueError, match=message):
            model.probabilities(inputs, lengths)


def test_padding_of_tokens_may_hold_anything():
    model = SequenceClassifier(vocab_size=3)
    inputs, lengths = torch.tensor([[1, 2, 0], [2, 1, 1]]), torch.tensor([2, 3])
    expected = model.probabilities(inputs, lengths)
    inputs[0, 2] = -100
    assert torch.equal(model.probabilities(inputs, lengths), expected)


def test_probabilities_leave_the_mode_as_it_was():
    model = SequenceClassifier(LSTMCell, input_size=1, num_layers=2, dropout=0.5).train()
    inputs = torch.randn(3, 5, 1)
    torch.testing.assert_close(model.probabilities(inputs), model.probabilities(inputs), rtol=0, atol=0)
    assert model.training
    assert model.recurrent.dropout.training


def test_learning_rate_falls_along_a_cosine(tmp_path):
    data = SyntheticSequences(SumSign(), num_train=320)
    rates = []

    class Watch(pl.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            rates.append(optimizer.param_groups[0]["lr"])

    trainer(tmp_path, max_epochs=3, callbacks=[Watch()]).fit(model_for(data), data)
    steps = torch.arange(30, dtype=torch.float64)
    expected = 0.01 * (1 + torch.cos(torch.pi * steps / 30)) / 2
    torch.testing.assert_close(torch.tensor(rates, dtype=torch.float64), expected)


class Descent(SequenceClassifier):
    """By plain gradient descent, whose steps are as long as the gradient; Adam's first is not."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


@pytest.mark.parametrize(
    ("options", "clip"),
    [
        ({"gradient_clip_val": 0.05}, lambda parameters: nn.utils.clip_grad_norm_(parameters, 0.05)),
        (
            {"gradient_clip_val": 0.05, "gradient_clip_algorithm": "norm"},
            lambda parameters: nn.utils.clip_grad_norm_(parameters, 0.05),
        ),
        (
            {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
            lambda parameters: nn.utils.clip_grad_value_(parameters, 0.01),
        ),
        ({"gradient_clip_val": 100.0}, None),
        ({"gradient_clip_val": None}, None),
        ({"gradient_clip_val": 0}, None),
    ],
)
@pytest.mark.parametrize("every", [1, 0], ids=["with a point", "without"])
def test_clipping_bounds_the_step(options, clip, every, tmp_path):
    torch.manual_seed(1)
    data = SyntheticSequences(SumSign(), num_train=32)
    model = Descent(partial(GRUCell, hidden_size=4), input_size=1).double()
    before, batch = copy.deepcopy(model), data.split("train")
    loss = functional.binary_cross_entropy(before(batch.inputs.double()).sigmoid(), batch.targets.double())
    parameters = list(before.parameters())
    gradients = torch.autograd.grad(loss, parameters)
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm().item()
    assert 0.1 < norm < 100
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    if clip is not None:
        clip(parameters)
        assert any(not torch.equal(p.grad, gradient) for p, gradient in zip(parameters, gradients, strict=True))

    logger = CSVLogger(tmp_path, name=None, version="")
    limits = {"max_steps": 1, "limit_val_batches": 0, "precision": "64-true", "log_every_n_steps": every}
    trainer(tmp_path, **limits, logger=logger, **options).fit(model, data)
    for parameter, after in zip(parameters, model.parameters(), strict=True):
        torch.testing.assert_close(after, parameter - parameter.grad, rtol=1e-9, atol=1e-12)
    if every:
        logger.save()
        [point] = [point for point in curves(tmp_path) if "train/gradient_norm" in point]
        assert point["train/gradient_norm"] == pytest.approx(norm, rel=1e-6)


def curves(folder):
    rows = (Path(folder) / "metrics.csv").read_text().splitlines()
    names = rows[0].split(",")
    return [{n: float(v) for n, v in zip(names, row.split(","), strict=True) if v} for row in rows[1:]]


@pytest.mark.parametrize(("every", "steps"), [(3, [3, 6, 9, 12]), (50, [4, 8, 12]), (0, [])])
def test_training_curve_points(every, steps, tmp_path):
    data = SyntheticSequences(SumSign(), num_train=128)
    logger = CSVLogger(tmp_path, name=None, version="")
    fitted = trainer(tmp_path, max_epochs=3, logger=logger, log_every_n_steps=every, limit_val_batches=0)
    losses = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            losses.append(outputs["loss"].item())

    fitted.callbacks.append(Watch())
    fitted.fit(model_for(data), data)
    logger.save()
    points = [point for point in (curves(tmp_path) if steps else []) if "train/loss" in point]
    assert [point["step"] for point in points] == steps
    for start, point in zip([0, *steps], points, strict=False):
        window = losses[start : int(point["step"])]
        assert point["train/loss"] == pytest.approx(sum(window) / len(window), rel=1e-5)
    epoch = losses[-4:]
    assert fitted.callback_metrics["train/loss"].item() == pytest.approx(sum(epoch) / len(epoch), rel=1e-5)


@pytest.mark.parametrize(("max_steps", "steps"), [(4, [4]), (10, [10]), (13, [10, 13])])
def test_a_run_that_ends_within_an_epoch_has_a_training_point(max_steps, steps, tmp_path):
    data = SyntheticSequences(SumSign(), num_train=320)
    logger = CSVLogger(tmp_path, name=None, version="")
    options = {"max_epochs": -1, "max_steps": max_steps, "log_every_n_steps": 50, "limit_val_batches": 0}
    trainer(tmp_path, logger=logger, **options).fit(model_for(data), data)
    logger.save()
    assert [point["step"] for point in curves(tmp_path) if "train/loss" in point] == steps


@pytest.mark.parametrize("fails", [False, True])
def test_a_second_fit_of_a_model_begins_its_curves_anew(fails, tmp_path):
    data = SyntheticSequences(SumSign(), num_train=320)
    losses = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            losses.append(outputs["loss"].item())
            if fails and batch_idx == 6 and trainer.logger is None:
                raise RuntimeError("stopped")

    model = model_for(data)
    options = {"max_epochs": 1, "log_every_n_steps": 4, "limit_val_batches": 0, "enable_checkpointing": False}
    with pytest.raises(RuntimeError, match="stopped") if fails else contextlib.nullcontext():
        trainer(tmp_path, **options, callbacks=[Watch()]).fit(model, data)
    losses.clear()
    logger = CSVLogger(tmp_path / "curves", name=None, version="")
    trainer(tmp_path, **options, callbacks=[Watch()], logger=logger).fit(model, data)
    logger.save()
    points = [point for point in curves(tmp_path / "curves") if "train/loss" in point]
    assert [point["step"] for point in points] == [4, 8]
    for start, point in zip([0, 4], points, strict=True):
        assert point["train/loss"] == pytest.approx(sum(losses[start : start + 4]) / 4, rel=1e-5)


@pytest.mark.filterwarnings("ignore:The dirpath has changed", "ignore:Be aware that when using `ckpt_path`")
def test_a_run_that_stops_within_an_epoch_goes_on_with_the_next_batch(tmp_path):
    data = SyntheticSequences(SumSign(), num_train=320, batch_size=32)

    class Watch(pl.Callback):
        def __init__(self):
            self.seen = []

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.seen += batch.inputs[:, 0, 0].tolist()

    whole, after = Watch(), Watch()
    keep_all = ModelCheckpoint(tmp_path / "all", "{step}", every_n_train_steps=1, save_top_k=-1)
    trainer(tmp_path, max_epochs=2, callbacks=[whole, keep_all]).fit(model_for(data), data)
    for step in (4, 10, 13):
        after.seen = []
        path = tmp_path / "all" / f"step={step}.ckpt"
        trainer(tmp_path / f"{step}", max_epochs=2, callbacks=[after]).fit(model_for(data), data, ckpt_path=path)
        assert after.seen == whole.seen[32 * step :]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "exactly one of input_size and vocab_size, got None and None"),
        ({"input_size": 1, "vocab_size": 2}, ValueError, "exactly one of input_size and vocab_size, got 1 and 2"),
        ({"input_size": 1, "target": "multiclass"}, ValueError, "num_outputs must be at least 2, got 1"),
        ({"input_size": 1, "num_outputs": 3}, ValueError, "num_outputs must be 1 for a binary target, got 3"),
        ({"input_size": 1, "learning_rate": 0.0}, ValueError, "learning_rate must be greater than 0 and finite, got 0"),
        ({"input_size": 0}, ValueError, "input_size must be at least 1, got 0"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        SequenceClassifier(LSTMCell, **options)


def test_a_cell_that_no_checkpoint_could_name_is_refused():
    with pytest.raises(TypeError, match="cell of SequenceClassifier can't be stored in a checkpoint"):
        SequenceClassifier(lambda size: GRUCell(size, 4), input_size=1)


def test_a_loss_that_is_not_a_number_shows_in_the_validation_loss(tmp_path):
    data = SyntheticSequences(SumSign(), num_train=32, num_val=64)
    model = model_for(data)

    class Spoil(pl.Callback):
        def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
            if batch_idx == 1:
                torch.nn.init.constant_(pl_module.head.bias, torch.nan)

    checked = trainer(tmp_path, enable_checkpointing=False, callbacks=[Spoil()])
    checked.validate(model, data, verbose=False)
    assert checked.callback_metrics["val/loss"].isnan()
