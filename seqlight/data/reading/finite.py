"""Numbers that float32 can hold."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped


def to_float32(
    values: Shaped[np.ndarray, "..."], error: Callable[[tuple[int, ...], str], Exception]
) -> Float32[np.ndarray, "..."]:
    """Convert numbers to float32. All must be finite.

    Args:
        values: numbers of any type.
        error: makes an exception from the index of a value and what was expected.

    Raises:
        Exception: from `error`, for the first value that is not finite in float32.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        converted: np.ndarray[Any, np.dtype[np.float32]] = values.astype(np.float32)
    finite = np.isfinite(converted)
    if not finite.all():
        index = np.unravel_index(int(finite.argmin()), finite.shape)
        raise error(tuple(map(int, index)), "a finite number within float32's range")
    return converted
