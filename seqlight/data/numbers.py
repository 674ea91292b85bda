"""Numbers to predict, from labels that are the text of numbers."""

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from seqlight.data.classes import names_of
from seqlight.data.reading.raw import DataError, RawSequences
from seqlight.data.scale import moments


def names_of_numbers(raw: RawSequences, path: str) -> tuple[str, ...]:
    """The names of the numbers: of their columns, or positions from 0; "value" for one without a column.

    Raises:
        DataError: if sequences have several numbers, but not equally many.
    """
    assert raw.labels is not None
    widths = {len(names_of(label)) for label in raw.labels}
    if len(widths) > 1:
        raise DataError(f"{path}: expected equally many numbers for each {raw.label_per}, got {sorted(widths)[:5]}")
    [width] = widths
    if raw.label_names is not None:
        return raw.label_names
    column = None if raw.columns is None else raw.columns.label
    if width == 1:
        return (column if isinstance(column, str) else "value",)
    return tuple(map(str, range(width)))


def numbers_of(raw: RawSequences) -> Float64[np.ndarray, "targets numbers"]:
    """The numbers of all sequences or steps (N, L)."""
    assert raw.labels is not None
    return np.array([[float(number) for number in names_of(label)] for label in raw.labels])


def moments_of_numbers(raw: RawSequences, chosen: np.ndarray, path: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each number over the chosen sequences, bool (N,), or steps (S,).

    Raises:
        DataError: if all numbers are equal.
    """
    numbers = numbers_of(raw)
    if (numbers == numbers[0]).all():
        got = ", ".join(f"{number:g}" for number in numbers[0])
        raise DataError(f"{path}: all {raw.label_per}s have the label {got}; expected numbers that differ")
    return moments(numbers, chosen)


def standardised(
    raw: RawSequences, mean: tuple[float, ...], scale: tuple[float, ...], path: str
) -> Float[Tensor, "targets numbers"]:
    """The numbers, standardised in float64 and then rounded to float32.

    Raises:
        DataError: if there are more or fewer than in training.
    """
    numbers = numbers_of(raw)
    if numbers.shape[1] != len(mean):
        raise DataError(f"{path}: expected {len(mean)} numbers for each {raw.label_per}, got {numbers.shape[1]}")
    values: Float32[np.ndarray, "targets numbers"] = ((numbers - np.array(mean)) / np.array(scale)).astype(np.float32)
    return torch.from_numpy(values)
