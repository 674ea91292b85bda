"""Wide tables: one row per sequence, one column per step and feature."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float64, Int64

from seqlight.data.reading import memory
from seqlight.data.reading.arrow import is_text, plain
from seqlight.data.reading.buffer import Buffer
from seqlight.data.reading.codes import Codes
from seqlight.data.reading.columns import names_of
from seqlight.data.reading.empty import empty_sequences
from seqlight.data.reading.finite import finite_numbers
from seqlight.data.reading.groups import group_texts
from seqlight.data.reading.ids import id_texts, sequence_ids
from seqlight.data.reading.label_vectors import vector_names, vectors_guessed
from seqlight.data.reading.labels import Labels
from seqlight.data.reading.missing import HINT
from seqlight.data.reading.notation import Notation, notation_of
from seqlight.data.reading.numbers import column_numbers
from seqlight.data.reading.options import Missing, Options
from seqlight.data.reading.place import Place, first, shown
from seqlight.data.reading.raw import Columns, DataError, RawSequences
from seqlight.data.reading.table import Table
from seqlight.data.reading.wide_columns import WideColumns, resolve_wide

_NO_VALUE = r"^(?i:\s*(nan|na)?\s*)$"  # at the end of a row, past its sequence


def read_wide(table: Table, request: Columns, options: Options) -> RawSequences:
    """Read all rows. Cells at the end of a row that are empty or NaN are not a part of its sequence.

    Args:
        table: the source of the rows.
        request: names of columns, and of features without the numbers of steps. What is None is guessed.
        options: what the caller asks for.

    Raises:
        DataError: the table can't be used; the message gives the reason.
    """
    path = table.path
    if options.inputs == "tokens":
        raise DataError(f'{path}: expected text or integers (`inputs="tokens"`), got a wide table, which has numbers')
    if options.label_per == "step":
        raise DataError(f'{path}: expected a label per step (`label_per="step"`), got a wide table: one per sequence')
    columns, guesses = resolve_wide(path, table.names, request, options.labelled, table.first_row)
    of_steps = [name for names in columns.steps.values() for name in names]
    num_features, num_steps = len(columns.steps), len(of_steps) // len(columns.steps)
    values: Buffer | None = None
    ids, groups, all_lengths, num_rows = Codes(), [], [], 0
    indices: dict[str, int] = {}
    labels = None
    if columns.label is not None:
        labels = Labels(columns.label, options, 'Its column can be named: `label_column="NAME"`')
    notation, remarks = Notation(), table.remarks
    for batch in table.batches([*of_steps, *names_of(columns.id), *names_of(columns.label), *names_of(columns.group)]):
        if batch.num_rows == 0:
            continue
        place = Place(path, num_rows + 1)
        if values is None:
            memory.require(table.estimate(batch.num_rows) * 4 * len(of_steps), path, in_memory=options.in_memory)
            values = Buffer(path, np.float64, num_features, in_memory=options.in_memory)
            if not table.typed:
                notation, remark = notation_of(batch, of_steps, table.separator, path)
                remarks += remark
        sequences = np.arange(num_rows, num_rows + batch.num_rows, dtype=np.int32)
        if columns.id is not None:
            _distinct(ids, sequence_ids(batch, names_of(columns.id), place), sequences, columns, place)
        if labels is not None:
            indices.update((str(row), row) for row in sequences.tolist())
            labels.append(batch, sequences, indices, place)
        if columns.group is not None:
            groups += group_texts(batch, columns.group, place)
        numbers = np.stack([_numbers(batch[name], name, notation, place, options.missing) for name in of_steps], 1)
        numbers = numbers.reshape(-1, num_features, num_steps).transpose(0, 2, 1)
        lengths = _lengths(numbers, columns, place, options.missing)
        all_lengths.append(lengths)
        _append(values, numbers, lengths, columns, place, options.missing)
        num_rows += batch.num_rows
    if values is None:
        raise DataError(f"{path}: expected rows, got only the names of columns")
    lengths = np.concatenate(all_lengths)
    if lengths.min() < num_steps:
        remarks += (f"{path}: empty cells at the end of a row are not a part of its sequence",)
    with_steps = np.flatnonzero(lengths)
    number = num_rows - len(with_steps)
    remarks += empty_sequences(number, num_rows, f"{path}: row {lengths.argmin() + 1}", path, options.empty)
    found, label_vectors = (None, None) if labels is None else labels.finish(num_rows)
    guesses += vectors_guessed(path, label_vectors)
    names: Sequence[str | int] = id_texts(ids.texts, names_of(columns.id), path) if columns.id else range(num_rows)
    if number:
        names = [names[row] for row in with_steps.tolist()]
        found = None if found is None else [found[row] for row in with_steps.tolist()]
        groups = [groups[row] for row in with_steps.tolist()] if groups else []
    return RawSequences(
        values=values.finish(),
        tokens=None,
        lengths=lengths[with_steps],
        ids=names,
        labels=found,
        label_names=columns.label if isinstance(columns.label, tuple) else vector_names(label_vectors),
        label_vectors=label_vectors,
        numbers=options.numbers,
        columns=columns.as_columns(),
        guesses=guesses,
        remarks=remarks,
        groups=groups or None,
    )


def _numbers(
    column: pa.Array, name: str, notation: Notation, place: Place, missing: Missing
) -> Float64[np.ndarray, " rows"]:
    """The numbers of a column; NaN for cells without one."""
    column = notation.with_points(column, name, place)
    if missing == "mask":
        return column_numbers(column, name, place, missing=missing)
    if is_text(column.type):
        column = pc.if_else(pc.match_substring_regex(column, _NO_VALUE), pa.scalar(None, column.type), column)
    empty = np.asarray(pc.is_null(column).to_numpy(zero_copy_only=False))
    numbers = column_numbers(pc.fill_null(column, "0" if is_text(column.type) else 0), name, place)
    return np.where(empty, np.nan, numbers)


def _lengths(
    numbers: Float64[np.ndarray, "rows steps features"], columns: WideColumns, place: Place, missing: Missing
) -> Int64[np.ndarray, " rows"]:
    """The steps of each row up to the last one with a number."""
    unknown = np.isnan(numbers)
    has_value = ~unknown.all(2)
    num_steps = numbers.shape[1]
    lengths = np.where(has_value.any(1), num_steps - has_value[:, ::-1].argmax(1), 0)
    within = unknown & (np.arange(num_steps) < lengths[:, None])[..., None]
    if missing == "refuse" and within.any():
        row, step, feature = np.argwhere(within)[0].tolist()
        got = "an empty cell before the row's last number"
        raise place.error(row, _name(columns, step, feature), "a number", got, HINT)
    return lengths


def _append(
    values: Buffer,
    numbers: Float64[np.ndarray, "rows steps features"],
    lengths: Int64[np.ndarray, " rows"],
    columns: WideColumns,
    place: Place,
    missing: Missing,
) -> None:
    """Add the steps of each row."""
    kept = np.arange(numbers.shape[1]) < lengths[:, None]

    def error(index: tuple[int, ...], expected: str) -> DataError:
        row, step = np.argwhere(kept)[index[0]].tolist()
        return place.error(row, _name(columns, step, index[1]), expected, str(numbers[row, step, index[1]]))

    values.append(finite_numbers(numbers[kept], error, missing))


def _name(columns: WideColumns, step: int, feature: int) -> str:
    return list(columns.steps.values())[feature][step]


def _distinct(ids: Codes, column: pa.Array, sequences: np.ndarray, columns: WideColumns, place: Place) -> None:
    """Note the ids of rows, which must be distinct."""
    twice = first(ids.encode(column) != sequences)
    if twice >= 0:
        name = ", ".join(names_of(columns.id))
        got = f"{shown(str(plain(column)[twice].as_py()))} again"
        hint = 'If rows are time steps: `layout="long"`'
        raise place.error(twice, name, "one row for each sequence", got, hint)
