"""Labels in memory."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from seqlight.data.reading.names import class_name
from seqlight.data.reading.options import Options
from seqlight.data.reading.place import shown
from seqlight.data.reading.raw import DataError, Label
from seqlight.data.reading.step_labels import numbers_of


def read_labels(
    values: Any, ids: Sequence[str | int], options: Options, source: str
) -> tuple[list[Label] | None, tuple[str, ...] | None]:
    """The label of each sequence; and for vectors of 0 and 1 the names of all labels, their positions.

    Args:
        values: N classes; or N vectors of 0 and 1, all of the same length L of at least 2; or N lists of label names.
        ids: the names of the sequences, for messages.
        options: how labels are read. If they are numbers to predict, N numbers, or N vectors of numbers.
        source: the name of the sequences, for messages.

    Raises:
        DataError: a label is missing or can't be used, or there are more or fewer than sequences.
    """
    rows = _rows(values)
    if not isinstance(rows, list) or len(rows) != len(ids):
        got = len(rows) if isinstance(rows, list) else shown(values)
        raise DataError(f"{source}: labels: expected {len(ids)}, one for each sequence, got {got}")
    lists = [isinstance(row, list) for row in rows]
    if all(lists):
        is_array = not isinstance(values, list | tuple)
        if is_array and len(rows[0]) == 1:
            return read_labels([row[0] for row in rows], ids, options, source)
        if options.numbers:
            if len({len(row) for row in rows}) > 1:
                raise DataError(f"{source}: labels: expected equally many numbers for each sequence")
            names = tuple(map(str, range(len(rows[0]))))
            errors = (partial(_error, source, name) for name in ids)
            return [numbers_of(row, options, error) for row, error in zip(rows, errors, strict=True)], names
        width = _vector_width(rows)
        if is_array and not width:
            row, got = next((row, part) for row, parts in enumerate(rows) for part in parts if not _is_bit(part))
            raise _error(source, ids[row], "a class, or 0 or 1 for each label", shown(got))
        if width > 1:
            names = tuple(map(str, range(width)))
            return [tuple(names[place] for place in np.flatnonzero(row)) for row in rows], names
    elif any(lists):
        other = lists.index(not lists[0])
        kinds = {False: "one class", True: "a list of labels"}
        raise _error(
            source,
            ids[other],
            f"{kinds[lists[0]]}, as for earlier sequences",
            f"{kinds[lists[other]]}, {shown(rows[other])}",
        )
    known: dict[Label, Label] = {}  # one object for equal labels saves memory
    labels: list[Label] = []
    for name, row in zip(ids, rows, strict=True):
        label = _names(row, name, source) if isinstance(row, list) else _class(row, name, options, source)
        labels.append(known.setdefault(label, label))
    return labels if known.keys() - {None} else None, None


def _rows(values: Any) -> Any:
    """The labels as Python objects: of tensors, arrays, frames' columns, lists, and sets or tuples in them."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    if isinstance(values, list | tuple):
        return [_row(value) for value in values]
    try:
        rows = np.asarray(values).tolist()
    except (TypeError, ValueError):
        return None
    return [_row(row) for row in rows] if isinstance(rows, list) else rows


def _row(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if isinstance(value, tuple):
        return list(value)
    value = value.detach().cpu() if hasattr(value, "detach") else value
    value = value.tolist() if hasattr(value, "tolist") else value  # of NumPy's and torch's types
    # pandas' NA can't be compared, not even with itself.
    return None if type(value).__name__ == "NAType" else value


def _vector_width(rows: list[Any]) -> int:
    """The number of labels in vectors of 0 and 1; 0 if these are not vectors."""
    widths = set(map(len, rows))
    width: int = widths.pop()
    return width if not widths and all(_is_bit(part) for row in rows for part in row) else 0


def _is_bit(value: object) -> bool:
    return isinstance(value, int | float) and value in (0, 1)


def _names(row: list[Any], name: str | int, source: str) -> tuple[str, ...]:
    """The names in a list of labels."""
    if wrong := [part for part in row if not isinstance(part, str | int)]:
        raise _error(source, name, "a list of names, or of 0 and 1 for each label", shown(wrong[0]))
    names = tuple(map(class_name, row))
    if len(set(names)) < len(names):
        raise _error(source, name, "a list of distinct labels, or of 0 and 1 for each label", shown(row))
    return names


def _class(value: Any, name: str | int, options: Options, source: str) -> str | None:
    return options.read_label(value, options.labelled, partial(_error, source, name))


def _error(source: str, name: str | int, expected: str, got: object) -> DataError:
    return DataError(f"{source}: label of sequence {name!r}: expected {expected}, got {got}")
