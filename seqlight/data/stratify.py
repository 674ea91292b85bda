"""Stratified splits of labelled samples."""

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Int64


def stratified_split(
    labels: Sequence[Hashable], fraction: float, rng: np.random.Generator
) -> tuple[Int64[np.ndarray, " kept"], Int64[np.ndarray, " taken"]]:
    """The rows to keep and the rows to take, each in ascending order.

    The same fraction of each class is taken, rounded to whole samples, but never all of its samples.
    """
    index: dict[Hashable, int] = {}
    classes = np.array([index.setdefault(label, len(index)) for label in labels])
    shuffled = rng.permutation(len(classes))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    taken = np.zeros(len(classes), dtype=bool)
    for members in np.split(by_class, np.cumsum(np.bincount(classes))[:-1]):
        taken[members[: min(round(fraction * len(members)), len(members) - 1)]] = True
    return np.flatnonzero(~taken), np.flatnonzero(taken)
