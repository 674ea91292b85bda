from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from seqlight import SequenceClassifier
from seqlight.data.summary import class_counts
from seqlight.training.curves import StepTotals, TrainingCurves
from seqlight.training.evaluation import MeanLoss
from seqlight.training.metrics import (
    check_class_weights,
    classification_loss,
    compute_metrics,
    count_correct,
    evaluation_metrics,
    to_probabilities,
)

TARGETS = [("binary", 1), ("multiclass", 4), ("multilabel", 3)]
every_target = pytest.mark.parametrize(("target", "num_outputs"), TARGETS, ids=[target for target, _ in TARGETS])


@pytest.fixture(autouse=True)
def _same_numbers_each_run():
    torch.manual_seed(0)


def draw(target, num_outputs, num_samples, dtype=torch.float64):
    """Logits and targets that agree more often than not."""
    if target == "multiclass":
        targets = torch.randint(num_outputs, (num_samples,))
        logits = torch.randn(num_samples, num_outputs, dtype=dtype)
        logits[torch.arange(num_samples), targets] += 1
        return logits, targets
    shape = (num_samples,) if target == "binary" else (num_samples, num_outputs)
    targets = torch.randint(2, shape).to(dtype)
    return torch.randn(shape, dtype=dtype) + targets - 0.5, targets


def slow_loss(logits, targets, target):
    """The loss of each sequence from its definition; a row for each sequence if multilabel."""
    logits, targets = logits.double().numpy(), targets.numpy()
    if target == "multiclass":
        return np.array([np.log(np.exp(row).sum()) - row[label] for row, label in zip(logits, targets, strict=True)])
    probability = 1 / (1 + np.exp(-logits))
    return -np.where(targets == 1, np.log(probability), np.log(1 - probability))


def slow_correct(logits, targets, target):
    if target == "multiclass":
        return float(np.sum(np.argmax(logits.numpy(), -1) == targets.numpy()))
    right = (logits.numpy() > 0) == (targets.numpy() == 1)
    return float(sum(np.mean(row) for row in right))


@every_target
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_loss_equals_its_definition(target, num_outputs, reduction):
    logits, targets = draw(target, num_outputs, 30)
    expected = slow_loss(logits, targets, target)
    expected = {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction](expected)
    loss = classification_loss(logits, targets, target, reduction)
    torch.testing.assert_close(loss, torch.as_tensor(expected), rtol=1e-12, atol=1e-12)


WEIGHTS = {"binary": [0.5, 3.0], "multiclass": [0.5, 3.0, 1.0, 2.0], "multilabel": [0.5, 3.0, 1.0]}


@every_target
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_weighted_loss_is_weight_times_loss(target, num_outputs, reduction):
    logits, targets = draw(target, num_outputs, 30)
    weights = np.array(WEIGHTS[target])
    losses, labels = slow_loss(logits, targets, target), targets.long().numpy()
    factors = np.where(labels == 1, weights, 1) if target == "multilabel" else weights[labels]
    expected = {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction](factors * losses)
    tensor = check_class_weights(WEIGHTS[target], target, num_outputs).double()
    loss = classification_loss(logits, targets, target, reduction, tensor)
    torch.testing.assert_close(loss, torch.as_tensor(expected), rtol=1e-12, atol=1e-12)


@every_target
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights[1:], r"class_weights must be \d numbers for this \w+ target, got \d: \["),
        (lambda weights: [0.0, *weights[1:]], "class_weights must be greater than 0, got 0"),
        (lambda weights: [*weights[1:], -1], "class_weights must be greater than 0, got -1"),
        (lambda weights: [float("nan"), *weights[1:]], "class_weights must be finite, got nan"),
        (lambda weights: [*weights[1:], float("inf")], "class_weights must be finite, got inf"),
    ],
)
def test_invalid_class_weights_are_refused(target, num_outputs, change, message):
    with pytest.raises(ValueError, match=message):
        SequenceClassifier(input_size=1, target=target, num_outputs=num_outputs, class_weights=change(WEIGHTS[target]))


@every_target
def test_probabilities_equal_their_definition(target, num_outputs):
    logits, _ = draw(target, num_outputs, 30)
    powers = np.exp(logits.numpy())
    expected = powers / powers.sum(-1, keepdims=True) if target == "multiclass" else powers / (1 + powers)
    probabilities = to_probabilities(logits, target)
    torch.testing.assert_close(probabilities, torch.from_numpy(expected), rtol=1e-12, atol=1e-12)


@every_target
def test_correct_predictions_are_counted(target, num_outputs):
    logits, targets = draw(target, num_outputs, 100)
    assert count_correct(logits, targets, target).item() == pytest.approx(
        slow_correct(logits, targets, target), rel=1e-6
    )


