"""Tables in long form: one row per time step, with the id of its sequence."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int32, Int64

from seqlight.data.reading import memory
from seqlight.data.reading.arrow import is_text, plain, refuse_empty
from seqlight.data.reading.buffer import Buffer
from seqlight.data.reading.codes import Codes
from seqlight.data.reading.columns import label_hint, names_of, resolve
from seqlight.data.reading.elapsed import elapsed
from seqlight.data.reading.groups import Groups
from seqlight.data.reading.ids import id_texts, sequence_ids
from seqlight.data.reading.index_columns import RowCounters
from seqlight.data.reading.inputs import Inputs, integers_guessed
from seqlight.data.reading.label_vectors import vector_names, vectors_guessed
from seqlight.data.reading.labels import Labels
from seqlight.data.reading.notation import Notation, first_decimal, kind_of, notation_of
from seqlight.data.reading.numbers import features
from seqlight.data.reading.options import Missing, Options
from seqlight.data.reading.place import Locate, Place, first, shown
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
        first_row: the first row, if the file has no header; names are then the columns' numbers from 1 on.
        separator: what is between the columns of text.
        remarks: lines about the file.
        lists: the columns of lists, and the types of what is in the lists.
        locate: the file of a row and its number there, if the rows are those of several files.
    """

    path: Path
    names: list[str]
    batches: Callable[[list[str]], Iterator[pa.RecordBatch]]
    estimate: Callable[[int], int]
    typed: bool
    first_row: list[str] | None = None
    separator: str = ","
    remarks: tuple[str, ...] = ()
    lists: dict[str, pa.DataType] = field(default_factory=dict)
    locate: Locate | None = None


def read_table(table: Table, request: Columns, options: Options) -> RawSequences:
    """Read all rows.

    The rows of a sequence can be anywhere in the table, and in any order if there is a step column.

    Args:
        table: the source of the rows.
        request: names of columns. A column that is None is guessed.
        options: what the caller asks for. With `inputs="tokens"` a single column of text or integers is read.

    Raises:
        DataError: the table can't be used; the message gives the reason.
    """
    path = table.path
    columns, guesses = resolve(path, table.names, request, options.labelled, partial(_repeats, table))
    assert columns.id is not None
    assert columns.features is not None
    wanted = [*names_of(columns.id), *names_of(columns.step), *names_of(columns.label), *columns.features]
    wanted += names_of(columns.group)
    ids, tokens = Codes(), Codes()
    labels = None
    if columns.label is not None:
        labels = Labels(columns.label, options, label_hint(table.names, request, columns.label))
    groups = None if columns.group is None else Groups(columns.group)
    codes, steps, values, remarks, notation = Buffer(path, np.int32), None, None, table.remarks, Notation()
    counters = RowCounters() if request.features is None and request.left_out is None else None
    for batch in table.batches(wanted):
        if batch.num_rows == 0:
            continue
        place = Place(path, len(codes) + 1, table.locate)
        if values is None:
            if not table.typed and options.inputs != "tokens":
                numbers = [*columns.features, *names_of(columns.step)]
                notation, remark = notation_of(batch, numbers, table.separator, path)
                remarks += remark
            as_tokens, guess = _are_tokens(table, batch, columns.features, options.inputs, notation)
            guesses += guess
            num_rows, width = table.estimate(batch.num_rows), None if as_tokens else len(columns.features)
            size = num_rows * (4 + (8 * width if width else 4) + 8 * bool(columns.step))
            memory.require(size, path, in_memory=options.in_memory)
            codes = Buffer(path, np.int32, num_rows=num_rows, in_memory=options.in_memory)
            steps = Steps(path, columns.step, num_rows, in_memory=options.in_memory) if columns.step else None
            values = Buffer(path, np.int32 if as_tokens else np.float64, width, num_rows, in_memory=options.in_memory)
        sequences = ids.encode(sequence_ids(batch, names_of(columns.id), place))
        codes.append(sequences)
        if labels is not None:
            labels.append(batch, sequences, ids.of, place)
        if groups is not None:
            groups.append(batch, sequences, ids.texts, place)
        if steps is not None:
            steps.append(notation.with_points(batch[steps.name], steps.name, place), place)
        if as_tokens:
            guessed = options.inputs == "auto" and not table.typed
            _append_tokens(values, batch[columns.features[0]], columns.features[0], tokens, place, guessed)
        else:
            rows = _append_features(values, batch, columns.features, notation, place, options.missing)
            if counters is not None:
                counters.add(rows)
    if values is None:
        raise DataError(f"{path}: expected rows, got only the names of columns")
    if counters is not None and (places := counters.found()):
        columns, guess = _leave_out(path, columns, values, places)
        guesses += guess
    names = id_texts(ids.texts, names_of(columns.id), path)
    all_codes, all_values = codes.finish(), values.finish()
    pa.default_memory_pool().release_unused()
    step_values = None if steps is None else steps.values.finish()
    order = _order(table, all_codes, steps, step_values, names)
    lengths = np.bincount(all_codes, minlength=len(names))
    times = None if step_values is None else _ends(step_values, order, lengths)
    since = None
    if options.elapsed and steps is not None and step_values is not None:
        since = elapsed(step_values if order is None else step_values[order], lengths, steps.unit)
    step_of_row = None
    if step_values is not None and options.label_per == "step":
        step_of_row = step_values if order is None else step_values[order]
    del all_codes, step_values
    if order is not None:
        for column in [all_values] if as_tokens else all_values.T:  # one at a time, to save memory
            column[:] = np.ascontiguousarray(column)[order]  # fewer cache misses
    found, label_vectors = (None, None) if labels is None else labels.finish(len(names), order)
    guesses += vectors_guessed(path, label_vectors)
    return RawSequences(
        values=all_values,
        tokens=tokens.texts if as_tokens else None,
        lengths=lengths,
        ids=names,
        labels=found,
        label_names=columns.label if isinstance(columns.label, tuple) else vector_names(label_vectors),
        label_vectors=label_vectors,
        columns=columns,
        guesses=guesses,
        remarks=remarks,
        groups=None if groups is None else groups.finish(len(names)),
        times=times,
        time_unit=None if steps is None else steps.unit,
        elapsed=since,
        label_per=options.label_per,
        numbers=options.numbers,
        steps=step_of_row,
    )


