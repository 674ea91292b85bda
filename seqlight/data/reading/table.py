"""Tables in long form: one row per time step, with the id of its sequence."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int32, Int64

from seqlight.data.reading import memory
from seqlight.data.reading.arrow import is_text, plain, refuse_empty
from seqlight.data.reading.buffer import Buffer
from seqlight.data.reading.codes import Codes
from seqlight.data.reading.columns import names_of, resolve
from seqlight.data.reading.groups import Groups
from seqlight.data.reading.index_columns import RowCounters
from seqlight.data.reading.inputs import Inputs, integers_guessed
from seqlight.data.reading.labels import Labels
from seqlight.data.reading.numbers import features, is_number
from seqlight.data.reading.place import Place, first, shown
from seqlight.data.reading.raw import Columns, DataError, RawSequences
from seqlight.data.reading.steps import Numbers, Steps, order_of, repeated_step


@dataclass
class Table:
    """A table that is read in batches of rows.

    Attributes:
        path: the file.
        names: the names of all columns.
        batches: yields batches of rows with the named columns.
        estimate: the total number of rows, given the number in the first batch.
        typed: whether columns have types; if not, all are text.
    """

    path: Path
    names: list[str]
    batches: Callable[[list[str]], Iterator[pa.RecordBatch]]
    estimate: Callable[[int], int]
    typed: bool


def read_table(table: Table, request: Columns, inputs: Inputs, labelled: bool) -> RawSequences:
    """Read all rows.

    The rows of a sequence can be anywhere in the table, and in any order if there is a step column.

    Args:
        table: the source of the rows.
        request: names of columns. A column that is None is guessed.
        inputs: "tokens" reads a single column of text or integers as tokens, "features" expects numbers.
        labelled: whether each sequence must have a label.

    Raises:
        DataError: the table can't be used; the message gives the reason.
    """
    path = table.path
    columns, guesses = resolve(path, table.names, request, labelled)
    assert columns.id is not None
    assert columns.features is not None
    wanted = [columns.id, *names_of(columns.step), *names_of(columns.label), *columns.features]
    wanted += names_of(columns.group)
    ids, tokens = Codes(), Codes()
    labels = None if columns.label is None else Labels(columns.label, labelled)
    groups = None if columns.group is None else Groups(columns.group)
    codes, steps, values = Buffer(path, np.int32), None, None
    counters = RowCounters() if request.features is None and request.left_out is None else None
    for batch in table.batches(wanted):
        if batch.num_rows == 0:
            continue
        place = Place(path, len(codes) + 1)
        if values is None:
            as_tokens, guess = _are_tokens(table, batch, columns.features, inputs)
            guesses += guess
            if pa.types.is_nested(batch[columns.id].type):
                raise DataError(f"{path}: column {columns.id!r}: expected names, got {batch[columns.id].type}")
            num_rows, width = table.estimate(batch.num_rows), None if as_tokens else len(columns.features)
            memory.require(num_rows * (4 + (8 * width if width else 4) + 8 * bool(columns.step)), path)
            codes = Buffer(path, np.int32, num_rows=num_rows)
            steps = Steps(path, columns.step, num_rows) if columns.step else None
            values = Buffer(path, np.int32 if as_tokens else np.float64, width, num_rows)
        sequences = ids.encode(batch[columns.id])
        if (index := first(sequences < 0)) >= 0:
            raise place.error(index, columns.id, "the sequence that the row belongs to", "an empty cell")
        codes.append(sequences)
        if labels is not None:
            labels.append(batch, sequences, ids.of, place)
        if groups is not None:
            groups.append(batch, sequences, ids.texts, place)
        if steps is not None:
            steps.append(batch[steps.name], place)
        rows = _append(values, batch, columns.features, tokens if as_tokens else None, place)
        if counters is not None and not as_tokens:
            counters.add(rows)
    if values is None:
        raise DataError(f"{path}: expected rows, got only the names of columns")
    if counters is not None and (found := counters.found()):
        columns, guess = _leave_out(path, columns, values, found)
        guesses += guess
    names = ids.texts
    all_codes, all_values = codes.finish(), values.finish()
    pa.default_memory_pool().release_unused()
    step_values = None if steps is None else steps.values.finish()
    order = _order(path, all_codes, steps, step_values, names)
    lengths = np.bincount(all_codes, minlength=len(names))
    times = None if step_values is None else _ends(step_values, order, lengths)
    del all_codes, step_values
    if order is not None:
        for column in [all_values] if as_tokens else all_values.T:  # one at a time, to save memory
            column[:] = np.ascontiguousarray(column)[order]  # fewer cache misses
    return RawSequences(
        values=all_values,
        tokens=tokens.texts if as_tokens else None,
        lengths=lengths,
        ids=names,
        labels=None if labels is None else labels.finish(len(names)),
        label_names=columns.label if isinstance(columns.label, tuple) else None,
        columns=columns,
        guesses=guesses,
        groups=None if groups is None else groups.finish(len(names)),
        times=times,
        time_unit=None if steps is None else steps.unit,
    )


def _ends(values: Numbers, order: Int64[np.ndarray, " rows"] | None, lengths: Int64[np.ndarray, " sequences"]) -> Any:
    """The first and the last step of each sequence, (N, 2)."""
    ends = np.cumsum(lengths)
    rows = np.stack([ends - lengths, ends - 1], axis=1)
    return values[rows if order is None else order[rows]]


def _are_tokens(
    table: Table, batch: pa.RecordBatch, names: tuple[str, ...], inputs: Inputs
) -> tuple[bool, tuple[str, ...]]:
    """Whether the features are tokens, and a line about it if this is a guess."""
    if inputs == "tokens" and len(names) > 1:
        got = ", ".join(names)
        raise DataError(f'{table.path}: expected one column of tokens (`feature_columns=["NAME"]`), got {got}')
    if inputs == "features" or len(names) > 1:
        return False, ()
    column = plain(batch[names[0]])
    integers = pa.types.is_integer(column.type)
    if inputs == "tokens":
        if not integers and not is_text(column.type):
            raise DataError(f"{table.path}: column {names[0]!r}: expected tokens, text or integers, got {column.type}")
        return True, ()
    if is_text(column.type):
        if table.typed or not is_number(column[0]):  # without types, the first row decides
            guess = f'{table.path}: text of {names[0]!r} is read as tokens; as a feature with `inputs="features"`'
            return True, (guess,)
        integers = column[0].as_py().strip().lstrip("+-").isdigit()
    return False, (integers_guessed(table.path, as_tokens=False),) if integers else ()


def _append(
    values: Buffer, batch: pa.RecordBatch, names: tuple[str, ...], tokens: Codes | None, place: Place
) -> np.ndarray:
    """Add the features of a batch, or its tokens, and return them."""
    if tokens is not None:
        refuse_empty(plain(batch[names[0]]), names[0], place, "a token")
        found = tokens.encode(batch[names[0]])
        values.append(found)
        return found
    hint = 'If these are tokens: `inputs="tokens"`'
    if len(names) > 1:
        hint = (
            'If it is not a feature, name the columns that are: `feature_columns=["NAME"]`; '
            'or the group that the sequence belongs to: `group_column="NAME"`'
        )
    rows = values.extend(batch.num_rows)
    for index, name in enumerate(names):
        rows[:, index] = features(batch[name], name, place, hint)
    return rows


def _leave_out(path: Path, columns: Columns, values: Buffer, found: list[int]) -> tuple[Columns, tuple[str, ...]]:
    """The columns without those that number the rows, and a line about it."""
    assert columns.features is not None
    numbers = [columns.features[index] for index in found]
    listed = ", ".join(map(shown, numbers[:20]))
    if len(numbers) == len(columns.features):
        return columns, (f"{path}: {listed} only numbers the rows of the file, and there is no other feature",)
    counting = set(found)
    kept = [index for index in range(len(columns.features)) if index not in counting]
    values.select(kept)
    left_out = (*(columns.left_out or ()), *numbers)
    columns = replace(columns, features=tuple(columns.features[index] for index in kept), left_out=left_out)
    return columns, (
        f"{path}: {listed} numbers the rows of the file and is left out; "
        'to choose the features: `feature_columns=["NAME"]`',
    )


def _order(
    path: Path, codes: Int32[np.ndarray, " rows"], steps: Steps | None, values: Numbers | None, names: list[str]
) -> Int64[np.ndarray, " rows"] | None:
    """The permutation that sorts the rows, or None."""
    if steps is None or values is None:
        return order_of(codes, None)
    order = order_of(codes, values)
    if twice := repeated_step(codes, values, order):
        one, other = sorted(twice)
        raise DataError(
            f"{path}: rows {one + 1} and {other + 1}, column {steps.name!r}: expected distinct steps in a sequence, "
            f"got the same step twice in sequence {shown(names[codes[one]])}"
        )
    return order
