"""The range of each feature, and the frequency of tokens, as they were read."""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64

from seqlight.data.reading.raw import RawSequences
from seqlight.data.scale import chunks

Kind = Literal["number", "integer-valued", "constant", "missing"]


class FeatureSummary(NamedTuple):
    """The kind and the range of a feature, over all time steps.

    Attributes:
        name: its column, or its number from 1 on.
        kind: "integer-valued" if all its numbers are integers, "constant" if they are equal, "missing" if it has none.
        lowest: the smallest number; NaN if there is none, as for the next two.
        mean: their mean.
        highest: the largest number.
        missing: the number of time steps without a number.
    """

    name: str
    kind: Kind
    lowest: float
    mean: float
    highest: float
    missing: int


def summarise_features(values: Float64[np.ndarray, "steps features"], names: tuple[str, ...]) -> list[FeatureSummary]:
    """Summaries of features, in their order.

    Args:
        values: the features before encoding; NaN where a value is missing.
        names: their names.
    """
    width = values.shape[1]
    lowest, highest, total = np.full(width, np.inf), np.full(width, -np.inf), np.zeros(width)
    integer, missing = np.ones(width, dtype=bool), np.zeros(width, dtype=np.int64)
    for chunk in chunks(values):
        block = values[chunk]
        absent = np.isnan(block)
        missing += absent.sum(0)
        lowest = np.fmin(lowest, np.fmin.reduce(block))
        highest = np.fmax(highest, np.fmax.reduce(block))
        total += np.where(absent, 0, block).sum(0)
        integer[integer] = ((block == np.rint(block)) | absent)[:, integer].all(0)
    count = len(values) - missing
    mean = np.divide(total, count, out=np.full(width, np.nan), where=count > 0)
    lowest[count == 0] = highest[count == 0] = np.nan
    return [
        FeatureSummary(name, _kind(*row[:2], is_integer=row[2]), row[0], row[3], row[1], row[4])
        for name, *row in zip(
            names, *(part.tolist() for part in (lowest, highest, integer, mean, missing)), strict=True
        )
    ]


def _kind(lowest: float, highest: float, *, is_integer: bool) -> Kind:
    if math.isnan(lowest):
        return "missing"
    if lowest == highest:
        return "constant"
    return "integer-valued" if is_integer else "number"


def token_counts(raw: RawSequences) -> Iterator[tuple[str, int]]:
    """The tokens of a file and how often each occurs, the most frequent first."""
    assert raw.tokens is not None
    counts = np.bincount(raw.values, minlength=len(raw.tokens))
    for token in np.argsort(-counts, kind="stable").tolist():
        yield raw.tokens[token], int(counts[token])
