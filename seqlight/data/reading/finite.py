"""Finite numbers that float32 can hold once they are rounded."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Shaped

_LIMIT = (2 - 2**-24) * 2.0**127  # the smallest number that float32 rounds to infinity


def finite_numbers(
    values: Shaped[np.ndarray, "..."], error: Callable[[tuple[int, ...], str], Exception]
) -> Float64[np.ndarray, "..."]:
    """Numbers in float64, in which they are standardised. All must be finite, also in float32.

    Args:
        values: numbers of any type; they are not copied if they are in float64.
        error: makes an exception from the index of a value and what was expected.

    Raises:
        Exception: from `error`, for the first value that is not finite in float32.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = values.astype(np.float64, copy=False)
        finite = np.abs(numbers) < _LIMIT
    if not finite.all():
        index = np.unravel_index(int(finite.argmin()), finite.shape)
        raise error(tuple(map(int, index)), "a finite number within float32's range")
    return numbers
