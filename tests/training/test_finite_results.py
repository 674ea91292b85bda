"""Results that are not finite are refused, not returned."""

import math

import pytest
import torch

from seqlight import NonFiniteError, SequenceClassifier, SumSign, SyntheticSequences
from seqlight.training.finite_results import check_evaluation
from tests.training.small_models import model_for


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("target", "num_outputs"), [("binary", 1), ("multiclass", 3), ("multilabel", 2)])
def test_probabilities_that_are_not_finite_raise(target, num_outputs, value):
    class Spoilt(SequenceClassifier):
        def classify(self, features, lengths=None):
            logits = super().classify(features, lengths).clone()
            logits[[1, 3]] = value if target == "multiclass" else torch.nan
            return logits

    model = Spoilt(input_size=2, target=target, num_outputs=num_outputs)
    with pytest.raises(NonFiniteError, match=r"of 2 of 5 sequences are not finite: 1, 3\n.*inputs.*weights"):
        model.probabilities(torch.randn(5, 4, 2))


def test_padding_that_is_not_finite_is_accepted():
    model = model_for(SyntheticSequences(SumSign(), num_train=8))
    inputs = torch.randn(2, 4, 1)
    inputs[0, 2:] = math.nan
    assert model.probabilities(inputs, torch.tensor([2, 4])).isfinite().all()
    with pytest.raises(NonFiniteError, match="1 of 2 sequences are not finite: 0"):
        model.probabilities(inputs)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("make", [float, torch.tensor])
def test_metrics_that_are_not_finite_are_named(make, value):
    check_evaluation({"test/loss": make(0.5)})
    with pytest.raises(NonFiniteError) as caught:
        check_evaluation({"test/loss": make(value), "test/accuracy": make(0.5), "test/own": make(value)})
    assert str(caught.value).startswith(f"test/loss is {value}, test/own is {value}\n")
    many = {f"test/{index}": make(value) for index in range(100)}
    with pytest.raises(NonFiniteError) as caught:
        check_evaluation(many)
    assert len(str(caught.value).splitlines()) <= 5
    assert len(str(caught.value)) < 500
