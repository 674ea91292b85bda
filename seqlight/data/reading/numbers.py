"""Numbers from columns of a table."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float64

from seqlight.data.reading.arrow import is_text, plain, refuse_empty
from seqlight.data.reading.finite import finite_numbers
from seqlight.data.reading.missing import HINT, without_markers
from seqlight.data.reading.notation import hint as notation_hint
from seqlight.data.reading.options import Missing
from seqlight.data.reading.place import Place, shown
from seqlight.data.reading.raw import DataError


def features(
    column: pa.Array, name: str, place: Place, hint: str = "", missing: Missing = "refuse"
) -> Float64[np.ndarray, " rows"]:
    """The numbers of a column; with `missing="mask"`, NaN where a value is missing.

    Raises:
        DataError: a cell is empty, not a number, or not finite in float32.
    """
    column = plain(column)

    def error(index: tuple[int, ...], expected: str) -> DataError:
        return place.error(index[0], name, expected, str(column[index[0]].as_py()))

    return finite_numbers(column_numbers(column, name, place, hint, missing), error, missing)


def column_numbers(
    column: pa.Array, name: str, place: Place, hint: str = "", missing: Missing = "refuse"
) -> Float64[np.ndarray, " rows"]:
    """The numbers of a column, infinities and NaN included; with `missing="mask"`, NaN where a value is missing.

    Raises:
        DataError: a cell is empty or not a number.
    """
    kind = column.type
    if pa.types.is_null(kind) and missing == "mask":
        return np.full(len(column), np.nan)
    if not (is_text(kind) or _is_number(kind)):
        end = "." if hint else ""
        raise DataError(f"{place.path}: column {name!r}: expected numbers, got {kind}{end}", hint)
    # First without checks: in a wide table, each operation on a column takes longer than the column's few cells.
    try:
        numbers = pc.cast(column, pa.float64(), safe=False)
        if not column.null_count or missing == "mask":
            return np.asarray(numbers.to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:
        pass
    if missing == "refuse":
        refuse_empty(column, name, place, "a number", HINT)
    column = pc.utf8_trim_whitespace(column if missing == "refuse" else without_markers(column))
    try:
        return np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:
        index = next(index for index, text in enumerate(column) if text.is_valid and not is_number(text))
        text = column[index].as_py()
        about = notation_hint(text)
        if text.lower() in ("true", "false"):
            hint = "Write true and false as 1 and 0"
        raise place.error(index, name, "a number", shown(text), *filter(None, (about, hint))) from None


def is_number(text: pa.Scalar) -> bool:
    """Whether text is a number."""
    try:
        pc.cast(pc.utf8_trim_whitespace(text), pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_boolean(kind))
