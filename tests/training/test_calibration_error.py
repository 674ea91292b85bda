"""The expected calibration error, compared with torchmetrics and its definition."""

import numpy as np
import pytest
import torch
from torchmetrics import CalibrationError

from seqlight.training.calibration_error import CalibrationBins, bin_sums, calibration_error
from seqlight.training.metrics import to_probabilities
from tests.training.test_metrics import draw, every_target


def by_definition(probabilities, targets, target):
    """Equation 3 of Guo et al., bin by bin."""
    probabilities, targets = probabilities.double().numpy(), targets.numpy()
    if target == "multiclass":
        truth, values = probabilities.argmax(1) == targets, probabilities.max(1)
    else:
        truth, values = targets.flatten() == 1, probabilities.flatten()
    total = 0.0
    for number in range(1, 16):
        inside = (values > (number - 1) / 15) & (values <= number / 15) | ((number == 1) & (values == 0))
        if inside.any():
            total += inside.sum() / len(values) * abs(truth[inside].mean() - values[inside].mean())
    return total


@every_target
@pytest.mark.parametrize("num_batches", [1, 3, 150])
def test_error_is_that_of_torchmetrics_and_of_its_definition(target, num_outputs, num_batches):
    torch.manual_seed(0)
    logits, targets = draw(target, num_outputs, 500, torch.float32)
    probabilities = to_probabilities(3 * logits, target)
    bins = CalibrationBins(target)
    for part, truth in zip(probabilities.tensor_split(num_batches), targets.tensor_split(num_batches), strict=True):
        bins.update(part, truth)
    found = calibration_error(bins.compute()).item()
    assert found == pytest.approx(by_definition(probabilities, targets, target), rel=1e-5)
    # torchmetrics has no multilabel: all labels together are a binary problem.
    flat = (probabilities, targets) if target == "multiclass" else (probabilities.flatten(), targets.flatten().int())
    kind = "multiclass" if target == "multiclass" else "binary"
    reference = CalibrationError(task=kind, num_classes=num_outputs, n_bins=15)
    assert found == pytest.approx(reference(*flat).item(), rel=1e-4)


def test_bins_contain_their_upper_ends():
    values = torch.tensor([0.0, 1 / 15, 1 / 15 + 1e-4, 0.999, 1.0])
    count, total, is_true = bin_sums(values, torch.tensor([0.0, 0, 1, 1, 0]), "binary")
    assert count.tolist() == [2, 1, *[0] * 11, 0, 2]
    assert is_true.tolist() == [0, 1, *[0] * 11, 0, 1]
    np.testing.assert_allclose(total.sum(), values.sum())


def test_counts_go_beyond_the_integers_of_float32():
    bins = CalibrationBins("binary")
    bins.update(torch.tensor([0.01]), torch.ones(1))
    bins.sums.append(torch.full((1, 3, 15), 2.0**24))
    assert bins.compute()[0, 0] == 2**24 + 1


def test_reset_forgets_the_batches():
    bins = CalibrationBins("binary")
    bins.update(torch.rand(5), torch.zeros(5))
    bins.reset()
    bins.update(torch.tensor([0.7]), torch.ones(1))
    assert calibration_error(bins.compute()).item() == pytest.approx(0.3)
