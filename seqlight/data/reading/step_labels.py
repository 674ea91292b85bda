"""Labels of time steps, in arrays and lists."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Shaped

from seqlight.data.reading.options import Options
from seqlight.data.reading.place import shown
from seqlight.data.reading.raw import DataError, Label


def labels_of_steps(
    values: Shaped[np.ndarray, " steps"], options: Options, error: Callable[[int, str, object], DataError]
) -> list[Label] | None:
    """The label of each step; None if no step has one.

    Args:
        values: numbers or text, of all steps.
        options: how labels are read.
        error: makes an exception from the index of a step, what was expected and what was found.

    Raises:
        DataError: from `error`, if a label is missing or no class.
    """
    distinct, first, codes = np.unique(values, return_index=True, return_inverse=True)
    labels = [
        options.read_label(value, options.labelled, partial(error, int(row)))
        for value, row in zip(distinct.tolist(), first.tolist(), strict=True)
    ]
    return [labels[code] for code in codes.tolist()] if any(label is not None for label in labels) else None


def numbers_of(
    values: Sequence[object], options: Options, error: Callable[[str, object], DataError]
) -> tuple[str, ...] | None:
    """Several numbers to predict; None if one of them is missing and may be.

    Raises:
        DataError: from `error`, if one is no finite number, or is missing and must not be.
    """
    numbers = [options.read_label(value, options.labelled, error) for value in values]
    known = tuple(number for number in numbers if number is not None)
    return known if len(known) == len(numbers) else None


def read_step_labels(
    values: Any, lengths: Sequence[int], ids: Sequence[str | int], options: Options, source: str, *, padded: bool
) -> list[Label] | None:
    """The labels of all steps of sequences in memory; None if none has one.

    Args:
        values: N arrays or lists (T,), or one array (N, T).
        lengths: the number of steps of each sequence.
        ids: the names of the sequences, for messages.
        options: how labels are read.
        source: the name of the sequences, for messages.
        padded: whether labels can be padded like the inputs.

    Raises:
        DataError: a label is missing or can't be used, or there are more or fewer than steps.
    """
    values = values.detach().cpu() if hasattr(values, "detach") else values
    rows = list(values) if hasattr(values, "__iter__") and not isinstance(values, str) else None
    if rows is None or len(rows) != len(lengths):
        got = shown(values) if rows is None else f"{len(rows)}"
        raise DataError(f"{source}: labels: expected {len(lengths)} lists of labels, one for each sequence, got {got}")
    parts = []
    for name, row, length in zip(ids, rows, lengths, strict=True):
        part = np.asarray(row.detach().cpu() if hasattr(row, "detach") else row)
        if part.dtype.kind == "O":  # as of pandas and polars, or with None for an unknown label
            part = np.array([np.nan if type(each).__name__ == "NAType" else each for each in part.tolist()], object)
        if part.ndim != 1 or len(part) < length or (len(part) > length and not padded):
            got = f"{len(part)}" if part.ndim == 1 else shown(row)
            raise DataError(
                f"{source}: labels of sequence {name!r}: expected {length} labels, one for each step "
                f'(`label_per="step"`), got {got}'
            )
        parts.append(part[:length])
    known: dict[Label, Label] = {}  # one object for equal labels saves memory
    labels: list[Label] = []
    for name, part in zip(ids, parts, strict=True):
        for step, value in enumerate(part.tolist(), 1):
            error = partial(_error, f"{source}: label of sequence {name!r}, step {step}")
            label = options.read_label(value, options.labelled, error)
            labels.append(known.setdefault(label, label))
    return labels if known.keys() - {None} else None


def _error(place: str, expected: str, got: object) -> DataError:
    return DataError(f"{place}: expected {expected}, got {got}")
