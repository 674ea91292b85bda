"""Stratified splits of labelled samples."""

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Int64


def stratified_split(
    labels: Sequence[Hashable], fraction: float, rng: np.random.Generator, fewest: int = 0
) -> tuple[Int64[np.ndarray, " kept"], Int64[np.ndarray, " taken"]]:
    """The rows to keep and the rows to take, each in ascending order.

    The same fraction of each class is taken, rounded to whole samples, but at least `fewest` and never all of them.
    """
    classes = _codes(labels)
    shuffled = rng.permutation(len(classes))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    taken = np.zeros(len(classes), dtype=bool)
    for members in np.split(by_class, np.cumsum(np.bincount(classes))[:-1]):
        taken[members[: min(max(round(fraction * len(members)), fewest), len(members) - 1)]] = True
    return np.flatnonzero(~taken), np.flatnonzero(taken)


def stratified_fold(
    labels: Sequence[Hashable], fold: int, num_folds: int, rng: np.random.Generator
) -> Int64[np.ndarray, " taken"]:
    """The rows of one of several folds, in ascending order.

    Folds differ by one sample at most, in total and in each class.

    Args:
        labels: the class of each sample.
        fold: the number of the fold, from 0.
        num_folds: the number of folds. With equal generators, each sample is in one of them.
        rng: it shuffles the samples of each class.
    """
    classes = _codes(labels)
    shuffled = rng.permutation(len(classes))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    return np.sort(by_class[fold::num_folds])


def grouped_parts(
    labels: Sequence[Hashable], groups: Sequence[Hashable], shares: Sequence[float], rng: np.random.Generator
) -> Int64[np.ndarray, " samples"]:
    """The part that each sample belongs to, when groups stay whole and classes are spread by the shares.

    Groups are assigned in turn, the most uneven first, each to the part in which the classes are then spread best: the
    algorithm of scikit-learn's `StratifiedGroupKFold`, for parts of any share. No part is empty.

    Args:
        labels: the class of each sample.
        groups: the group of each sample, at least as many as parts.
        shares: the fraction of the samples in each part.
        rng: it shuffles the groups.
    """
    classes, members = _codes(labels), _codes(groups)
    counts = np.zeros((members.max() + 1, classes.max() + 1))
    np.add.at(counts, (members, classes), 1)
    order = rng.permutation(len(counts))
    order = order[np.argsort(-counts[order].std(axis=1), kind="stable")]
    wanted = np.outer(shares, counts.sum(axis=0))
    filled, part_of_group = np.zeros_like(wanted), np.empty(len(counts), dtype=np.int64)
    for group in order:
        unevenness = []
        for part in range(len(shares)):
            filled[part] += counts[group]
            unevenness.append((filled / wanted).std(axis=0).mean())
            filled[part] -= counts[group]
        best = np.flatnonzero(np.isclose(unevenness, min(unevenness)))
        chosen = best[np.argmin((filled.sum(axis=1) / shares)[best])]
        filled[chosen] += counts[group]
        part_of_group[group] = chosen
    for part in range(len(shares)):
        if not (part_of_group == part).any():
            fullest = np.bincount(part_of_group, minlength=len(shares)).argmax()
            others = np.flatnonzero(part_of_group == fullest)
            part_of_group[others[counts[others].sum(axis=1).argmin()]] = part
    parts: np.ndarray = part_of_group[members]
    return parts


def _codes(values: Sequence[Hashable]) -> Int64[np.ndarray, " values"]:
    """A number for each distinct value, in the order of first appearance."""
    index: dict[Hashable, int] = {}
    return np.array([index.setdefault(value, len(index)) for value in values], dtype=np.int64)
