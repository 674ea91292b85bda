"""Temperature and thresholds in training, tests, predictions and checkpoints."""

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score
from torch import nn

import seqlight
from seqlight import AccuracyByLength, PredictionWriter, SequenceArrays, SequenceClassifier
from seqlight.training.best_threshold import best_thresholds
from seqlight.training.calibration_error import bin_sums, calibration_error
from seqlight.training.metrics import classification_loss
from seqlight.training.temperature import fit_temperature
from tests.training.small_models import model_for, trainer

BOTH = {"threshold": "f1", "temperature_scaling": True}
TARGETS = ["binary", "multiclass", "multilabel"]


def data_of(target):
    """Noisy sequences of unequal length whose classes are not equally frequent."""
    rng = np.random.default_rng(0)

    def part(size):
        levels = rng.normal(size=(size, 2))
        inputs = [level + rng.normal(0, 2, (rng.integers(1, 6), 2)) for level in levels]
        labels = (levels > [0.8, -0.3]).astype(int)
        if target == "multilabel":
            return inputs, labels
        return inputs, labels[:, 0] if target == "binary" else labels.sum(1)

    train, val, test = part(96), part(70), part(50)
    predict = {"inputs": test[0], "labels": test[1]}
    return SequenceArrays(*train, val=val, test=test, predict=predict, target=target)


def trained(target, folder, epochs=3, **options):
    torch.manual_seed(0)
    data = data_of(target)
    owner = trainer(folder, max_epochs=epochs, enable_checkpointing=False)
    model = model_for(data, learning_rate=0.03, **options)
    owner.fit(model, data)
    return owner, model, data


def options_for(target):
    return {"temperature_scaling": True} if target == "multiclass" else BOTH


def logits_of(model, data, split):
    loader = getattr(data, f"{split}_dataloader")()
    with torch.no_grad():
        parts = [(model(batch.inputs, batch.lengths), batch.targets) for batch in loader]
    return [torch.cat(each) for each in zip(*parts, strict=True)]


def metrics_of(probabilities, targets, thresholds, target):
    answers = probabilities.argmax(1) if target == "multiclass" else (probabilities > thresholds).long()
    average = "binary" if target == "binary" else "macro"
    return {
        "accuracy": accuracy_score(targets.flatten(), answers.flatten()),
        "f1": f1_score(targets, answers, average=average),
        "calibration_error": calibration_error(bin_sums(probabilities, targets, target)).item(),
    }, answers


@pytest.mark.parametrize("target", TARGETS)
def test_validation_of_the_last_epoch_is_what_everything_uses(target, tmp_path):
    owner, model, data = trained(target, tmp_path, **options_for(target))
    logits, targets = logits_of(model.eval(), data, "val")
    temperature = fit_temperature(logits, targets, target)
    assert model.calibration.temperature.item() == pytest.approx(temperature, rel=1e-5)
    assert abs(temperature - 1) > 0.01
    scaled = logits / model.calibration.temperature
    probabilities = scaled.softmax(1) if target == "multiclass" else scaled.sigmoid()
    thresholds = 0.5
    if target != "multiclass":
        thresholds = best_thresholds(probabilities, targets, "f1")
        torch.testing.assert_close(model.calibration.threshold, thresholds)
        assert bool((thresholds != 0.5).any())
    found = {name.removeprefix("val/"): float(value) for name, value in owner.callback_metrics.items()}
    expected, _ = metrics_of(probabilities, targets, thresholds, target)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    # The loss is that of the logits themselves.
    assert found["loss"] == pytest.approx(classification_loss(logits, targets, target).item(), rel=1e-5)
    assert found["temperature"] == pytest.approx(temperature, rel=1e-5)

    owner.save_checkpoint(tmp_path / "a.ckpt")
    loaded = seqlight.load(tmp_path / "a.ckpt")
    assert loaded.state_dict().keys() == model.state_dict().keys()
    logits, targets = logits_of(model, data, "test")
    scaled = logits / model.calibration.temperature
    probabilities = scaled.softmax(1) if target == "multiclass" else scaled.sigmoid()
    expected, answers = metrics_of(probabilities, targets, thresholds, target)
    sequences = data.split("test")
    batch = sequences.take(torch.arange(50), torch.arange(50))
    torch.testing.assert_close(loaded.probabilities(batch.inputs, batch.lengths), probabilities)
    by_length = AccuracyByLength()
    fresh = trainer(tmp_path, callbacks=[by_length, PredictionWriter(tmp_path / "p.csv")])
    [results] = fresh.test(loaded, data, verbose=False)
    assert {name: results[f"test/{name}"] for name in expected} == pytest.approx(expected, rel=1e-5)
    right = sum(bucket.accuracy * bucket.num_sequences for bucket in by_length.buckets)
    assert right / 50 == pytest.approx(expected["accuracy"])
    fresh.predict(loaded, data, return_predictions=False)
    table = pd.read_csv(tmp_path / "p.csv")
    columns = [name for name in table if name.startswith("prediction")]
    assert table[columns].to_numpy().squeeze().tolist() == answers.tolist()


@pytest.mark.parametrize("target", TARGETS)
def test_training_and_its_loss_are_those_without_calibration(target, tmp_path):
    _, plain, _ = trained(target, tmp_path)
    owner, model, _ = trained(target, tmp_path, **options_for(target))
    assert not any(name.startswith("calibration") for name in plain.state_dict())
    for name, weight in plain.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name])
    assert plain.trainer.callback_metrics["val/loss"] == owner.callback_metrics["val/loss"]


