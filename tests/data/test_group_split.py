"""Splits by group, compared with what they must keep and with scikit-learn's split by group and class."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from seqlight.data.group_split import group_split


def drawn(seed, num_groups=20, size=200):
    rng = np.random.default_rng(seed)
    groups = rng.choice(num_groups, size, p=rng.dirichlet(np.ones(num_groups)))
    labels = (rng.random(size) < rng.uniform(0.1, 0.9, num_groups)[groups]).astype(int)
    return labels.tolist(), groups.tolist()


@pytest.mark.parametrize("seed", range(8))
def test_groups_stay_together_and_classes_keep_their_share(seed):
    labels, groups = drawn(seed)
    kept, taken = group_split(labels, groups, 0.2, np.random.default_rng(seed))
    assert sorted([*kept, *taken]) == list(range(200))
    assert {groups[row] for row in kept}.isdisjoint({groups[row] for row in taken})
    share = [np.mean(np.isin(np.flatnonzero(np.array(labels) == label), taken)) for label in (0, 1)]
    folds = StratifiedGroupKFold(5).split(labels, labels, groups)
    worst = max(
        abs(np.mean(np.isin(np.flatnonzero(np.array(labels) == label), fold)) - 0.2)
        for _, fold in folds
        for label in (0, 1)
    )
    assert np.abs(np.array(share) - 0.2).max() <= worst


def test_the_seed_chooses_among_equal_groups():
    labels, groups = [0, 1] * 20, np.repeat(np.arange(20), 2).tolist()
    parts = [group_split(labels, groups, 0.2, np.random.default_rng(seed))[1].tolist() for seed in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]
    assert len(parts[0]) == len(parts[2]) == 8


def test_a_class_of_one_group_stays_in_the_training_data():
    labels, groups = ["a", "b"] * 10 + ["c"] * 5, [*np.repeat(np.arange(10), 2).tolist(), *[10] * 5]
    _, taken = group_split(labels, groups, 0.2, np.random.default_rng(0))
    assert "c" not in {labels[row] for row in taken}
    assert len(taken) == 4


def test_several_labels_count_one_by_one():
    labels, groups = [("a", "b"), ("a",), (), ("b",)] * 5, np.repeat(np.arange(10), 2).tolist()
    _, taken = group_split(labels, groups, 0.2, np.random.default_rng(0))
    assert [sum(name in labels[row] for row in taken) for name in "ab"] == [2, 2]


def test_one_group_can_not_be_divided():
    kept, taken = group_split([0, 1] * 5, ["a"] * 10, 0.2, np.random.default_rng(0))
    assert (len(kept), len(taken)) == (10, 0)
