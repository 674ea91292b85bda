"""Arrow columns: types of text, empty cells."""

import pyarrow as pa
import pyarrow.compute as pc

from seqlight.data.reading.place import Place


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_list(kind: pa.DataType | None) -> bool:
    """Whether a column of this type holds lists."""
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def lists_of(schema: pa.Schema) -> dict[str, pa.DataType]:
    """The columns of lists, and the types of what is in the lists."""
    return {field.name: field.type.value_type for field in schema if is_list(field.type)}


def plain(column: pa.Array) -> pa.Array:
    """The column without dictionary encoding. All types of text become `string`."""
    if pa.types.is_dictionary(column.type):
        if pa.types.is_string_view(column.type.value_type):  # as in polars; Arrow can't decode it
            column = pa.DictionaryArray.from_arrays(column.indices, column.dictionary.cast(pa.string()))
        column = column.dictionary_decode()
    return column.cast(pa.string()) if is_text(column.type) and not pa.types.is_string(column.type) else column


def refuse_empty(column: pa.Array, name: str, place: Place, expected: str, hint: str = "") -> None:
    """Refuse a column with an empty cell. The hint is a line of the message.

    Raises:
        DataError: names the first empty cell.
    """
    if column.null_count or is_text(column.type):
        empty = pc.is_null(column)
        if is_text(column.type):
            empty = pc.or_(empty, pc.equal(column, "").fill_null(True))
        index = pc.index(empty, True).as_py()
        if index >= 0:
            raise place.error(index, name, expected, "an empty cell", hint)
