"""Thresholds and temperature, compared with exhaustive searches by scikit-learn and scipy."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import balanced_accuracy_score, f1_score
from torch.nn import functional

from seqlight.training.best_threshold import best_thresholds
from seqlight.training.calibration import Calibration
from seqlight.training.metrics import classification_loss
from seqlight.training.temperature import fit_temperature
from tests.training.test_metrics import draw, every_target

SCORES = {"f1": lambda *values: f1_score(*values, zero_division=0), "balanced_accuracy": balanced_accuracy_score}
every_metric = pytest.mark.parametrize("metric", SCORES)


@pytest.fixture(autouse=True)
def _same_numbers_each_run():
    torch.manual_seed(0)


def searched(probabilities, targets, metric):
    """The threshold as documented, by trying all of them with scikit-learn."""
    distinct = np.unique(probabilities.astype(np.float64))
    candidates = np.array([0.5, *(np.concatenate([[0.0], distinct[:-1]]) + distinct) / 2])
    scores = np.array([SCORES[metric](targets, probabilities > threshold) for threshold in candidates])
    best = np.sort(candidates[np.isclose(scores, scores.max(), rtol=1e-12, atol=0)])
    return best[np.argmin(np.abs(best - 0.5))], scores.max()


@every_metric
@pytest.mark.parametrize("size", [2, 3, 7, 40])
@pytest.mark.parametrize("levels", [3, 1000])
@pytest.mark.parametrize("seed", range(6))
def test_threshold_is_the_best_of_all(metric, size, levels, seed):
    """With few levels, probabilities are equal, and thresholds have equal scores."""
    rng = np.random.default_rng(seed)
    targets = rng.permutation(np.arange(size) % (2 + seed) == 0)
    noise = rng.uniform(size=size) + 0.3 * targets + 0.2 * seed
    probabilities = (np.round(noise / noise.max() * levels) / (levels + 1)).astype(np.float32)
    threshold = best_thresholds(torch.from_numpy(probabilities), torch.from_numpy(targets), metric)
    expected, score = searched(probabilities, targets, metric)
    assert threshold.dtype == torch.float32
    assert threshold.item() == pytest.approx(expected, rel=1e-6)
    assert SCORES[metric](targets, probabilities > threshold.numpy()) == pytest.approx(score, rel=1e-12)


@every_metric
def test_each_label_has_its_own_threshold(metric):
    probabilities, targets = torch.rand(60, 3), torch.rand(60, 3) < 0.3
    thresholds = best_thresholds(probabilities, targets, metric)
    assert thresholds.tolist() == [
        best_thresholds(probabilities[:, label], targets[:, label], metric).item() for label in range(3)
    ]
    assert len(set(thresholds.tolist())) == 3


@every_metric
@pytest.mark.parametrize(
    ("probabilities", "targets", "expected"),
    [
        ([0.1, 0.9], [0, 0], 0.5),  # one class only
        ([0.1, 0.9], [1, 1], 0.5),
        ([0.3], [1], 0.5),
        ([0.2, 0.4, 0.6, 0.8], [0, 0, 1, 1], 0.5),  # 0.5 is among the best
        ([0.6, 0.7, 0.8], [0, 1, 1], 0.65),
        ([0.1, 0.2, 0.2], [0, 1, 1], 0.15),
        ([0.0, 0.0, 1.0], [0, 1, 1], 0.5),  # saturated: a threshold of 0 is the same
        ([1.0, 1.0], [0, 1], 0.5),  # all the same
        ([np.nextafter(np.float32(0.7), np.float32(1)), np.float32(0.7)], [1, 0], np.float32(0.7)),
    ],
)
def test_ties_and_single_classes(metric, probabilities, targets, expected):
    values = torch.tensor(np.array(probabilities, np.float32))
    threshold = best_thresholds(values, torch.tensor(targets), metric)
    assert threshold.item() == pytest.approx(expected, rel=1e-6)


def nll(logits, targets, target, inverse):
    return classification_loss(logits * inverse, targets, target).item()


@every_target
@pytest.mark.parametrize("factor", [0.05, 0.7, 1.0, 6.0, 40.0])
def test_temperature_minimises_the_negative_log_likelihood(target, num_outputs, factor):
    logits, targets = draw(target, num_outputs, 200)
    logits = logits * factor
    best = minimize_scalar(
        lambda inverse: nll(logits, targets, target, inverse), bounds=(0.01, 100), options={"xatol": 1e-12}
    )
    temperature = fit_temperature(logits, targets, target)
    assert 1 / temperature == pytest.approx(best.x, rel=1e-5)
    assert nll(logits, targets, target, 1 / temperature) <= best.fun + 1e-14


@every_target
def test_temperature_of_a_calibrated_model_is_1(target, num_outputs):
    """Targets that are drawn from the model's own probabilities."""
    logits = 2 * torch.randn(20000, num_outputs, dtype=torch.float64)
    if target == "multiclass":
        targets = torch.multinomial(logits.softmax(-1), 1).squeeze(1)
    else:
        logits = logits[:, 0] if target == "binary" else logits
        targets = torch.bernoulli(logits.sigmoid())
    assert fit_temperature(3 * logits, targets, target) == pytest.approx(3, rel=0.03)


