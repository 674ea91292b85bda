"""The convolutional branch against torch's layers, sequence by sequence."""

from functools import partial

import pytest
import torch
from torch import nn

import seqlight
from seqlight.recurrent.convolution import ConvolutionalBranch
from tests.recurrent.cases import RAGGED, B, F, T, assert_close, random

MODES = pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])


def branch(training=False):
    torch.manual_seed(0)
    made = ConvolutionalBranch(F, (7, 9, 6)).double().train(training)
    for norm in made.norms:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return made


def of_torch(made):
    """The same branch in torch's layers, for sequences of equal length (B, F, T)."""
    layers = []
    for convolution, norm in zip(made.convolutions, made.norms, strict=True):
        [width] = convolution.kernel_size
        layers += [nn.ConstantPad1d(((width - 1) // 2, width - 1 - (width - 1) // 2), 0), convolution, norm, nn.ReLU()]
    return nn.Sequential(*layers)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_convolutions_are_padded_as_in_torch():
    inputs = random(B, F, T)
    for width in (8, 5, 3):
        same = nn.Conv1d(F, 2, width, padding="same", bias=False).double()
        padded = nn.functional.pad(inputs, ((width - 1) // 2, width // 2))
        assert_close(nn.functional.conv1d(padded, same.weight), same(inputs))


@MODES
def test_equal_lengths_equal_torchs_layers(training):
    made, other = branch(training), branch(training)
    inputs = random(B, T, F)
    found, expected = made(inputs), of_torch(other)(inputs.transpose(1, 2)).mean(2)
    assert_close(found, expected)
    assert_close(dict(made.named_buffers()), dict(other.named_buffers()))
    weights = random(*found.shape)
    gradients = [
        torch.autograd.grad((each * weights).sum(), list(m.parameters()))
        for each, m in ((found, made), (expected, other))
    ]
    assert_close(*gradients)


@pytest.mark.parametrize("filler", [torch.nan, torch.inf, 1e9])
def test_sequences_of_a_batch_equal_each_alone(filler):
    made, inputs = branch(), random(B, T, F)
    expected = torch.cat(
        [of_torch(made)(one[None, :length].transpose(1, 2)).mean(2) for one, length in zip(inputs, RAGGED, strict=True)]
    )
    for row, length in enumerate(RAGGED):
        inputs[row, length:] = filler
    assert_close(made(inputs, RAGGED), expected)


def test_training_normalises_by_the_true_steps():
    made, inputs = branch(training=True), random(B, T, F)
    outputs = [one[:length].T for one, length in zip(inputs, RAGGED, strict=True)]
    statistics = []
    for convolution, norm in zip(made.convolutions, made.norms, strict=True):
        [width] = convolution.kernel_size
        outputs = [
            nn.functional.conv1d(nn.functional.pad(one[None], ((width - 1) // 2, width // 2)), convolution.weight)[0]
            for one in outputs
        ]
        steps = torch.cat(outputs, 1)
        mean, variance = steps.mean(1), steps.var(1, correction=0)
        statistics.append((0.9 * norm.running_mean + 0.1 * mean, 0.9 * norm.running_var + 0.1 * steps.var(1)))
        outputs = [
            (
                (one - mean[:, None]) / (variance[:, None] + norm.eps).sqrt() * norm.weight[:, None]
                + norm.bias[:, None]
            ).relu()
            for one in outputs
        ]
    expected = torch.stack([one.mean(1) for one in outputs])
    for row, length in enumerate(RAGGED):
        inputs[row, length:] = torch.nan
    assert_close(made(inputs, RAGGED), expected)
    for norm, (mean, variance) in zip(made.norms, statistics, strict=True):
        assert_close(norm.running_mean, mean)
        assert_close(norm.running_var, variance)


@pytest.mark.parametrize("lengths", [None, torch.tensor([1])])
def test_one_step_is_trained_on_with_the_statistics_so_far(lengths):
    made = branch(training=True)
    inputs = random(1, 1 if lengths is None else 3, F)
    found = made(inputs, lengths)
    assert_close(found, made.eval()(inputs[:, :1]))


def test_statistics_stay_finite_in_a_step_that_is_not():
    made = branch(training=True)
    before = {name: buffer.clone() for name, buffer in made.named_buffers() if buffer.is_floating_point()}
    made(torch.full((B, T, F), torch.nan, dtype=torch.float64))
    assert_close({name: dict(made.named_buffers())[name] for name in before}, before)


@pytest.mark.parametrize("sizes", [{"input_size": 0}, {"num_filters": (3, 0, 3)}, {"widths": (0, 1, 1)}])
def test_wrong_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match=r"(input_size|num_filters and widths) must be at least 1, got 0"):
        ConvolutionalBranch(**{"input_size": 2, **sizes})


@pytest.mark.parametrize("inputs", [{"input_size": F}, {"vocab_size": 5}], ids=["features", "tokens"])
@pytest.mark.parametrize("target", ["binary", "multiclass"])
def test_classifier_joins_both_branches(inputs, target):
    torch.manual_seed(0)
    num_outputs = 1 if target == "binary" else 3
    model = seqlight.SequenceClassifier(
        partial(seqlight.GRUCell, hidden_size=4), **inputs, target=target, num_outputs=num_outputs, convolution="fcn"
    ).eval()
    values = torch.randint(1, 5, (B, T)) if "vocab_size" in inputs else torch.randn(B, T, F)
    features = model.features(values, RAGGED)
    outputs, _ = model.recurrent(features, RAGGED)
    last = outputs[torch.arange(B), RAGGED - 1]
    expected = model.head(torch.cat((last, model.convolution(features, RAGGED)), 1))
    found = model(values, RAGGED)
    torch.testing.assert_close(found, expected.squeeze(-1) if target == "binary" else expected)
    alone = torch.cat([model(values[row : row + 1, :length]) for row, length in enumerate(RAGGED)])
    torch.testing.assert_close(found, alone)


def test_unknown_branch_is_refused(without_type_checks):
    with pytest.raises(ValueError, match="convolution must be one of fcn; got 'cnn'"):
        seqlight.SequenceClassifier(input_size=1, convolution="cnn")
