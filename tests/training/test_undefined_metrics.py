"""Metrics of splits in which classes or labels do not occur: those that are undefined are left out, never 0."""

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from torchmetrics import ROC

from seqlight import Batch, SequenceClassifier
from seqlight.callbacks.best_checkpoint import BestCheckpoint
from seqlight.cli.report import metrics_table
from seqlight.cli.reported_errors import USAGE_ERROR, exit_status, reported
from seqlight.data.loader import SequenceLoader
from seqlight.figures.metric_figures import roc_figure
from seqlight.training.evaluation import Evaluation
from seqlight.training.finite_results import check_evaluation
from seqlight.training.metrics import absent_classes_accepted, to_probabilities, torchmetrics_task
from seqlight.training.non_finite import UndefinedMetricError
from tests.training.small_models import curves, trainer

BINARY = [([0, 1], [0, 1]), ([0], [0]), ([0], [0, 1]), ([1], [1]), ([1], [0]), ([0, 1], [0])]
CLASSES = [([0, 2], [0, 2]), ([0, 2], [0, 1, 2, 3]), ([1], [1]), ([3], [2, 3]), ([0, 1, 2, 3], [1])]
LABELS = [([[0, 1], [0], [1]], [[0, 1], [0], [1]]), ([[0], [0], [1]], [[0], [0, 1], [0]]), ([[0]] * 3, [[0]] * 3)]
CASES = [
    *(("binary", 1, occurring, predicted) for occurring, predicted in BINARY),
    *(("multiclass", 4, occurring, predicted) for occurring, predicted in CLASSES),
    *(("multilabel", 3, occurring, predicted) for occurring, predicted in LABELS),
    *(("multilabel", 1, [occurring], [predicted]) for occurring, predicted in BINARY),
]


def draw(target, occurring, predicted, num_samples, rng):
    """Targets, and answers, each a random choice of the given ones; of each label, for multilabel."""
    if target == "multilabel":
        columns = [draw("binary", *values, num_samples, rng) for values in zip(occurring, predicted, strict=True)]
        return tuple(np.stack(parts, 1) for parts in zip(*columns, strict=True))
    return tuple(np.resize(rng.permutation(np.resize(values, 30)), num_samples) for values in (occurring, predicted))


def logits_of(answers, target, num_outputs, rng):
    """Logits by which a model would give these answers."""
    if target == "multiclass":
        return rng.random((len(answers), num_outputs)) + np.eye(num_outputs)[answers]
    return (2 * answers - 1) * (0.1 + rng.random(answers.shape))


def mean_area(targets, scores, target):
    """The mean of scikit-learn's areas of the classes or labels that have one; None if none has."""
    if target == "multiclass":
        targets = np.eye(scores.shape[1])[targets]
    columns = zip(targets.reshape(len(targets), -1).T, scores.reshape(len(scores), -1).T, strict=True)
    areas = [roc_auc_score(truth, score) for truth, score in columns if 0 < truth.sum() < len(truth)]
    return np.mean(areas) if areas else None


@pytest.mark.parametrize("size", [1, 60])
@pytest.mark.parametrize(("target", "num_outputs", "occurring", "predicted"), CASES)
def test_metrics_equal_sklearn(target, num_outputs, occurring, predicted, size):
    rng = np.random.default_rng(0)
    targets, answers = draw(target, occurring, predicted, size, rng)
    logits = torch.from_numpy(logits_of(answers, target, num_outputs, rng))
    evaluation = Evaluation(target, num_outputs)
    labels = torch.from_numpy(targets)
    for part, truth in zip(logits.split(7), labels.split(7), strict=True):
        evaluation.add(part, truth if target == "multiclass" else truth.double())
    found = {name: None if value is None else value.item() for name, value in evaluation.take().items()}

    options = {"binary": {}, "multiclass": {"labels": range(num_outputs)}, "multilabel": {}}[target]
    # A (N, 1) matrix is binary to scikit-learn.
    average = "binary" if num_outputs == 1 else "macro"
    f1 = f1_score(targets, answers, average=average, zero_division=np.nan, **options)
    if num_outputs == 1 and not targets.any():  # scikit-learn's is 0 if class 1 is predicted, else undefined
        f1 = np.nan
    assert found.pop("loss") > 0
    assert 0 <= found.pop("calibration_error") <= 1
    assert found == {
        "accuracy": pytest.approx(accuracy_score(targets.flatten(), answers.flatten())),
        "auroc": pytest.approx(mean_area(targets, to_probabilities(logits, target).numpy(), target)),
        "f1": None if np.isnan(f1) else pytest.approx(f1),
    }


