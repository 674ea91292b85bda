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
    index: dict[Hashable, int] = {}
    classes = np.array([index.setdefault(label, len(index)) for label in labels])
    shuffled = rng.permutation(len(classes))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    taken = np.zeros(len(classes), dtype=bool)
    for members in np.split(by_class, np.cumsum(np.bincount(classes))[:-1]):
        taken[members[: min(max(round(fraction * len(members)), fewest), len(members) - 1)]] = True
    return np.flatnonzero(~taken), np.flatnonzero(taken)
