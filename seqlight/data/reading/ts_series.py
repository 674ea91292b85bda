"""A series of a .ts file: dimensions between ':', values between ',', and perhaps the time of each value."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float64

from seqlight.data.reading.elapsed import Times
from seqlight.data.reading.missing import HINT, without_markers
from seqlight.data.reading.numbers import is_number
from seqlight.data.reading.options import Missing
from seqlight.data.reading.place import shown
from seqlight.data.reading.raw import DataError

_COLON = re.compile(r":(?![^()]*\))")  # not within parentheses, where it is a part of a time
_PAIR = re.compile(r"\s*\(([^(),]*),([^(),]*)\)\s*(?:,|\Z)")


def between_colons(line: str) -> list[str]:
    """The parts of a line: its dimensions and its class."""
    return _COLON.split(line) if "(" in line else line.split(":")


def timed_series(
    dimensions: list[str], place: str, missing: Missing = "refuse"
) -> tuple[Float64[np.ndarray, "steps dimensions"], Times]:
    """The values of dimensions such as (0,1.5),(1,2.5), sorted by their times, and these.

    Raises:
        DataError: a part is not a pair of time and value, or times are missing, repeated, or not the same in all
            dimensions.
    """
    times: list[str] = []
    values = []
    for number, text in enumerate(dimensions, 1):
        pairs = _pairs(text, f"{place}, dimension {number}")
        found = [time for time, _ in pairs]
        if number == 1:
            times = found
        elif found != times:
            raise DataError(f"{place}, dimension {number}: expected the times of dimension 1, got others")
        values.append(",".join(value for _, value in pairs))
    numbers, unit = _as_numbers(times, place)
    order = np.argsort(numbers, kind="stable")
    if (again := np.flatnonzero(np.diff(numbers[order]) == 0)).size:
        raise DataError(f"{place}: expected distinct times, got {shown(times[order[again[0]]])} twice")
    return series(values, place, missing)[order], Times(numbers[order], unit)


def _pairs(text: str, place: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    start = 0
    while start < len(text):
        found = _PAIR.match(text, start)
        if found is None:
            got = shown(text[start : start + 40])
            raise DataError(f"{place}, step {len(pairs) + 1}: expected (time,value) (@timestamps true), got {got}")
        pairs.append((found[1].strip(), found[2]))
        start = found.end()
    return pairs


def _as_numbers(times: list[str], place: str) -> Times:
    """Times as numbers of one kind."""
    column = pa.array(times, pa.string())
    for kind in (pa.int64(), pa.float64(), pa.timestamp("ns"), pa.timestamp("ns", "UTC")):
        try:
            read = pc.cast(column, kind)
        except pa.ArrowInvalid:
            continue
        numbers = np.asarray(read if kind in (pa.int64(), pa.float64()) else read.cast(pa.int64()))
        if not np.isnan(numbers).any():
            return Times(numbers, None if kind in (pa.int64(), pa.float64()) else "ns")
    raise DataError(f"{place}: expected times that are all numbers or all ISO dates, got {shown(times[0])} and others")


def series(dimensions: list[str], place: str, missing: Missing = "refuse") -> Float64[np.ndarray, "steps dimensions"]:
    """The values of dimensions such as 1.5,2.5; with `missing="mask"`, NaN for values such as ?.

    Raises:
        DataError: a value is not a number, or dimensions have unequal lengths.
    """
    split = pc.split_pattern(pa.array(dimensions, pa.string()), ",")
    lengths = np.diff(split.offsets)
    for number, (text, length) in enumerate(zip(dimensions, lengths, strict=True), 1):
        if not text.strip():
            raise DataError(f"{place}, dimension {number}: expected at least one value, got a sequence of length 0")
        if length != lengths[0]:
            raise DataError(
                f"{place}, dimension {number}: expected {lengths[0]} values, as in dimension 1, got {length}"
            )
    cells = pc.utf8_trim_whitespace(split.values)
    try:
        numbers = pc.cast(cells if missing == "refuse" else without_markers(cells), pa.float64())
        return np.asarray(numbers.to_numpy(zero_copy_only=False)).reshape(len(dimensions), -1).T
    except pa.ArrowInvalid:
        index = next(index for index, cell in enumerate(cells) if not is_number(cell))
        dimension, step = divmod(index, int(lengths[0]))
        is_missing = missing == "refuse" and without_markers(cells)[index].as_py() is None
        got = ("a missing value, " if is_missing else "") + shown(cells[index].as_py()) + ("." if is_missing else "")
        where = f"{place}, dimension {dimension + 1}, step {step + 1}"
        raise DataError(f"{where}: expected a number, got {got}", HINT if is_missing else "") from None