def _ends(values: Numbers, order: Int64[np.ndarray, " rows"] | None, lengths: Int64[np.ndarray, " sequences"]) -> Any:
    """The first and the last step of each sequence, (N, 2)."""
    ends = np.cumsum(lengths)
    rows = np.stack([ends - lengths, ends - 1], axis=1)
    return values[rows if order is None else order[rows]]


def _repeats(table: Table, names: list[str]) -> set[str]:
    """The columns with some value twice in the first batch of rows."""
    for batch in table.batches(names):
        columns = {name: plain(batch[name]) for name in names if not pa.types.is_nested(batch[name].type)}
        return {name for name, column in columns.items() if pc.count_distinct(column).as_py() < len(column)}
    return set()


def _are_tokens(
    table: Table, batch: pa.RecordBatch, names: tuple[str, ...], inputs: Inputs, notation: Notation
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
        kind = kind_of(notation.with_points(column, names[0], Place(table.path, 1)))
        if kind == "tokens" or table.typed:
            such = "" if kind == "tokens" else f", such as {shown(column[0].as_py())},"
            guess = f'{table.path}: text of {names[0]!r}{such} is read as tokens; as a feature with `inputs="features"`'
            return True, (guess,)
        integers = kind == "integers"
    return False, (integers_guessed(table.path, as_tokens=False),) if integers else ()


def _append_tokens(values: Buffer, column: pa.Array, name: str, tokens: Codes, place: Place, guessed: bool) -> None:
    """Add the tokens of a batch. If it was guessed that they are tokens, decimals among them are refused."""
    refuse_empty(plain(column), name, place, "a token")
    known = len(tokens.texts)
    codes = tokens.encode(column)
    decimal = first_decimal(tokens.texts[known:]) if guessed else None
    if decimal is not None:
        raise place.error(
            first(codes == tokens.of[decimal]),
            name,
            "text as in earlier rows",
            shown(decimal),
            'If all are tokens: `inputs="tokens"`; if all are numbers: `inputs="features"`',
        )
    values.append(codes)


def _append_features(
    values: Buffer, batch: pa.RecordBatch, names: tuple[str, ...], notation: Notation, place: Place, missing: Missing
) -> np.ndarray:
    """Add the features of a batch, and return them."""
    hint = 'If these are tokens: `inputs="tokens"`'
    if len(names) > 1:
        hint = (
            'If it is not a feature, name the columns that are: `feature_columns=["NAME"]`; '
            'or the group that the sequence belongs to: `group_column="NAME"`'
        )
    rows = values.extend(batch.num_rows)
    for index, name in enumerate(names):
        rows[:, index] = features(notation.with_points(batch[name], name, place), name, place, hint, missing)
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
    table: Table, codes: Int32[np.ndarray, " rows"], steps: Steps | None, values: Numbers | None, names: list[str]
) -> Int64[np.ndarray, " rows"] | None:
    """The permutation that sorts the rows, or None."""
    if steps is None or values is None:
        return order_of(codes, None)
    order = order_of(codes, values)
    if twice := repeated_step(codes, values, order):
        (path, one), (_, other) = map(Place(table.path, 1, table.locate).row, sorted(twice))
        raise DataError(
            f"{path}: rows {one} and {other}, column {steps.name!r}: expected distinct steps in a sequence, "
            f"got the same step twice in sequence {shown(names[codes[one]])}"
        )
    return order