@pytest.mark.parametrize(("target", "num_outputs", "occurring", "predicted"), CASES)
def test_figure_shows_the_same_area(target, num_outputs, occurring, predicted):
    rng = np.random.default_rng(0)
    targets, answers = draw(target, occurring, predicted, 60, rng)
    logits, labels = torch.from_numpy(logits_of(answers, target, num_outputs, rng)), torch.from_numpy(targets)
    evaluation, roc = Evaluation(target, num_outputs), ROC(**torchmetrics_task(target, num_outputs))
    outputs = evaluation.add(logits, labels if target == "multiclass" else labels.double())
    roc.update(outputs["probabilities"], labels)
    with absent_classes_accepted():
        title = roc_figure(roc.compute(), [str(index) for index in range(num_outputs)]).get_suptitle()
    area = evaluation.take()["auroc"]
    assert ("area undefined" if area is None else f"area {area:.4f}") in " ".join(title.split())


def loader(target, label=0, size=32):
    """Sequences of one class, or all without labels or with all of them."""
    shape = (size, 2) if target == "multilabel" else (size,)
    targets = torch.full(shape, label).long() if target == "multiclass" else torch.full(shape, float(label))
    inputs = torch.randn(size, 4, 1, generator=torch.Generator().manual_seed(0))
    return SequenceLoader(Batch(inputs, targets, torch.full((size,), 4)), 8)


def mixed(size=32):
    batch = loader("binary", 0, size).data
    return SequenceLoader(batch._replace(targets=torch.arange(size) % 2.0), 8)


class Constant(SequenceClassifier):
    """Always predicts class 0, or no label."""

    def forward(self, inputs, lengths=None):
        logits = super().forward(inputs, lengths)
        return logits + 9 * torch.eye(logits.shape[1])[0] if self.target == "multiclass" else logits - 9


@pytest.mark.parametrize(("target", "num_outputs"), [("binary", 1), ("multiclass", 3), ("multilabel", 2)])
def test_undefined_metric_is_in_no_result_table_or_curve(target, num_outputs, tmp_path):
    model = Constant(input_size=1, target=target, num_outputs=num_outputs)
    owner = trainer(tmp_path, logger=CSVLogger(tmp_path, version=0))
    [results] = owner.test(model, loader(target), verbose=False)
    defined = {"loss", "accuracy", "calibration_error"} | ({"f1"} if target == "multiclass" else set())
    assert set(results) == set(owner.callback_metrics) == {f"test/{name}" for name in defined}
    assert results["test/accuracy"] == 1
    check_evaluation(owner.callback_metrics)
    *_, auroc, f1 = metrics_table(owner.callback_metrics, ("test",)).splitlines()[1].split()
    assert (auroc, f1) == ("-", "1.0000" if target == "multiclass" else "-")

    owner = trainer(tmp_path, logger=CSVLogger(tmp_path, version=1), log_every_n_steps=2)
    owner.fit(model, loader(target), loader(target))
    written = curves(tmp_path / "lightning_logs" / "version_1")
    assert {name for row in written for name in row if name.startswith("val/")} == {f"val/{name}" for name in defined}
    assert set(owner.callback_metrics) == {"train/loss", "train/accuracy", *(f"val/{name}" for name in defined)}


class Plateau(SequenceClassifier):
    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters())
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val/auroc"}}


