"""The order of rows: one sequence after the other, each sorted by its steps."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float64, Int32, Int64

from seqlight.data.reading.arrow import is_text, plain, refuse_empty
from seqlight.data.reading.buffer import Buffer
from seqlight.data.reading.numbers import column_numbers
from seqlight.data.reading.place import Place, first, shown

Numbers = Int64[np.ndarray, " rows"] | Float64[np.ndarray, " rows"]

_KINDS = (pa.int64(), pa.float64(), pa.timestamp("ns"), pa.timestamp("ns", "UTC"))
_CHUNK = 1 << 20


class Steps:
    """A step column: integers, other numbers, or points in time.

    The first cells of a text column decide which. Integers can be followed by decimals.

    Attributes:
        name: the column.
        values: the steps.
        unit: NumPy's unit of points in time, since 1970 in UTC; None for numbers.
    """

    def __init__(self, path: Path, name: str, num_rows: int, *, in_memory: bool = True) -> None:
        self.name = name
        self.values = Buffer(path, np.int64, num_rows=num_rows, in_memory=in_memory)
        self.unit: str | None = None
        self._kinds: tuple[pa.DataType, ...] = _KINDS

    def append(self, column: pa.Array, place: Place) -> None:
        """Add rows.

        Raises:
            DataError: a cell is empty, or of another type than earlier cells.
        """
        column = plain(column)
        refuse_empty(column, self.name, place, "a step")
        numbers = self._read(column, place)
        if numbers.dtype == np.float64:
            if (index := first(np.isnan(numbers))) >= 0:
                raise place.error(index, self.name, "a step", "NaN")
            self.values.convert(np.float64)
        self.values.append(numbers)

    def _read(self, column: pa.Array, place: Place) -> Numbers:
        if pa.types.is_temporal(column.type):
            self.unit = _unit(column.type)
            integers = column.cast(pa.int32() if column.type.bit_width == 32 else pa.int64())
            return np.asarray(integers).astype(np.int64)
        if not is_text(column.type):
            if pa.types.is_integer(column.type) and column.type != pa.uint64():
                return np.asarray(column).astype(np.int64)
            return column_numbers(column, self.name, place)
        column = pc.utf8_trim_whitespace(column)
        for kind in self._kinds:
            if (read := _cast(column, kind)) is not None:
                self._kinds = (pa.int64(), pa.float64()) if kind == pa.int64() else (kind,)
                self.unit = _unit(kind)
                return np.asarray(read if kind == pa.float64() else read.cast(pa.int64()))
        if not len(self.values):  # the first cell decides what the message expects
            self._kinds = tuple(kind for kind in self._kinds if _cast(column[:1], kind) is not None)
        index = next(
            (
                index
                for index in range(len(column))
                if all(_cast(column[index : index + 1], k) is None for k in self._kinds)
            ),
            0,
        )
        raise place.error(
            index,
            self.name,
            f"a step of the same type as before ({self._kinds[-1]})" if self._kinds else "a number or an ISO date",
            shown(column[index].as_py()),
        )


def _unit(kind: pa.DataType) -> str | None:
    """NumPy's unit of points in time; None for other types."""
    if pa.types.is_date(kind):
        return "D" if pa.types.is_date32(kind) else "ms"
    return str(kind.unit) if pa.types.is_timestamp(kind) else None


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array | None:
    try:
        return pc.cast(column, kind)
    except pa.ArrowInvalid:
        return None


def order_of(codes: Int32[np.ndarray, " rows"], steps: Numbers | None) -> Int64[np.ndarray, " rows"] | None:
    """The permutation that sorts the rows, or None if they are sorted.

    Args:
        codes: (S,), the sequence of each row, numbered by first appearance.
        steps: (S,), the sort key within a sequence; None keeps the order of its rows.
    """
    for start in range(0, len(codes), _CHUNK):  # in chunks, to save memory
        code = codes[start : start + _CHUNK + 1]
        in_order = code[1:] >= code[:-1]
        if steps is not None:
            step = steps[start : start + _CHUNK + 1]
            in_order &= (code[1:] != code[:-1]) | (step[1:] >= step[:-1])
        if not in_order.all():
            return np.argsort(codes, kind="stable") if steps is None else np.lexsort((steps, codes))
    return None


def repeated_step(
    codes: Int32[np.ndarray, " rows"], steps: Numbers, order: Int64[np.ndarray, " rows"] | None
) -> tuple[int, int] | None:
    """The indices of two rows of one sequence with the same step, or None."""
    for start in range(0, len(codes), _CHUNK):
        rows = slice(start, start + _CHUNK + 1)
        index = np.arange(start, min(rows.stop, len(codes))) if order is None else order[rows]
        code, step = codes[index], steps[index]
        found = first((code[1:] == code[:-1]) & (step[1:] == step[:-1]))
        if found >= 0:
            return int(index[found]), int(index[found + 1])
    return None
