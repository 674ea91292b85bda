"""Errors of models of numbers without a network, measured on the data that a network is trained on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seqlight.common.batch import Batch
from seqlight.common.label_per import LabelPer
from seqlight.data.baselines import num_targets, tables_of
from seqlight.data.sequences import Sequences


class Errors(NamedTuple):
    """Root mean squared and mean absolute error, means over numbers, in original units."""

    rmse: float
    mae: float


class MeasuredErrors(NamedTuple):
    """Errors of simple models, and the numbers of sequences (or steps) behind them.

    Attributes:
        mean: errors of the mean of the training data.
        last_step: errors of linear regression of the last time step; if steps have targets, of the step.
        bag_of_steps: errors of linear regression of the bag of steps; if steps have targets, of the steps so far.
        num_train, num_fitted, num_split, num_evaluated, label_per: as in `MeasuredBaselines`.
    """

    mean: Errors
    last_step: Errors
    bag_of_steps: Errors
    num_train: int
    num_fitted: int
    num_split: int
    num_evaluated: int
    label_per: LabelPer


def measure_errors(
    train: Batch | Sequences,
    evaluated: Batch | Sequences,
    *,
    scale: Sequence[float],
    vocab_size: int | None,
    label_per: LabelPer = "sequence",
) -> MeasuredErrors:
    """The errors of simple models on one split after fitting to another; parts of large splits represent them.

    Args:
        train: the sequences to fit to.
        evaluated: the sequences to predict.
        scale: the divisor by which each number was standardised.
        vocab_size: the number of tokens; None for features.
        label_per: whether a sequence has numbers, or each of its steps.
    """
    fitted, predicted = tables_of(train, evaluated, len(scale), vocab_size, label_per)
    truth = fitted.targets.astype(np.float64)
    guesses = [
        np.broadcast_to(truth.mean(axis=0), predicted.targets.shape),
        linear_regression(fitted.last, truth, predicted.last),
        linear_regression(fitted.bag, truth, predicted.bag),
    ]
    errors = [(guess - predicted.targets) * np.array(scale) for guess in guesses]
    found = [Errors(float(np.sqrt((e**2).mean(axis=0)).mean()), float(np.abs(e).mean())) for e in errors]
    counts = [num_targets(data, label_per) for data in (train, evaluated)]
    mean, last, bag = found
    return MeasuredErrors(mean, last, bag, counts[0], len(truth), counts[1], len(predicted.targets), label_per)


def linear_regression(features: np.ndarray, truth: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Predictions for `others` (M, outputs) by ridge regression of `truth` (N, outputs) on features (N, D).

    Features are standardised, and the penalty is the squared norm of the weights, as by default in scikit-learn.
    """
    mean, scale = features.mean(axis=0), features.std(axis=0)
    varies = np.isfinite(scale) & (scale > 1e-9 * (1 + np.abs(mean)))
    features, others = (((table - mean)[:, varies] / scale[varies]) for table in (features, others))
    centre = truth.mean(axis=0)
    if features.shape[1] > len(features):  # the weights lie in the space of the rows
        weights = features.T @ np.linalg.solve(features @ features.T + np.eye(len(features)), truth - centre)
    else:
        weights = np.linalg.solve(features.T @ features + np.eye(features.shape[1]), features.T @ (truth - centre))
    predicted: np.ndarray = others @ weights + centre
    return predicted
