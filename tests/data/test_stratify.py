"""Folds and groups, compared with scikit-learn's."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from seqlight.data.stratify import grouped_parts, stratified_fold


def draw(seed, num_samples=200, num_groups=20, related=False):
    """Uneven classes and groups; related ones if each group is mostly of one class."""
    rng = np.random.default_rng(seed)
    groups = rng.choice(num_groups, num_samples, p=rng.dirichlet(np.ones(num_groups)))
    labels = rng.choice(3, num_samples, p=[0.6, 0.3, 0.1])
    return np.where(related & (rng.random(num_samples) < 0.8), groups % 3, labels), groups


def counts(labels, parts, num_parts):
    return np.array([np.bincount(labels[parts == part], minlength=3) for part in range(num_parts)])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("num_folds", [2, 3, 5, 10])
def test_folds_are_as_even_as_scikit_learns(seed, num_folds):
    labels, _ = draw(seed)
    folds = [stratified_fold(labels.tolist(), fold, num_folds, np.random.default_rng(7)) for fold in range(num_folds)]
    assert sorted(np.concatenate(folds)) == list(range(len(labels)))
    assert all((np.diff(fold) > 0).all() for fold in folds)
    ours = np.array([np.bincount(labels[fold], minlength=3) for fold in folds])
    reference = StratifiedKFold(num_folds, shuffle=True, random_state=seed).split(labels, labels)
    theirs = np.array([np.bincount(labels[test], minlength=3) for _, test in reference])
    np.testing.assert_array_equal(np.sort(ours, axis=0), np.sort(theirs, axis=0))
    assert np.ptp(ours.sum(axis=1)) <= 1
    again = stratified_fold(labels.tolist(), 0, num_folds, np.random.default_rng(8))
    assert list(again) != list(folds[0])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("related", [False, True])
@pytest.mark.parametrize("num_folds", [2, 5])
def test_folds_of_groups_are_as_even_as_scikit_learns(seed, related, num_folds):
    labels, groups = draw(seed, related=related)
    parts = grouped_parts(labels.tolist(), groups.tolist(), [1 / num_folds] * num_folds, np.random.default_rng(seed))
    assert all(len(set(parts[groups == group])) == 1 for group in set(groups))
    assert set(parts) == set(range(num_folds))

    def unevenness(table):
        return (table / table.sum(axis=0)).std(axis=0).mean()

    theirs = []
    for state in range(10):
        reference = StratifiedGroupKFold(num_folds, shuffle=True, random_state=state).split(labels, labels, groups)
        theirs.append(unevenness(np.array([np.bincount(labels[test], minlength=3) for _, test in reference])))
    assert unevenness(counts(labels, parts, num_folds)) <= max(theirs) + 1e-12


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5, 0.8])
def test_fraction_of_groups(seed, fraction):
    labels, groups = draw(seed, num_samples=1000, num_groups=100)
    parts = grouped_parts(labels.tolist(), groups.tolist(), [1 - fraction, fraction], np.random.default_rng(seed))
    assert all(len(set(parts[groups == group])) == 1 for group in set(groups))
    taken = counts(labels, parts, 2)[1] / np.bincount(labels)
    assert np.abs(taken - fraction).max() < 0.06


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.99])
def test_two_groups_make_two_parts(fraction):
    parts = grouped_parts(["a", "b"] * 5, ["u"] * 7 + ["v"] * 3, [1 - fraction, fraction], np.random.default_rng(0))
    assert len(set(parts[:7])) == len(set(parts[7:])) == 1
    assert set(parts) == {0, 1}


@pytest.mark.parametrize("num_groups", [3, 4])
def test_no_part_is_empty(num_groups):
    """One group has nearly all samples."""
    groups = [0] * 100 + list(range(1, num_groups))
    parts = grouped_parts(["a"] * len(groups), groups, [1 / 3] * 3, np.random.default_rng(0))
    assert set(parts) == {0, 1, 2}
