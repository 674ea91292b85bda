"""Numbers to predict: loss, metrics and predictions, compared with torch and scikit-learn."""

from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from seqlight import AddingRegression, Batch, GRUCell, SequenceArrays, SequenceClassifier, SyntheticSequences
from seqlight.common.unused import UnusedArgumentWarning
from seqlight.data.regression_baselines import linear_regression
from seqlight.figures.prediction_figure import prediction_figure
from tests.training.small_models import curves, trainer

MEAN, SCALE = (1e6, -3.0), (500.0, 0.25)


def made(**options):
    torch.manual_seed(0)
    kind = {"input_size": 3, "target": "regression", "num_outputs": 2, "target_mean": MEAN, "target_scale": SCALE}
    return SequenceClassifier(partial(GRUCell, hidden_size=8), **{**kind, **options})


def batches(sizes=(7, 4, 1)):
    generator = torch.Generator().manual_seed(1)
    return [
        Batch(
            torch.randn(size, 5, 3, generator=generator),
            torch.randn(size, 2, generator=generator),
            torch.randint(1, 6, (size,), generator=generator),
        )
        for size in sizes
    ]


@pytest.mark.parametrize("kind", ["mse", "huber"])
def test_metrics_are_scikit_learns_in_original_units(kind):
    model, parts = made(regression_loss=kind), batches()
    for batch in parts:
        results = model.validation_step(batch, 0)
    outputs = torch.cat([model(batch.inputs, batch.lengths) for batch in parts]).detach()
    targets = torch.cat([batch.targets for batch in parts])
    loss = (nn.functional.mse_loss if kind == "mse" else nn.functional.huber_loss)(outputs, targets)
    true, predicted = (each.double().numpy() * SCALE + MEAN for each in (targets, outputs))
    expected = {
        "loss": float(loss),
        "mae": mean_absolute_error(true, predicted),
        "rmse": root_mean_squared_error(true, predicted),
        "r2": r2_score(true, predicted),
    }
    assert {name: float(value) for name, value in model.val_evaluation.take().items()} == pytest.approx(expected, 1e-5)
    np.testing.assert_allclose(results["probabilities"].detach(), predicted[-1:], rtol=1e-12)
    np.testing.assert_allclose(results["targets"], true[-1:], rtol=1e-12)


def test_r2_of_equal_targets_is_not_defined():
    model, [batch] = made(), batches((4,))
    model.validation_step(batch._replace(targets=torch.full((4, 2), 0.3)), 0)
    results = model.val_evaluation.take()
    assert results["r2"] is None
    assert results["rmse"] > 0


def test_numbers_of_each_step():
    model, [batch] = made(label_per="step"), batches((6,))
    targets = torch.randn(6, 5, 2)
    model.validation_step(batch._replace(targets=targets), 0)
    found = model.val_evaluation.take()
    within = torch.arange(5) < batch.lengths[:, None]
    outputs = model(batch.inputs, batch.lengths).detach()
    true, predicted = (each[within].double().numpy() * SCALE + MEAN for each in (targets, outputs))
    assert float(found["rmse"]) == pytest.approx(root_mean_squared_error(true, predicted), rel=1e-5)


def test_predictions_are_in_original_units_and_there_are_no_probabilities():
    model, [batch] = made(), batches((5,))
    expected = model(batch.inputs, batch.lengths).detach().double().numpy() * SCALE + MEAN
    np.testing.assert_allclose(model.predictions(batch.inputs, batch.lengths), expected, rtol=1e-12)
    with pytest.raises(TypeError, match=r"has no probabilities; `predictions\(inputs, lengths\)`"):
        model.probabilities(batch.inputs, batch.lengths)


@pytest.mark.parametrize(("target", "num_outputs"), [("binary", 1), ("multiclass", 3), ("multilabel", 2)])
def test_predictions_of_classes(target, num_outputs):
    model, [batch] = SequenceClassifier(input_size=3, target=target, num_outputs=num_outputs), batches((5,))
    probabilities = model.probabilities(batch.inputs, batch.lengths)
    expected = probabilities.argmax(-1) if target == "multiclass" else (probabilities > 0.5).long()
    assert torch.equal(model.predictions(batch.inputs, batch.lengths), expected)


