import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve

from seqlight.figures.canvas import to_png
from seqlight.figures.reliability import reliability_figure
from seqlight.training.calibration_error import bin_sums


def test_curve_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    probabilities = rng.uniform(size=300) ** 2
    targets = rng.uniform(size=300) < np.sqrt(probabilities)
    sums = bin_sums(torch.from_numpy(probabilities), torch.from_numpy(targets), "binary")
    figure = reliability_figure(sums, "binary", "yes", "run, epoch 1")
    upper, lower = figure.axes
    fractions, means = calibration_curve(targets, probabilities, n_bins=15)
    drawn = upper.containers[0].lines[0].get_xydata()
    np.testing.assert_allclose(drawn, np.stack([means, fractions], 1))
    counts = [bar.get_height() for bar in lower.containers[0]]
    assert counts == np.histogram(probabilities, np.linspace(0, 1, 16))[0].tolist()
    title = " ".join(figure.get_suptitle().split())
    error = float(np.abs(fractions - means) @ np.array(counts)[np.array(counts) > 0] / 300)
    assert title == f"Reliability: expected calibration error {error:.4f} run, epoch 1"
    assert "class yes" in " ".join(text.get_text().replace("\n", " ") for text in figure.texts)


@pytest.mark.parametrize("target", ["binary", "multiclass", "multilabel"])
@pytest.mark.parametrize("size", [1, 5])
def test_few_probabilities(target, size):
    shape = (size,) if target == "binary" else (size, 3)
    targets = torch.zeros(size).long() if target == "multiclass" else torch.zeros(shape)
    to_png(reliability_figure(bin_sums(torch.full(shape, 1 / 3), targets, target), target))
