"""Finite numbers that float32 can hold once they are rounded."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Shaped

from seqlight.data.reading.missing import HINT
from seqlight.data.reading.options import Missing
from seqlight.data.reading.raw import DataError

_LIMIT = (2 - 2**-24) * 2.0**127  # the smallest number that float32 rounds to infinity


def finite_numbers(
    values: Shaped[np.ndarray, "..."],
    error: Callable[[tuple[int, ...], str], DataError],
    missing: Missing = "refuse",
) -> Float64[np.ndarray, "..."]:
    """Numbers in float64, in which they are standardised. All must be finite, also in float32.

    Args:
        values: numbers of any type; they are not copied if they are in float64.
        error: makes an exception from the index of a value and what was expected.
        missing: "mask" allows NaN.

    Raises:
        DataError: from `error`, for the first value that is not finite in float32.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = values.astype(np.float64, copy=False)
        finite = np.abs(numbers) < _LIMIT
    if missing == "mask" and not finite.all() and (unknown := np.isnan(numbers)).any():
        numbers = np.where(unknown, np.nan, numbers)  # one NaN: others differ in their bits
        finite |= unknown
    if not finite.all():
        index = np.unravel_index(int(finite.argmin()), finite.shape)
        found = error(tuple(map(int, index)), "a finite number within float32's range")
        raise _with_hint(found) if np.isnan(numbers[index]) else found
    return numbers


def _with_hint(error: DataError) -> DataError:
    """The error with a line about missing values."""
    place, *hints = error.args
    return DataError(place if place.endswith(".") else f"{place}.", *hints, HINT)