@every_target
def test_temperature_where_the_likelihood_has_no_maximum(target, num_outputs):
    logits, targets = draw(target, num_outputs, 50)
    right = 5 * (functional.one_hot(targets, num_outputs).double() if target == "multiclass" else 2 * targets - 1)
    assert fit_temperature(right, targets, target) == 1  # all are right: the lower the better
    assert fit_temperature(torch.zeros_like(logits), targets, target) == 1
    assert fit_temperature(-right, targets, target) == pytest.approx(100)  # all are wrong: the higher the better
    almost = 0.01 * right
    almost[0] *= -1e-9
    assert fit_temperature(almost, targets, target) == pytest.approx(0.01)


@every_target
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_temperature_changes_no_class(target, num_outputs, dtype):
    logits, targets = draw(target, num_outputs, 300)
    calibration = Calibration(target, num_outputs, temperature_scaling=True)
    logits = (5 * logits).to(dtype)
    before = calibration.probabilities(logits)
    calibration.learn(logits, targets)
    after = calibration.probabilities(logits)
    assert calibration.temperature > 1.5
    assert calibration.num_sequences == 300
    assert torch.equal(calibration.classes(after), calibration.classes(before))
    likelihoods = [
        functional.nll_loss(each.log(), targets)
        if target == "multiclass"
        else functional.binary_cross_entropy(each, targets.float())
        for each in (before, after)
    ]
    assert likelihoods[1] < 0.9 * likelihoods[0]


@pytest.mark.parametrize(("target", "num_outputs"), [("binary", 1), ("multilabel", 3)])
def test_thresholds_are_those_of_the_calibrated_probabilities(target, num_outputs):
    logits, targets = draw(target, num_outputs, 300, torch.float32)
    calibration = Calibration(target, num_outputs, "f1", temperature_scaling=True)
    calibration.learn(3 * logits - 2, targets)
    probabilities = calibration.probabilities(3 * logits - 2)
    assert torch.equal(calibration.threshold, best_thresholds(probabilities, targets, "f1"))
    assert torch.equal(calibration.classes(probabilities), (probabilities > calibration.threshold).long())
    calibration.learn(torch.full_like(logits, torch.nan), targets)
    assert torch.equal(calibration.threshold, best_thresholds(probabilities, targets, "f1"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 1.0}, "threshold must be greater than 0 and less than 1, got 1.0"),
        ({"threshold": 0}, "threshold must be greater than 0 and less than 1, got 0"),
        ({"threshold": float("nan")}, "threshold must be finite, got nan"),
        ({"threshold": "recall"}, "threshold must be one of f1, balanced_accuracy, or a number; got 'recall'"),
        (
            {"threshold": "f1", "target": "multiclass"},
            "threshold must be 0.5 for a multiclass target, got 'f1'",
        ),
        (
            {"temperature_scaling": True, "target": "regression"},
            "temperature_scaling must be False for regression, which has no probabilities",
        ),
        (
            {"threshold": 0.4, "target": "multiclass"},
            "threshold must be 0.5 for a multiclass target, got 0.4",
        ),
    ],
)
def test_wrong_arguments(arguments, message, without_type_checks):
    with pytest.raises(ValueError, match=message):
        Calibration(**{"target": "binary", "num_outputs": 3, **arguments})


def test_buffers_of_another_kind_are_left_out():
    """A threshold belongs to a metric, and to a temperature."""
    kinds = [(0.5, False), (0.3, False), ("f1", False), ("balanced_accuracy", False), ("f1", True), (0.5, True)]
    logits, targets = draw("binary", 1, 100)
    learned = {kind: Calibration("binary", 1, *kind) for kind in kinds}
    for each in learned.values():
        each.learn(4 * logits, targets)
    assert [sorted(each.state_dict()) for each in learned.values()] == [
        [],
        [],
        ["f1_threshold", "num_sequences"],
        ["balanced_accuracy_threshold", "num_sequences"],
        ["f1_threshold", "num_sequences", "temperature"],
        ["num_sequences", "temperature"],
    ]
    for source, each in learned.items():
        for kind in kinds:
            calibration = Calibration("binary", 1, *kind)
            calibration.load_state_dict(each.state_dict())
            same = each.state_dict().keys() == calibration.state_dict().keys()
            assert same or kind != source
            assert calibration.is_learned == (same or not calibration.learns)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*other"):
        Calibration("binary", 1).load_state_dict({"other": torch.ones(())})