@every_target
@pytest.mark.parametrize("num_steps", [1, 3, 63, 64, 65, 130])
def test_step_totals_equal_sums_over_steps(target, num_outputs, num_steps):
    totals = StepTotals(target)
    expected = np.zeros(3)
    for step in range(num_steps):
        logits, targets = draw(target, num_outputs, 5 + step % 4, torch.float32)
        logits.requires_grad_()
        loss = classification_loss(logits, targets, target)
        totals.add(loss, logits, targets)
        logits = logits.detach()
        mean_loss = slow_loss(logits, targets, target).mean()
        expected += [mean_loss * len(targets), slow_correct(logits, targets, target), len(targets)]
    taken = totals.take()
    assert not taken.requires_grad
    np.testing.assert_allclose(taken.numpy(), expected, rtol=1e-5)
    assert totals.take() is None


@every_target
def test_step_totals_are_empty_after_take(target, num_outputs):
    totals = StepTotals(target)
    assert totals.take() is None
    for num_samples in (5, 70):
        logits, targets = draw(target, num_outputs, num_samples)
        totals.add(classification_loss(logits, targets, target), logits, targets)
        assert totals.take()[2] == num_samples


@every_target
def test_evaluation_metrics_equal_sklearn_over_batches(target, num_outputs):
    logits, targets = draw(target, num_outputs, 203)
    targets = targets.long()
    probabilities = to_probabilities(logits, target)
    metrics = evaluation_metrics(target, num_outputs)
    for probabilities_part, targets_part in zip(probabilities.split(32), targets.split(32), strict=True):
        metrics.update(probabilities_part, targets_part)
    values = {name: value.item() for name, value in compute_metrics(metrics).items()}

    answers = probabilities.argmax(-1) if target == "multiclass" else (probabilities > 0.5).long()
    average = "binary" if target == "binary" else "macro"
    options = {"multi_class": "ovr"} if target == "multiclass" else {}
    expected = {
        "accuracy": accuracy_score(targets.flatten(), answers.flatten()),
        "auroc": roc_auc_score(targets, probabilities, **options),
        "f1": f1_score(targets, answers, average=average),
    }
    assert values == pytest.approx(expected, rel=1e-6)


@every_target
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_evaluation_and_training_count_half_precision_logits_alike(target, num_outputs, dtype):
    # Near 0, so that sigmoid and softmax in half precision would give many ties.
    logits, targets = draw(target, num_outputs, 200)
    logits = (1e-4 * logits).to(dtype)
    metrics = evaluation_metrics(target, num_outputs)
    metrics.update(to_probabilities(logits, target), targets.long())
    expected = slow_correct(logits.double(), targets, target) / 200
    assert compute_metrics(metrics)["accuracy"].item() == pytest.approx(expected, rel=1e-6)
    assert count_correct(logits, targets, target).item() / 200 == pytest.approx(expected, rel=1e-6)


LARGE = 2**24  # float32 holds no odd number above


def test_counts_go_beyond_the_integers_of_float32(without_type_checks):
    ones = torch.ones(1).expand(LARGE + 3)
    assert count_correct(ones, ones, "binary").item() == LARGE + 3
    labels = torch.ones(1, 2).expand(LARGE + 3, 2)
    assert count_correct(labels, labels, "multilabel").item() == LARGE + 3
    sequences = SimpleNamespace(own_targets=lambda: labels)
    encoding = SimpleNamespace(target="multilabel", class_names="ab")
    assert class_counts(sequences, encoding) == {"a": LARGE + 3, "b": LARGE + 3}


def test_mean_loss_of_many_batches_of_one_sequence():
    mean = MeanLoss()
    mean.update(torch.tensor(1.0), LARGE)
    for _ in range(8):
        mean.update(torch.tensor(3.0), 1)
    assert mean.count == LARGE + 8
    assert mean.compute().item() == pytest.approx((LARGE + 24) / (LARGE + 8), rel=1e-7)
    mean.update(torch.tensor(torch.nan), 1)
    assert mean.compute().isnan()
    mean.reset()
    mean.update(torch.tensor(5.0), 3)
    assert mean.compute() == 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["of an earlier version", "new"])
def test_curves_of_many_sequences(dtype):
    curves = TrainingCurves("binary")
    totals = {"point": torch.zeros(3, dtype=dtype), "epoch": torch.tensor([LARGE / 2, LARGE, LARGE], dtype=dtype)}
    steps = {"kept": [], "totals": None}
    curves.load_state_dict({**totals, "last_point": 5, "first_step": 0, "steps": steps})
    trainer = pl.Trainer(barebones=True, accelerator="cpu")
    for _ in range(5):
        curves.add(torch.tensor(0.5), torch.tensor([-1.0]), torch.tensor([1.0]))
        curves.close_step(True)
        means = curves.take_epoch(trainer)
    assert curves.state_dict(trainer)["epoch"].tolist() == [LARGE / 2 + 2.5, LARGE, LARGE + 5]
    assert means["train/accuracy"].item() == pytest.approx(LARGE / (LARGE + 5), rel=1e-7)
    assert {value.dtype for value in means.values()} == {torch.float32}
