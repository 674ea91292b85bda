"""The memory curve, against a loop over sequences without padding."""

from functools import partial

import pytest
import torch

from seqlight import Batch, ElmanCell, GRUCell, LSTMCell, SequenceClassifier, memory_curve


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


def slow_memory_curve(model, batch):
    """The curve from one sequence at a time, without padding."""
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