def test_resumed_training_learns_the_same(tmp_path):
    _, whole, data = trained("binary", tmp_path, epochs=4, lr_schedule="constant", **BOTH)
    owner, _, _ = trained("binary", tmp_path, epochs=2, lr_schedule="constant", **BOTH)
    owner.save_checkpoint(tmp_path / "half.ckpt")
    resumed = model_for(data, learning_rate=0.03, lr_schedule="constant", **BOTH)
    trainer(tmp_path, max_epochs=4, enable_checkpointing=False).fit(resumed, data, ckpt_path=tmp_path / "half.ckpt")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_checkpoint_without_calibration_learns_it_in_a_validation(tmp_path):
    owner, plain, data = trained("binary", tmp_path)
    owner.save_checkpoint(tmp_path / "plain.ckpt")
    owner, learned, _ = trained("binary", tmp_path, **BOTH)
    model = model_for(data, **BOTH)
    model.load_state_dict(plain.state_dict())
    owner = trainer(tmp_path)
    owner.validate(model, data, verbose=False)
    assert torch.equal(model.calibration.threshold, learned.calibration.threshold)
    owner.test(model, data, ckpt_path=tmp_path / "plain.ckpt", verbose=False)
    assert torch.equal(model.calibration.temperature, learned.calibration.temperature)
    # What was learned is not learned again, from other sequences.
    owner.validate(model, data.test_dataloader(), verbose=False)
    assert torch.equal(model.calibration.threshold, learned.calibration.threshold)
    assert model.calibration.num_sequences == 70


def test_a_number_is_a_threshold_everywhere(tmp_path):
    _, model, data = trained("binary", tmp_path, threshold=0.3)
    assert not any(name.startswith("calibration") for name in model.state_dict())
    [results] = trainer(tmp_path).test(model, data, verbose=False)
    logits, targets = logits_of(model.eval(), data, "test")
    expected, _ = metrics_of(logits.sigmoid(), targets, 0.3, "binary")
    assert results["test/f1"] == pytest.approx(expected["f1"])
    assert results["test/f1"] != pytest.approx(metrics_of(logits.sigmoid(), targets, 0.5, "binary")[0]["f1"])


@pytest.mark.parametrize("options", [{"threshold": "balanced_accuracy"}, {"temperature_scaling": True}])
def test_training_without_validation_is_refused(options, tmp_path):
    data = data_of("binary")
    [(name, value)] = options.items()
    with pytest.raises(ValueError, match=f'`{name}="?{value}"?` needs validation sequences, .* has none'):
        trainer(tmp_path, limit_val_batches=0).fit(model_for(data, **options), data)


def test_figures_show_the_learned_calibration(tmp_path, monkeypatch):
    from seqlight.callbacks import tensorboard_figures

    found = {}
    for name in ("confusion_figure", "reliability_figure"):
        monkeypatch.setattr(tensorboard_figures, name, lambda values, *_, name=name: found.update({name: values}))
    monkeypatch.setattr(tensorboard_figures, "add_figures", lambda *_, **__: None)
    data, logger = data_of("binary"), pl.loggers.TensorBoardLogger(tmp_path)
    model = model_for(data, learning_rate=0.03, **BOTH)
    owner = trainer(tmp_path, log_every_n_steps=1, logger=logger, callbacks=[seqlight.TensorBoardFigures()])
    owner.fit(model, data)
    matrix = found["confusion_figure"]
    assert matrix.diagonal().sum() / 70 == pytest.approx(owner.callback_metrics["val/accuracy"].item())
    error = calibration_error(found["reliability_figure"]).item()
    assert error == pytest.approx(owner.callback_metrics["val/calibration_error"].item(), rel=1e-6)


class Linear(SequenceClassifier):
    """A subclass whose logits do not come from a recurrent stack."""

    def __init__(self, **options):
        super().__init__(**options)
        self.linear = nn.Linear(2, 1)

    def forward(self, inputs, lengths=None):
        return self.linear(inputs.mean(1))[:, 0]


def test_subclass_with_another_forward(tmp_path):
    data = data_of("binary")
    model = Linear(input_size=2, **BOTH)
    trainer(tmp_path).fit(model, data)
    assert model.calibration.is_learned


def test_labels_per_step(tmp_path):
    """Each true step counts as a sequence."""
    data = seqlight.SyntheticSequences(seqlight.RunningParity(), num_train=64, num_val=40, num_test=20)
    model = model_for(data, label_per="step", **BOTH)
    owner = trainer(tmp_path, callbacks=[PredictionWriter(tmp_path / "p.csv")], max_epochs=1)
    owner.fit(model, data)
    parts = [
        (model.eval()(batch.inputs, batch.lengths)[row, :length], batch.targets[row, :length])
        for batch in data.val_dataloader()
        for row, length in enumerate(batch.lengths)
    ]
    logits, targets = (torch.cat(each).detach() for each in zip(*parts, strict=True))
    assert model.calibration.temperature.item() == pytest.approx(fit_temperature(logits, targets, "binary"), rel=1e-5)
    probabilities = model.calibration.probabilities(logits)
    torch.testing.assert_close(model.calibration.threshold, best_thresholds(probabilities, targets, "f1"))
    assert model.calibration.num_sequences == len(targets) == data.split("val").lengths.sum()
    owner.predict(model, data, return_predictions=False)
    table = pd.read_csv(tmp_path / "p.csv")
    assert (table.prediction == (table.probability_1 > model.calibration.threshold.item())).all()
