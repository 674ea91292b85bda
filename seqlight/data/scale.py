"""Standardisation in float64, and its results in float32."""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool, Float32, Float64

from seqlight.data.reading.raw import DataError, RawSequences

_CHUNK = 1 << 18  # values per computation, to limit its memory
_MOST_LOST = 0.01  # of a feature's standard deviation


def moments(
    values: Float64[np.ndarray, "steps features"], steps: slice | Bool[np.ndarray, " steps"]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each feature, without NaN. For a constant one the deviation is replaced by 1.

    Args:
        values: the features.
        steps: the time steps that count.

    Returns:
        The means, NaN for a feature without a number, and the deviations.
    """
    chosen = np.ones(len(values), dtype=bool) if isinstance(steps, slice) else steps
    # Differences from a value are exact where the values are close together: a large offset costs no precision.
    origin = values[int(chosen.argmax())]
    if np.isnan(origin).any():
        origin = _first_numbers(values, chosen)

    def mean_of(function: Callable[[np.ndarray], np.ndarray]) -> Float64[np.ndarray, " features"]:
        count = np.full(len(origin), np.count_nonzero(chosen))
        sums = []
        for chunk in chunks(values):
            block = function(values[chunk][chosen[chunk]] - origin)
            total = block.sum(0)
            if np.isnan(total).any():
                total, count = np.nansum(block, 0), count - np.isnan(block).sum(0)
            sums.append(total)
        with np.errstate(invalid="ignore"):  # 0 / 0 for a feature without a number
            mean: np.ndarray = np.sum(sums, axis=0) / count
        return mean

    shift = mean_of(lambda block: block)
    deviation = np.sqrt(mean_of(lambda block: (block - shift) ** 2))
    mean = origin + shift
    # A constant's deviation can differ from 0 by the rounding of the file's numbers.
    scale = np.where(deviation > 4 * np.finfo(np.float64).eps * np.abs(mean), deviation, 1.0)
    return tuple(mean.tolist()), tuple(scale.tolist())


def _first_numbers(
    values: Float64[np.ndarray, "steps features"], chosen: Bool[np.ndarray, " steps"]
) -> Float64[np.ndarray, " features"]:
    """The first number of each feature in the chosen steps; NaN if there is none."""
    found = np.full(values.shape[1], np.nan)
    for chunk in chunks(values):
        block = values[chunk][chosen[chunk]]
        known = ~np.isnan(block)
        new = np.flatnonzero(np.isnan(found) & known.any(0))
        found[new] = block[known[:, new].argmax(0), new]
        if not np.isnan(found).any():
            break
    return found


def standardise(
    raw: RawSequences, mean: tuple[float, ...] | None, scale: tuple[float, ...] | None, path: str
) -> Float32[np.ndarray, "steps features"]:
    """The features of a file, standardised in float64 and then rounded to float32.

    The result takes the memory of `raw.values`, whose second half is returned to the system: both together would need
    half as much again.

    Args:
        raw: the contents of the file; its `values` become the result.
        mean: the number that is subtracted from each feature; None changes nothing.
        scale: the divisor of each feature.
        path: the file, for messages.

    Raises:
        DataError: if a standardised value is not finite in float32.
    """
    values = np.ascontiguousarray(raw.values, dtype=np.float64)
    shape = values.shape
    rounded = values.reshape(-1).view(np.float32)[: values.size].reshape(shape)
    for chunk in chunks(values):
        # Results lie before the values that are still to be read, since they take half the room.
        with np.errstate(over="ignore"):
            block = values[chunk] if mean is None else (values[chunk] - np.array(mean)) / np.array(scale)
            block = block.astype(np.float32)
        if not np.isfinite(block).all():
            raise DataError(f"{path}: a feature is so far from its range in training that it can't be standardised")
        rounded[chunk] = block
    owner = values if values.base is None else values.base
    raw.values = rounded
    if isinstance(owner, np.ndarray) and owner.dtype == np.float64 and owner.size == values.size:
        raw.values = np.empty(shape, np.float32)[:0]
        del values, rounded
        with contextlib.suppress(ValueError):  # there are other views
            owner.resize((-(-int(np.prod(shape)) // 2),))
        raw.values = owner.reshape(-1).view(np.float32)[: int(np.prod(shape))].reshape(shape)
    return raw.values


def lost_in_float32(values: Float64[np.ndarray, "steps features"]) -> dict[int, float]:
    """The features of which float32 loses more than 1 %: the largest rounding error, by number of the feature.

    Args:
        values: the features, as they were read.

    Returns:
        The error as a fraction of the feature's standard deviation.
    """
    error = np.zeros(values.shape[1])
    for chunk in chunks(values):
        # NaN, for a missing value, has no error.
        np.fmax(error, np.fmax.reduce(np.abs(values[chunk] - values[chunk].astype(np.float32)), 0), out=error)
    if not error.any():
        return {}
    lost = error / np.array(moments(values, slice(None))[1])
    return {int(feature): float(lost[feature]) for feature in np.flatnonzero(lost > _MOST_LOST)}


def chunks(values: np.ndarray) -> Iterator[slice]:
    """Slices of the first dimension, which together are the whole array."""
    size = max(_CHUNK // max(values[:1].size, 1), 1)
    return (slice(start, start + size) for start in range(0, len(values), size))
