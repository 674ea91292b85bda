"""The classifier: training, loading, and its arguments."""

from dataclasses import dataclass
from functools import partial

import lightning.pytorch as pl
import pytest
import torch
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
from tests.training.small_models import model_for, trainer

pytestmark = pytest.mark.filterwarnings("ignore:The number of training batches")


@dataclass(frozen=True)
class LargestFeature(SequenceTask):
    """The feature with the largest sum; for multilabel, the features with positive sums."""

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


@pytest.mark.parametrize("task", [SumSign(), LargestFeature(), LargestFeature("multilabel")])
def test_classifier_learns_and_reports_its_metrics(task, tmp_path):
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
def test_losses_of_all_splits_are_weighted(kind, tmp_path):
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
def test_load_returns_the_trained_model(cell, options, tmp_path):
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


@pytest.mark.parametrize(
    ("cell", "forget_bias"),
    [
        (LSTMCell, 1),
        (partial(LSTMCell, hidden_size=32), 1),
        (partial(LSTMCell, forget_bias="auto"), 1),
        (partial(LSTMCell, forget_bias=-0.5), -0.5),
        (partial(LSTMCell, forget_bias=None), None),
    ],
)
@pytest.mark.parametrize("options", [{}, {"zoneout": 0.1}], ids=str)
def test_lstm_starts_as_torchs_except_for_its_forget_bias(cell, forget_bias, options):
    torch.manual_seed(0)
    expected = torch.nn.LSTM(3, 32, num_layers=2, bidirectional=True).state_dict()
    torch.manual_seed(0)
    model = SequenceClassifier(cell, input_size=3, num_layers=2, bidirectional=True, **options)
    assert model.hparams["cell"]["init_args"] == {"hidden_size": 32, "forget_bias": forget_bias}
    for index, layer in enumerate(model.recurrent.layers):
        state = {name.removeprefix("cell."): value for name, value in layer.cell.state_dict().items()}
        suffix = f"_l{index // 2}" + "_reverse" * (index % 2)
        for name, value in state.items():
            same = torch.ones(len(value), dtype=torch.bool)
            same[32:64] = forget_bias is None or name.startswith("weight")  # the rows of the forget gate
            assert torch.equal(value[same], expected[name + suffix][same])
        if forget_bias is not None:
            assert torch.equal((state["bias_ih"] + state["bias_hh"])[32:64], torch.full((32,), float(forget_bias)))


def test_model_trained_without_a_datamodule_is_loaded(tmp_path):
    loader = SyntheticSequences(SumSign(), num_train=64).train_dataloader()
    fitted = trainer(tmp_path, max_epochs=1)
    fitted.fit(SequenceClassifier(LSTMCell, input_size=1), loader, loader)
    path = fitted.checkpoint_callback.best_model_path
    assert seqlight.load(path).hparams["cell"]["init_args"] == {"hidden_size": 32, "forget_bias": 1.0}


def test_load_from_checkpoint_and_trainer_test(tmp_path):
    data = SyntheticSequences(SumSign(max_length=4), num_train=8, num_val=8, num_test=40)
    model = model_for(data)
    trainer(tmp_path, max_epochs=1).fit(model, data)
    [path] = tmp_path.rglob("*.ckpt")
    loaded = SequenceClassifier.load_from_checkpoint(path)
    batch = data.split("test")
    probabilities = loaded.probabilities(batch.inputs)
    torch.testing.assert_close(probabilities, model.probabilities(batch.inputs), rtol=0, atol=0)
    [results] = trainer(tmp_path).test(loaded, data, verbose=False)
    assert set(results) == {f"test/{name}" for name in ("loss", "accuracy", "auroc", "f1", "calibration_error")}
    expected = ((probabilities > 0.5) == batch.targets.bool()).float().mean()
    assert results["test/accuracy"] == pytest.approx(expected.item())


