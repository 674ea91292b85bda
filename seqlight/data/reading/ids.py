"""The sequences that the rows of a table belong to: one column, or several together."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from seqlight.data.reading.arrow import plain
from seqlight.data.reading.place import Place, first
from seqlight.data.reading.raw import DataError

_BETWEEN = "\x1f"  # ASCII's unit separator
_SHOWN_BETWEEN = "/"


def sequence_ids(batch: pa.RecordBatch, names: tuple[str, ...], place: Place) -> pa.Array:
    """The id of each row's sequence; ids of several columns are joined.

    Raises:
        DataError: a cell is empty, or a column does not hold names.
    """
    columns = []
    for name in names:
        column = plain(batch[name])
        if pa.types.is_nested(column.type):
            raise DataError(f"{place.path}: column {name!r}: expected names, got {column.type}")
        empty = pc.is_null(column, nan_is_null=True)
        if pa.types.is_string(column.type):
            empty = pc.or_(empty, pc.equal(column, "").fill_null(True))
        if (index := first(empty.to_numpy(zero_copy_only=False))) >= 0:
            raise place.error(index, name, "the sequence that the row belongs to", "an empty cell")
        columns.append(column)
    if len(columns) == 1:
        return columns[0]
    return pc.binary_join_element_wise(*(column.cast(pa.string()) for column in columns), _BETWEEN)


def id_texts(ids: list[str], names: tuple[str, ...], path: Path) -> list[str]:
    """The ids for people: those of several columns joined by a slash.

    Raises:
        DataError: two sequences would have the same id.
    """
    if len(names) == 1:
        return ids
    texts = [name.replace(_BETWEEN, _SHOWN_BETWEEN) for name in ids]
    if len(set(texts)) < len(texts):
        expected = f"expected id columns without {_SHOWN_BETWEEN!r}, which joins them"
        raise DataError(f"{path}: {expected}, got the same id for two sequences")
    return texts
