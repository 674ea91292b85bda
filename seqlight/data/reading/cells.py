"""Columns of a table as numbers and as codes."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float32, Float64, Int32

from seqlight.data.reading.raw import DataError


@dataclass
class Place:
    """Where the rows of a batch stand in their file; rows are counted from 1.

    Attributes:
        path: the file.
        first_row: the number of the batch's first row.
    """

    path: Path
    first_row: int

    def error(self, index: int, column: str, expected: str, got: str, hint: str = "") -> DataError:
        """An error that names the cell at `index` of this batch."""
        where = f"{self.path}: row {self.first_row + index}, column {column!r}"
        return DataError(f"{where}: expected {expected}, got {got}" + (f".\n{hint}" if hint else ""))


def shown(value: object) -> str:
    """A value for a message: at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of that type holds text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def plain(column: pa.Array) -> pa.Array:
    """The column without dictionary encoding, as text of one kind if it is text."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.string()) if is_text(column.type) and not pa.types.is_string(column.type) else column


def as_text(value: object) -> str:
    """A value as text: integral numbers as integers."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def features(column: pa.Array, name: str, place: Place, hint: str = "") -> Float32[np.ndarray, " rows"]:
    """The numbers of a column.

    Raises:
        DataError: a cell is empty, no number, or not finite in float32.
    """
    column = plain(column)
    numbers = column_numbers(column, name, place, hint)
    with np.errstate(over="ignore"):
        single = numbers.astype(np.float32)
    finite = np.isfinite(single)
    if not finite.all():
        index = int(finite.argmin())
        raise place.error(index, name, "a finite number within float32's range", str(column[index].as_py()))
    return single


def column_numbers(column: pa.Array, name: str, place: Place, hint: str = "") -> Float64[np.ndarray, " rows"]:
    """The numbers of a column, infinities and NaN included.

    Raises:
        DataError: a cell is empty or no number.
    """
    kind = column.type
    if not (is_text(kind) or _is_number(kind)):
        raise DataError(f"{place.path}: column {name!r}: expected numbers, got {kind}" + (f".\n{hint}" if hint else ""))
    refuse_empty(column, name, place, "a number")
    try:
        return np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:
        column = pc.utf8_trim_whitespace(column)
    try:
        return np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:
        index = next(index for index, text in enumerate(column) if not is_number(text))
        raise place.error(index, name, "a number", shown(column[index].as_py()), hint) from None


def is_number(text: pa.Scalar) -> bool:
    """Whether text is a number."""
    try:
        pc.cast(pc.utf8_trim_whitespace(text), pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def refuse_empty(column: pa.Array, name: str, place: Place, expected: str) -> None:
    """Refuse a column with an empty cell.

    Raises:
        DataError: names the first.
    """
    if column.null_count or is_text(column.type):
        empty = pc.is_null(column)
        if is_text(column.type):
            empty = pc.or_(empty, pc.equal(column, "").fill_null(True))
        index = pc.index(empty, True).as_py()
        if index >= 0:
            raise place.error(index, name, expected, "an empty cell")


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_boolean(kind))


class Codes:
    """Distinct values, numbered in the order of their first appearance.

    Attributes:
        of: the number of each value.
    """

    def __init__(self) -> None:
        self.of: dict[str, int] = {}

    def encode(self, column: pa.Array) -> Int32[np.ndarray, " rows"]:
        """The number of each row's value as text; -1 where the cell is empty."""
        encoded = plain(column).dictionary_encode()
        # Each batch has its own dictionary, so Python looks at distinct values only.
        codes = [-1 if _is_empty(value) else self._code(as_text(value)) for value in encoded.dictionary.to_pylist()]
        indices = encoded.indices.fill_null(len(codes)).to_numpy(zero_copy_only=False)
        return np.asarray(np.asarray([*codes, -1], np.int32)[indices])

    def _code(self, text: str) -> int:
        return self.of.setdefault(text, len(self.of))


def _is_empty(value: Any) -> bool:
    return value is None or value == "" or value != value  # NaN


_INTEGRAL = re.compile(r"([+-]?\d+)\.0*")


def class_name(value: object) -> str:
    """The name of a class: 1 and 1.0 are the same.

    Raises:
        ValueError: a number with decimals.
    """
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(value)
    text = as_text(value)
    integral = _INTEGRAL.fullmatch(text)
    return integral[1] if integral else text


def first(flags: Any) -> int:
    """The index of the first True, or -1."""
    index = int(np.argmax(flags)) if len(flags) else 0
    return index if len(flags) and flags[index] else -1
