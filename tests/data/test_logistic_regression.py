import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from seqlight.data.logistic_regression import logistic_regression


def intervals(number, rng, num_classes):
    """The interval in which one number lies: a class in the middle is likely only within a narrow range."""
    features = rng.standard_normal((number, 1)) * num_classes / 5
    return features, np.clip(np.floor(features[:, 0] + num_classes / 2), 0, num_classes - 1).astype(int)


def rare(number, rng, fraction):
    """A few positives, which one of two features separates from the others."""
    features = rng.standard_normal((number, 2)) * [1, 1000]
    return features, (features[:, 0] > np.quantile(features[:, 0], 1 - fraction)).astype(int)


@pytest.mark.parametrize(
    ("make", "argument"), [(intervals, 4), (intervals, 10), (intervals, 20), (rare, 0.05), (rare, 0.01), (rare, 0.002)]
)
@pytest.mark.parametrize("number", [400, 4000])
def test_probabilities_are_those_of_scikit_learn(make, argument, number):
    rng = np.random.default_rng(0)
    (features, targets), (others, _) = (make(number, rng, argument) for _ in range(2))
    scaler = StandardScaler().fit(features)
    model = LogisticRegression(tol=1e-8, max_iter=10_000).fit(scaler.transform(features), targets)
    expected = model.predict_proba(scaler.transform(others))
    if make is rare:
        found = logistic_regression(features, targets[:, None].astype(float), others, "binary")
        expected = expected[:, 1:]
    else:
        found = logistic_regression(features, np.eye(argument)[targets], others, "multiclass")[:, model.classes_]
    assert np.abs(found - expected).max() < 0.02
    decided = np.abs(expected - 0.5) > 0.02
    assert ((found > 0.5) == (expected > 0.5))[decided].all()
