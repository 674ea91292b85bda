"""Logistic regression of sequences' labels on a table, in numpy alone."""

from collections import deque
from collections.abc import Sequence

import numpy as np

from seqlight.tasks.task import Target

_MOST_ITERATIONS = 100  # this and the next one as by default in scikit-learn
_SMALLEST_GRADIENT = 1e-4  # of the mean loss of a sequence


def logistic_regression(features: np.ndarray, truth: np.ndarray, others: np.ndarray, target: Target) -> np.ndarray:
    """Probabilities of `others` (M, outputs) by logistic regression of `truth` (N, outputs) on features (N, D).

    Features are standardised, and the penalty is half the squared norm of the weights, as by default in scikit-learn.
    The loss is minimised by L-BFGS (Nocedal and Wright, "Numerical Optimization", algorithm 7.5). Its first estimate of
    the Hessian is a bound that holds for all weights: Boehning, "Multinomial logistic regression algorithm", 1992.
    """
    mean, scale = features.mean(axis=0), features.std(axis=0)
    varies = np.isfinite(scale) & (scale > 1e-9 * (1 + np.abs(mean)))
    features, others = (((table - mean)[:, varies] / scale[varies]) for table in (features, others))
    if features.shape[1] > len(features):  # the weights lie in the space of the rows
        directions = np.linalg.qr(features.T).Q
        features, others = features @ directions, others @ directions
    features, others = (np.hstack([table, np.ones((len(table), 1))]) for table in (features, others))
    penalty = np.full((features.shape[1], 1), 1.0)
    penalty[-1] = 1e-6  # of the bias: only for a class that never occurs
    curvature = 0.5 if target == "multiclass" else 0.25
    inverse = np.linalg.inv(curvature * features.T @ features + np.diag(penalty[:, 0]))

    def evaluate(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = features @ weights
        probabilities = _probabilities(logits, target)
        gradient = features.T @ (probabilities - truth) + penalty * weights
        loss = _negative_log_likelihood(logits, truth, target) + 0.5 * float((penalty * weights**2).sum())
        return loss, gradient

    weights = np.zeros((features.shape[1], truth.shape[1]))
    loss, gradient = evaluate(weights)
    changes: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=10)  # of the weights and of the gradient
    for _ in range(_MOST_ITERATIONS):
        if np.abs(gradient).max() < _SMALLEST_GRADIENT * len(features):
            break
        step = -_newton_step(gradient, inverse, changes)
        slope = np.vdot(gradient, step)
        for _ in range(30):
            new_loss, new_gradient = evaluate(weights + step)
            if new_loss <= loss + 1e-4 * slope:
                break
            step, slope = step / 2, slope / 2
        else:
            break  # the loss can't get smaller in float64
        change = new_gradient - gradient
        if np.vdot(step, change) > 0:
            changes.append((step, change))
        weights, loss, gradient = weights + step, new_loss, new_gradient
    return _probabilities(others @ weights, target)


def _newton_step(
    gradient: np.ndarray, inverse: np.ndarray, changes: Sequence[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """The gradient (D, outputs) times the inverse Hessian, estimated from changes of the weights and the gradient."""
    factors = []
    for step, change in reversed(changes):
        factors.append(np.vdot(step, gradient) / np.vdot(step, change))
        gradient = gradient - factors[-1] * change
    direction: np.ndarray = inverse @ gradient
    if changes:
        step, change = changes[-1]
        direction *= np.vdot(step, change) / np.vdot(change, inverse @ change)
    for (step, change), factor in zip(changes, reversed(factors), strict=True):
        direction = direction + (factor - np.vdot(change, direction) / np.vdot(step, change)) * step
    return direction


def _negative_log_likelihood(logits: np.ndarray, truth: np.ndarray, target: Target) -> float:
    if target == "multiclass":
        largest = logits.max(axis=1)
        normaliser = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
        return float((normaliser - (truth * logits).sum(axis=1)).sum())
    return float((np.logaddexp(0, logits) - truth * logits).sum())


def _probabilities(logits: np.ndarray, target: Target) -> np.ndarray:
    if target == "multiclass":
        probabilities: np.ndarray = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    else:
        probabilities = 0.5 + 0.5 * np.tanh(0.5 * logits)
    return probabilities