@pytest.mark.usefixtures("without_type_checks")
def test_batches_of_another_type_are_refused():
    with pytest.raises(BatchError, match=r"must give seqlight\.Batch\(inputs, targets, lengths\), got list"):
        SequenceClassifier(input_size=1).test_step([torch.randn(4, 6, 1), torch.zeros(4)], 0)


class FixedCell(SequenceClassifier):
    """Its arguments differ from those of its base class."""

    def __init__(self, hidden=5, weight_decay=0.1):
        super().__init__(partial(GRUCell, hidden_size=hidden), input_size=1)


def test_subclass_with_its_own_arguments_is_loaded(tmp_path):
    data = SyntheticSequences(SumSign(max_length=4), num_train=8, num_val=8)
    trainer(tmp_path, max_epochs=1).fit(FixedCell(hidden=3), data)
    [path] = tmp_path.rglob("*.ckpt")
    model = FixedCell.load_from_checkpoint(path)
    assert dict(model.hparams) == {"hidden": 3, "weight_decay": 0.1}
    assert model.recurrent.output_size == 3


class Positional(SequenceClassifier):
    def __init__(self, *sizes):
        super().__init__(partial(GRUCell, hidden_size=sizes[0]), input_size=1)


def test_positional_arguments_that_no_checkpoint_can_hold_are_refused():
    with pytest.raises(TypeError, match=r"Positional must be given its arguments by name.*\*sizes = \(3, 4\)"):
        Positional(3, 4)


@pytest.mark.parametrize("lengths", [[3], [4, 4, 4]])
@pytest.mark.usefixtures("without_type_checks")
def test_lengths_must_have_one_entry_per_sequence(lengths):
    with pytest.raises(ValueError, match=r"lengths must be of shape \(2,\)"):
        SequenceClassifier(input_size=1).probabilities(torch.randn(2, 4, 1), torch.tensor(lengths))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.bool, torch.float32])
@pytest.mark.parametrize(
    "inputs", [torch.randn(2, 4, 1), torch.zeros(2, 4, dtype=torch.int64)], ids=["floats", "tokens"]
)
@pytest.mark.usefixtures("without_type_checks")
def test_lengths_must_be_int64(inputs, dtype):
    model = SequenceClassifier(input_size=1) if inputs.ndim == 3 else SequenceClassifier(vocab_size=2)
    with pytest.raises(TypeError, match=f"lengths must be int64, got {dtype}"):
        model.probabilities(inputs, torch.tensor([1, 4]).to(dtype))


@pytest.mark.parametrize("lengths", [None, torch.zeros(0, dtype=torch.int64)])
@pytest.mark.parametrize("shape", [(0, 4), (2, 0)])
def test_batch_without_sequences_or_steps_is_refused(shape, lengths):
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


def test_probabilities_keep_the_training_mode():
    model = SequenceClassifier(LSTMCell, input_size=1, num_layers=2, dropout=0.5).train()
    inputs = torch.randn(3, 5, 1)
    torch.testing.assert_close(model.probabilities(inputs), model.probabilities(inputs), rtol=0, atol=0)
    assert model.training
    assert model.recurrent.dropout.training


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


def test_cell_that_no_checkpoint_can_name_is_refused():
    with pytest.raises(TypeError, match="cell of SequenceClassifier can't be stored in a checkpoint"):
        SequenceClassifier(lambda size: GRUCell(size, 4), input_size=1)


def test_nan_loss_shows_in_the_validation_loss(tmp_path):
    data = SyntheticSequences(SumSign(), num_train=32, num_val=64)
    model = model_for(data)

    class Spoil(pl.Callback):
        def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
            if batch_idx == 1:
                torch.nn.init.constant_(pl_module.head.bias, torch.nan)

    checked = trainer(tmp_path, enable_checkpointing=False, callbacks=[Spoil()])
    checked.validate(model, data, verbose=False)
    assert checked.callback_metrics["val/loss"].isnan()
