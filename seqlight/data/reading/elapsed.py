"""The time of each step since the first one of its sequence."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from seqlight.data.reading.place import reason, shown
from seqlight.data.reading.raw import DataError, RawSequences

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


class Times(NamedTuple):
    """The times of a sequence's steps.

    Attributes:
        values: rising numbers, or points in time as integers, (T,).
        unit: as in `elapsed`.
    """

    values: Int64[np.ndarray, " steps"] | Float64[np.ndarray, " steps"]
    unit: str | None


def elapsed(
    steps: Int64[np.ndarray, " steps"] | Float64[np.ndarray, " steps"],
    lengths: Int64[np.ndarray, " sequences"],
    unit: str | None,
) -> Float64[np.ndarray, " steps"]:
    """The difference from the sequence's first step, before any rounding to float32.

    Args:
        steps: numbers, or points in time as integers; sequences one after the other.
        lengths: the number of steps of each sequence.
        unit: NumPy's unit of points in time, whose differences are in seconds; None for numbers.
    """
    first = np.repeat(steps[np.cumsum(lengths) - lengths], lengths)
    since: np.ndarray = (steps - first).astype(np.float64)
    return since * 86400 if unit == "D" else since / _PER_SECOND.get(unit or "s", 1)


def add_times(raw: RawSequences, times: Any, lengths: Any, source: str) -> None:
    """Add the times of sequences in memory.

    Args:
        raw: the sequences.
        times: an array (T,) for each sequence, or one array (N, T) for all: rising numbers, or points in time.
        lengths: as in `Arrays`.
        source: the name of the sequences, for messages.

    Raises:
        DataError: the times of a sequence can't be used; the message names it.
    """
    found = list(times)
    if len(found) != len(raw.lengths):
        raise DataError(f"{source}: times: expected {len(raw.lengths)} arrays, one for each sequence, got {len(found)}")
    columns = []
    for name, length, given in zip(raw.ids, raw.lengths.tolist(), found, strict=True):
        place = f"{source}: times, sequence {name!r}"
        column = _times(given, place)
        column = column if lengths is None else column[:length]
        if column.shape != (length,):
            raise DataError(f"{place}: expected {length} times, one for each step, got shape {column.shape}")
        columns.append(column)
    kinds = {column.dtype.kind == "M" for column in columns}
    if len(kinds) > 1:
        raise DataError(f"{source}: times: expected numbers or points in time for all sequences, got both")
    raw.time_unit = "ns" if kinds == {True} else None
    numbers = [column.astype("datetime64[ns]").astype(np.int64) if raw.time_unit else column for column in columns]
    _require_rising(numbers, raw.ids, source)
    raw.elapsed = np.concatenate(
        [elapsed(column, np.array([len(column)]), raw.time_unit) for column in numbers], dtype=np.float64
    )


def _times(values: Any, place: str) -> np.ndarray:
    try:
        column = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    except (TypeError, ValueError) as error:
        raise DataError(f"{place}: expected an array of shape (T,): {reason(error)}") from None
    if column.dtype.kind not in "iufM" or column.ndim != 1:
        got = shown(column.flat[0]) if column.size and column.ndim == 1 else f"{column.dtype} {column.shape}"
        raise DataError(f"{place}: expected numbers or NumPy's datetime64 of shape (T,), got {got}")
    return column.astype(np.float64) if column.dtype.kind in "uf" else column


def _require_rising(columns: list[np.ndarray], ids: Sequence[str | int], source: str) -> None:
    for name, column in zip(ids, columns, strict=True):
        rises = np.diff(column) > 0
        if not rises.all() or (column.dtype.kind == "f" and not np.isfinite(column).all()):
            step = int(rises.argmin()) + 2
            raise DataError(f"{source}: times, sequence {name!r}, step {step}: expected a later time than before")
