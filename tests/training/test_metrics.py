from functools import partial

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from seqlight import Batch, ElmanCell, GRUCell, LSTMCell, SequenceClassifier, memory_curve
from seqlight.training.curves import StepTotals
from seqlight.training.metrics import (
    check_class_weights,
    classification_loss,
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
    """The loss of each sequence, from its definition; for multilabel a row per sequence."""
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
def test_a_weighted_loss_is_weight_times_loss(target, num_outputs, reduction):
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
def test_weights_that_do_not_fit(target, num_outputs, change, message):
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
def test_right_answers_are_counted(target, num_outputs):
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
def test_step_totals_start_anew_when_taken(target, num_outputs):
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
    values = {name: value.item() for name, value in metrics.compute().items()}

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
def test_evaluation_counts_half_precision_logits_as_training_does(target, num_outputs, dtype):
    # So near to 0 that sigmoid and softmax in half precision give many ties.
    logits, targets = draw(target, num_outputs, 200)
    logits = (1e-4 * logits).to(dtype)
    metrics = evaluation_metrics(target, num_outputs)
    metrics.update(to_probabilities(logits, target), targets.long())
    expected = slow_correct(logits.double(), targets, target) / 200
    assert metrics.compute()["accuracy"].item() == pytest.approx(expected, rel=1e-6)
    assert count_correct(logits, targets, target).item() / 200 == pytest.approx(expected, rel=1e-6)


def classifier(cell, target, num_outputs, **options):
    return SequenceClassifier(cell, target=target, num_outputs=num_outputs, **options).double()


def ragged_batch(target, num_outputs, vocab_size=None):
    _, targets = draw(target, num_outputs, 5)
    shape = (5, 6)
    inputs = torch.randn(*shape, 2, dtype=torch.float64) if vocab_size is None else torch.randint(vocab_size, shape)
    return Batch(inputs, targets, torch.tensor([3, 6, 1, 4, 4]))


def slow_memory_curve(model, batch):
    """Sequence by sequence and without padding."""
    norms = [[] for _ in range(batch.inputs.shape[1])]
    for inputs, target, length in zip(batch.inputs, batch.targets, batch.lengths.tolist(), strict=True):
        inputs = inputs[None, :length]
        features = (inputs if model.embedding is None else model.embedding.weight[inputs]).detach().requires_grad_()
        logits = model.classify(features)
        if model.target == "multiclass":
            loss = -logits.log_softmax(-1)[0, target]
        else:
            loss = -(target * logits.sigmoid().log() + (1 - target) * (1 - logits.sigmoid()).log()).sum()
        [gradient] = torch.autograd.grad(loss, features)
        for t in range(length):
            norms[length - 1 - t].append(gradient[0, t].norm().item())
    return torch.tensor([sum(entry) / len(entry) if entry else 0 for entry in norms], dtype=torch.float64)


CURVES = [
    (GRUCell, "binary", 1, {"input_size": 2}),
    (GRUCell, "multiclass", 3, {"input_size": 2, "readout": "mean"}),
    (LSTMCell, "multilabel", 3, {"input_size": 2, "bidirectional": True, "num_layers": 2}),
    (ElmanCell, "binary", 1, {"input_size": 2, "backend": "eager", "dropout": 0.5, "num_layers": 2}),
    (ElmanCell, "binary", 1, {"vocab_size": 4, "embedding_size": 3, "readout": "max"}),
]
every_curve = pytest.mark.parametrize(("cell", "target", "num_outputs", "options"), CURVES)


@every_curve
def test_memory_curve_equals_a_loop(cell, target, num_outputs, options):
    model = classifier(partial(cell, hidden_size=4), target, num_outputs, **options)
    batch = ragged_batch(target, num_outputs, options.get("vocab_size"))
    curve = memory_curve(model, batch)
    expected = slow_memory_curve(model.eval(), batch)
    assert (expected > 0).all()
    torch.testing.assert_close(curve, expected, rtol=1e-10, atol=1e-14)


def test_memory_curve_is_zero_beyond_the_longest_sequence():
    model = classifier(partial(GRUCell, hidden_size=4), "binary", 1, input_size=2)
    batch = ragged_batch("binary", 1)
    padded = batch._replace(inputs=torch.cat((batch.inputs, torch.full((5, 2, 2), torch.nan)), 1).double())
    curve = memory_curve(model, padded)
    torch.testing.assert_close(curve[:6], memory_curve(model, batch), rtol=1e-12, atol=1e-14)
    assert (curve[6:] == 0).all()


def test_memory_curve_of_tokens_whose_padding_is_no_token():
    model = classifier(partial(GRUCell, hidden_size=4), "binary", 1, vocab_size=4)
    batch = ragged_batch("binary", 1, vocab_size=4)
    padding = torch.arange(6) >= batch.lengths[:, None]
    padded = batch._replace(inputs=batch.inputs.masked_fill(padding, -1))
    torch.testing.assert_close(memory_curve(model, padded), memory_curve(model, batch), rtol=0, atol=0)
    assert (padded.inputs[padding] == -1).all()


@pytest.mark.parametrize("training", [True, False])
@every_curve
def test_memory_curve_leaves_the_model_as_it_was(cell, target, num_outputs, options, training):
    model = classifier(partial(cell, hidden_size=4), target, num_outputs, **options).train(training)
    for index, parameter in enumerate(model.parameters()):
        if index % 2:
            parameter.grad = torch.full_like(parameter, 7.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    memory_curve(model, ragged_batch(target, num_outputs, options.get("vocab_size")))
    for index, parameter in enumerate(model.parameters()):
        assert (parameter.grad == 7).all() if index % 2 else parameter.grad is None
    assert all(module.training == training for module in model.recurrent.modules())
    assert model.training == training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_memory_curve_works_where_gradients_are_off(mode):
    model = classifier(partial(LSTMCell, hidden_size=4), "binary", 1, input_size=2)
    expected = memory_curve(model, ragged_batch("binary", 1))
    torch.manual_seed(0)
    model = classifier(partial(LSTMCell, hidden_size=4), "binary", 1, input_size=2)
    with mode():
        batch = ragged_batch("binary", 1)
        curve = memory_curve(model, batch)
    assert torch.equal(curve, expected)


def test_memory_curve_restores_the_mode_after_an_error():
    model = classifier(partial(GRUCell, hidden_size=4), "binary", 1, input_size=2)
    batch = ragged_batch("binary", 1)._replace(lengths=torch.tensor([0, 1, 1, 1, 1]))
    with pytest.raises(ValueError, match="lengths must be between 1 and the 6 time steps"):
        memory_curve(model, batch)
    assert model.training
