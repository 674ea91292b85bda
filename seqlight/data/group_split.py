"""Splits that keep the samples of a group together."""

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float64, Int64

_ORDERS = 16
_MOST_VISITS = 20_000  # of a group, in all orders together


def group_split(
    labels: Sequence[Hashable], groups: Sequence[Hashable], fraction: float, rng: np.random.Generator
) -> tuple[Int64[np.ndarray, " kept"], Int64[np.ndarray, " taken"]]:
    """The rows to keep and the rows to take, each in ascending order, with each group in one of them.

    Groups are visited in random order. One is taken if that brings the number of samples taken from each class closer
    to `fraction` of the class, and leaves some of each class. Of several such orders, the one that comes closest is
    used. No row is taken if no group can be.

    Args:
        labels: the class of each sample, or a tuple with the names of its labels.
        groups: the group of each sample.
        fraction: the fraction of the samples to take.
        rng: draws the orders.
    """
    group_of = _codes(groups)
    names = [label if isinstance(label, tuple) else (label,) for label in labels]
    class_of = _codes([name for each in names for name in each])
    rows = np.repeat(np.arange(len(names)), [len(each) for each in names])
    counts = np.zeros((group_of.max() + 1, class_of.max(initial=-1) + 1))
    np.add.at(counts, (group_of[rows], class_of), 1)
    total = counts.sum(0)

    def distance(number: Float64[np.ndarray, " classes"]) -> float:
        return float((((number - fraction * total) / total) ** 2).sum())

    best: list[int] = []
    closest = distance(np.zeros(len(total)))
    for _ in range(max(1, min(_ORDERS, _MOST_VISITS // len(counts)))):
        taken, chosen = np.zeros(len(total)), []
        for group in rng.permutation(len(counts)):
            after = taken + counts[group]
            if distance(after) < distance(taken) and (after < total).all():
                taken = after
                chosen.append(int(group))
        if distance(taken) < closest:
            best, closest = chosen, distance(taken)
    is_taken = np.isin(group_of, best)
    return np.flatnonzero(~is_taken), np.flatnonzero(is_taken)


def _codes(values: Sequence[Hashable]) -> Int64[np.ndarray, " values"]:
    index: dict[Hashable, int] = {}
    return np.array([index.setdefault(value, len(index)) for value in values], dtype=np.int64)