def test_training_curve_is_the_error_in_original_units(tmp_path):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(60, 4, 3))
    numbers = 1000 + 50 * inputs.sum((1, 2))
    data = SequenceArrays(inputs, numbers, target="regression", val_fraction=0.2, batch_size=48)
    arguments = {"target_mean": data.target_mean, "target_scale": data.target_scale}
    torch.manual_seed(0)
    model = SequenceClassifier(partial(GRUCell, hidden_size=8), input_size=3, target="regression", **arguments)
    batch = next(iter(data.train_dataloader()))
    before = model.predictions(batch.inputs, batch.lengths).numpy()
    fitted = trainer(tmp_path, max_epochs=1, logger=CSVLogger(tmp_path), log_every_n_steps=1)
    fitted.fit(model, data)
    [point] = [row for row in curves(fitted.log_dir) if "train/mae" in row]
    true = data.split("train").targets.double().numpy() * np.array(data.target_scale) + np.array(data.target_mean)
    known = data.split("train").take(torch.arange(48), torch.arange(48)).inputs
    predicted = before[np.argsort([int((known - row).abs().sum((1, 2)).argmin()) for row in batch.inputs])]
    assert point["train/mae"] == pytest.approx(mean_absolute_error(true, predicted), rel=1e-4)
    assert {"val/loss", "val/mae", "val/rmse", "val/r2"} <= fitted.callback_metrics.keys()


def test_adding_is_learnt_better_than_its_published_baseline(tmp_path):
    task = AddingRegression(max_length=4)
    batch = task.sample(20_000, np.random.default_rng(0))
    assert float((batch.targets - 1).square().mean()) == pytest.approx(1 / 6, abs=0.005)
    marked = (batch.inputs[..., 0] * batch.inputs[..., 1]).sum(1, keepdim=True)
    torch.testing.assert_close(batch.targets, marked)
    data = SyntheticSequences(task, num_train=2000, num_val=200)
    torch.manual_seed(0)
    model = SequenceClassifier(partial(GRUCell, hidden_size=16), input_size=2, target="regression")
    fitted = trainer(tmp_path, max_epochs=5)
    fitted.fit(model, data)
    assert fitted.callback_metrics["val/loss"] < 0.05
    assert fitted.callback_metrics["val/rmse"] == pytest.approx(float(fitted.callback_metrics["val/loss"]) ** 0.5)


@pytest.mark.parametrize("num_columns", [4, 40])
def test_linear_regression_is_scikit_learns(num_columns):
    rng = np.random.default_rng(0)
    features, others, truth = (
        rng.normal(3, 2, (20, num_columns)),
        rng.normal(3, 2, (9, num_columns)),
        rng.random((20, 2)),
    )
    expected = make_pipeline(StandardScaler(), Ridge()).fit(features, truth).predict(others)
    np.testing.assert_allclose(linear_regression(features, truth, others), expected, rtol=1e-8)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="target_scale must be 2 numbers, one for each output, got 1"):
        made(target_scale=(1.0,))
    with pytest.raises(ValueError, match="target_scale must be greater than 0, got 0"):
        made(target_scale=(1.0, 0.0))
    with pytest.raises(ValueError, match="class_weights must be None for regression"):
        made(class_weights=[1.0, 2.0])
    with pytest.warns(UnusedArgumentWarning, match="`regression_loss='huber'` has no effect"):
        SequenceClassifier(input_size=1, regression_loss="huber")


def test_figure_has_a_panel_for_each_number():
    true = torch.randn(50, 2)
    figure = prediction_figure(true + 1, true, ["a", "b"], "run")
    assert [axis.get_title() for axis in figure.axes] == ["a: RMSE 1", "b: RMSE 1"]
    assert figure.axes[0].lines[0].get_xydata()[:, 0] == pytest.approx(true[:, 0].numpy())
