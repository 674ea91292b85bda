"""Numbers that float32 can hold."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped


def to_float32(
    values: Shaped[np.ndarray, "..."], error: Callable[[tuple[int, ...], str], Exception]
) -> Float32[np.ndarray, "..."]:
    """Numbers in single precision, all of them finite.

    Args:
        values: numbers of any type.
        error: makes an error of the index of a value and what was expected there.

    Raises:
        Exception: that of `error`, for the first value that is not finite in float32.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        single: np.ndarray[Any, np.dtype[np.float32]] = values.astype(np.float32)
    finite = np.isfinite(single)
    if not finite.all():
        index = np.unravel_index(int(finite.argmin()), finite.shape)
        raise error(tuple(map(int, index)), "a finite number within float32's range")
    return single
