"""The memory curve, against a loop over sequences without padding."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch

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
    memory_curve,
)
from seqlight.figures.memory_curve import measure_memory, memory_quartiles


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


def classifier(cell, target, num_outputs, **options):
    return SequenceClassifier(cell, target=target, num_outputs=num_outputs, **options).double()


def ragged_batch(target, num_outputs, vocab_size=None):
    if target == "multiclass":
        targets = torch.randint(num_outputs, (5,))
    else:
        targets = torch.randint(2, (5,) if target == "binary" else (5, num_outputs)).double()
    shape = (5, 6)
    inputs = torch.randn(*shape, 2, dtype=torch.float64) if vocab_size is None else torch.randint(vocab_size, shape)
    return Batch(inputs, targets, torch.tensor([3, 6, 1, 4, 4]))


def slow_influence(model, batch):
    """For each distance from the end, the norms of the gradients of one sequence at a time, without padding."""
    influence = [[] for _ in range(batch.inputs.shape[1])]
    for inputs, length in zip(batch.inputs, batch.lengths.tolist(), strict=True):
        inputs = inputs[None, :length]
        features = (inputs if model.embedding is None else model.embedding.weight[inputs]).detach().requires_grad_()
        logits = model.classify(features)[0]
        if model.target == "multiclass":
            logit = max(logits)
        else:
            logit = max(logits, key=abs) if model.target == "multilabel" else logits
        [gradient] = torch.autograd.grad(logit, features)
        norms = [vector.norm().item() for vector in gradient[0]]
        for distance, norm in enumerate(reversed(norms)):
            if norms[-1] > 0:
                influence[distance].append(norm / norms[-1])
    return influence


def slow_memory_curve(model, batch):
    return torch.tensor([np.median(found) if found else 0 for found in slow_influence(model, batch)]).double()


CURVES = [
    (GRUCell, "binary", 1, {"input_size": 2}),
    (GRUCell, "multiclass", 3, {"input_size": 2, "readout": "mean"}),
    (LSTMCell, "multilabel", 3, {"input_size": 2, "bidirectional": True, "num_layers": 2}),
    (ElmanCell, "binary", 1, {"input_size": 2, "backend": "eager", "dropout": 0.5, "num_layers": 2}),
    (ElmanCell, "binary", 1, {"vocab_size": 4, "embedding_size": 3, "readout": "max"}),
    (GRUCell, "binary", 1, {"input_size": 2, "readout": "last_mean_max", "bidirectional": True}),
]
every_curve = pytest.mark.parametrize(("cell", "target", "num_outputs", "options"), CURVES)


@every_curve
def test_memory_curve_equals_a_loop(cell, target, num_outputs, options):
    model = classifier(partial(cell, hidden_size=4), target, num_outputs, **options)
    batch = ragged_batch(target, num_outputs, options.get("vocab_size"))
    curve = memory_curve(model, batch)
    expected = slow_memory_curve(model.eval(), batch)
    assert expected[0] == 1
    torch.testing.assert_close(curve, expected, rtol=1e-10, atol=1e-14)
    quartiles = np.array([np.quantile(found, (0.25, 0.5, 0.75)) for found in slow_influence(model, batch)])
    torch.testing.assert_close(memory_quartiles(model, batch).T.numpy(), quartiles, rtol=1e-10, atol=1e-14)


def test_influence_does_not_depend_on_the_loss():
    """A solved task has a gradient of its loss of almost 0, and an undiminished one of its logit."""
    model = classifier(partial(GRUCell, hidden_size=4), "binary", 1, input_size=2)
    batch = ragged_batch("binary", 1)
    expected = memory_curve(model, batch)
    with torch.no_grad():
        model.head.bias += 1000
    torch.testing.assert_close(memory_curve(model, batch), expected)


@pytest.mark.parametrize("scale", [1e-25, 1e-60])
def test_small_gradients_do_not_underflow(scale):
    model = classifier(partial(LSTMCell, hidden_size=4), "binary", 1, input_size=2)
    batch = ragged_batch("binary", 1)
    expected = memory_curve(model, batch)
    if scale > 1e-30:
        model, batch = model.float(), batch._replace(inputs=batch.inputs.float())
    with torch.no_grad():
        model.head.weight *= scale
    torch.testing.assert_close(memory_curve(model, batch), expected, check_dtype=False, rtol=1e-4, atol=1e-4)


def test_sequences_without_influence_of_the_last_step_are_left_out():
    model = classifier(partial(ElmanCell, hidden_size=4, nonlinearity="relu"), "binary", 1, input_size=2)
    with torch.no_grad():
        model.recurrent.layers[0].cell.bias_ih.fill_(-100)
    batch = ragged_batch("binary", 1)
    assert memory_quartiles(model, batch).isnan().all()
    assert (memory_curve(model, batch) == 0).all()


@dataclass(frozen=True)
class Even(SumSign):
    """A task whose sequences have at most 12 steps."""

    def __post_init__(self):
        if self.max_length > 12:
            raise ValueError("too long")


class Fixed(SequenceTask):
    """A task without lengths."""

    input_size, target, num_outputs = 1, "binary", 1

    def sample(self, num_samples, rng):
        return SumSign(max_length=4).sample(num_samples, rng)


@pytest.mark.parametrize(
    ("task", "shape", "words"),
    [
        (
            SumSign(max_length=10),
            (64, 100, 1),
            "64 sequences of 100 steps, drawn for this figure (validation: at most 10)",
        ),
        (Parity(min_length=2, max_length=30), (64, 200), "64 sequences of 200 steps, drawn"),
        (SumSign(max_length=200), (8, 200, 1), "8 validation sequences of at most 200 steps"),
        (Even(max_length=12), (8, 12, 1), "8 validation sequences of at most 12 steps"),
        (Fixed(), (8, 4, 1), "8 validation sequences of at most 4 steps"),
        (None, (8, 10, 1), "8 validation sequences of at most 10 steps"),
    ],
)
def test_memory_is_measured_on_long_sequences_if_the_task_has_them(task, shape, words):
    data = task and SyntheticSequences(task, num_val=8)
    batch = (data or SyntheticSequences(SumSign(), num_val=8)).split("val")
    size = {"input_size": 1} if batch.inputs.is_floating_point() else {"vocab_size": 2}
    model = SequenceClassifier(partial(GRUCell, hidden_size=4), **size)
    found, again = (measure_memory(model, data, batch) for _ in range(2))
    assert found.sequences.startswith(words)
    assert found.quartiles.shape == (3, shape[1])
    assert torch.equal(found.quartiles, again.quartiles)  # always the same ones
    if task is None or shape[0] == 8:
        torch.testing.assert_close(found.quartiles, memory_quartiles(model, batch), equal_nan=True)


class ShortTask(SumSign):
    def sample(self, num_samples, rng):
        batch = super().sample(num_samples, rng)
        torch.zeros(16)[batch.inputs.shape[1] - 1]  # a table of 16 steps
        return batch


class ShortModel(SequenceClassifier):
    def features(self, inputs, lengths=None):
        torch.zeros(16)[inputs.shape[1] - 1]
        return super().features(inputs, lengths)


@pytest.mark.parametrize("short", ["task", "model"])
def test_memory_is_measured_on_the_validation_data_if_long_sequences_are_not_possible(short):
    data = SyntheticSequences((ShortTask if short == "task" else SumSign)(max_length=10), num_val=8)
    model = (ShortModel if short == "model" else SequenceClassifier)(input_size=1)
    batch = data.split("val")
    found = measure_memory(model, data, batch)
    assert found.sequences == "8 validation sequences of at most 10 steps"
    torch.testing.assert_close(found.quartiles, memory_quartiles(model, batch), equal_nan=True)


def test_memory_of_a_model_in_float64():
    data = SyntheticSequences(SumSign(max_length=10), num_val=8)
    batch = data.split("val")
    model = SequenceClassifier(input_size=1).double()
    found = measure_memory(model, data, batch._replace(inputs=batch.inputs.double()))
    assert found.sequences.startswith("64 sequences of 100 steps")


def test_memory_curve_is_zero_beyond_the_longest_sequence():
    model = classifier(partial(GRUCell, hidden_size=4), "binary", 1, input_size=2)
    batch = ragged_batch("binary", 1)
    padded = batch._replace(inputs=torch.cat((batch.inputs, torch.full((5, 2, 2), torch.nan)), 1).double())
    curve = memory_curve(model, padded)
    torch.testing.assert_close(curve[:6], memory_curve(model, batch), rtol=1e-12, atol=1e-14)
    assert (curve[6:] == 0).all()


def test_memory_curve_ignores_padding_that_is_not_a_token():
    model = classifier(partial(GRUCell, hidden_size=4), "binary", 1, vocab_size=4)
    batch = ragged_batch("binary", 1, vocab_size=4)
    padding = torch.arange(6) >= batch.lengths[:, None]
    padded = batch._replace(inputs=batch.inputs.masked_fill(padding, -1))
    torch.testing.assert_close(memory_curve(model, padded), memory_curve(model, batch), rtol=0, atol=0)
    assert (padded.inputs[padding] == -1).all()


@pytest.mark.parametrize("training", [True, False])
@every_curve
def test_memory_curve_does_not_change_the_model(cell, target, num_outputs, options, training):
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
def test_memory_curve_works_if_gradients_are_disabled(mode):
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