@pytest.mark.parametrize("way", ["best", "lightning", "stopping", "schedule"])
def test_undefined_metric_that_is_monitored_is_refused(way, tmp_path):
    kinds = {
        "best": lambda: BestCheckpoint(tmp_path, monitor="val/auroc"),
        "lightning": lambda: ModelCheckpoint(tmp_path, monitor="val/auroc"),
        "stopping": lambda: EarlyStopping("val/auroc", strict=False),
    }
    callbacks = [kinds[way]()] if way in kinds else []
    model = (Plateau if way == "schedule" else SequenceClassifier)(input_size=1)
    owner = trainer(tmp_path, callbacks=callbacks, num_sanity_val_steps=2)
    with pytest.raises(UndefinedMetricError) as caught:
        owner.fit(model, mixed(), loader("binary"))
    lines = str(caught.value).splitlines()
    assert lines[0] == "after step 4 (epoch 0): val/auroc is monitored, but undefined for this validation data"
    assert "val/loss or val/accuracy" in lines[1]
    assert reported(caught.value) is caught.value
    assert exit_status(caught.value) == USAGE_ERROR
    assert not list(tmp_path.rglob("*.ckpt"))


def test_first_batches_alone_do_not_refuse_a_monitor(tmp_path):
    """The sanity check, and `fast_dev_run`, see only a few batches, in which classes can be missing."""
    batch = mixed().data
    validation = SequenceLoader(batch._replace(targets=batch.targets.sort().values), 8)
    for options in ({"fast_dev_run": 1}, {"num_sanity_val_steps": 1}):
        saver = BestCheckpoint(tmp_path, monitor="val/auroc")
        trainer(tmp_path, callbacks=[saver], **options).fit(SequenceClassifier(input_size=1), mixed(), validation)
    assert list(tmp_path.rglob("*.ckpt"))


class Alternating(SequenceClassifier):
    """Predicts class 1, or all labels, in every other epoch."""

    def forward(self, inputs, lengths=None):
        logits = super().forward(inputs, lengths)
        return logits if self.trainer.training else logits.abs() * (-1) ** (self.current_epoch + 1)


class Recorder(pl.Callback):
    def __init__(self):
        self.f1 = []

    def on_validation_end(self, trainer, pl_module):
        found = [metrics.get("val/f1") for metrics in (trainer.callback_metrics, trainer.logged_metrics)]
        self.f1.append([None if value is None else float(value) for value in found])


def test_undefined_metric_does_not_keep_the_value_of_an_earlier_epoch(tmp_path):
    recorder = Recorder()
    model = Alternating(input_size=1, target="multilabel", num_outputs=2)
    trainer(tmp_path, callbacks=[recorder], max_epochs=4).fit(model, loader("multilabel", 1), loader("multilabel"))
    assert [callback for callback, _ in recorder.f1] == [None, 0, None, 0]


def test_f1_of_a_class_that_does_not_occur_is_not_the_reason_for_the_best_checkpoint(tmp_path):
    """It would be 0 in epochs that predict the class, and undefined in others."""
    recorder = Recorder()
    model = Alternating(input_size=1)
    trainer(tmp_path, callbacks=[recorder], max_epochs=4).fit(model, mixed(), loader("binary"))
    assert [callback for callback, _ in recorder.f1] == [None] * 4
    saver = BestCheckpoint(tmp_path / "best", monitor="val/f1", mode="max")
    with pytest.raises(UndefinedMetricError, match="val/f1 is monitored, but undefined for this validation data"):
        trainer(tmp_path, callbacks=[saver], max_epochs=4).fit(model, mixed(), loader("binary"))
    assert not list((tmp_path / "best").rglob("*.ckpt"))


class OwnSteps(SequenceClassifier):
    """Has validation and test steps of its own."""

    def validation_step(self, batch, batch_idx):
        self.log("val/auroc", torch.tensor(0.75))

    def test_step(self, batch, batch_idx):
        self.log("test/own", torch.tensor(0.25))


def test_steps_of_a_subclass_need_no_metrics(tmp_path):
    owner = trainer(tmp_path, callbacks=[BestCheckpoint(tmp_path, monitor="val/auroc")])
    owner.fit(OwnSteps(input_size=1), mixed(), loader("binary"))
    assert set(owner.callback_metrics) == {"train/loss", "train/accuracy", "val/auroc"}
    assert owner.checkpoint_callback.best_model_score == 0.75
    assert owner.test(OwnSteps(input_size=1), mixed(), verbose=False) == [{"test/own": 0.25}]
