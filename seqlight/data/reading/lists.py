"""Tables with a row for each sequence, whose columns are lists of steps."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seqlight.data.reading.arrow import is_list, plain
from seqlight.data.reading.codes import Codes
from seqlight.data.reading.columns import guess, names_of
from seqlight.data.reading.empty import empty_sequences
from seqlight.data.reading.ids import id_texts, sequence_ids
from seqlight.data.reading.options import Options
from seqlight.data.reading.place import Place, first, shown
from seqlight.data.reading.raw import Columns, DataError, RawSequences
from seqlight.data.reading.table import Table, read_table
from seqlight.data.reading.wide import read_wide

_STEPS = 1 << 16  # so many steps are read at a time


def read_typed(table: Table, request: Columns, options: Options) -> RawSequences:
    """Read a table with types: one with lists of steps, or a wide or a long one.

    The arguments and errors are those of `read_table`.
    """
    label = request.label or guess("label", list(table.names))
    with_one_value = {*names_of(request.id), *(names_of(label) if options.label_per == "sequence" else ())}
    lists = [name for name in table.lists if name not in with_one_value]
    if request.id is None and (named := next((name for name in lists if name.strip().lower() == "id"), None)):
        raise DataError(f"{table.path}: column {shown(named)}: expected one value in each row, got lists")
    if lists and (request.features is None or not set(lists).isdisjoint(request.features)):
        return _read_lists(table, lists, request, options)
    return (read_wide if options.layout == "wide" else read_table)(table, request, options)


def _read_lists(table: Table, lists: list[str], request: Columns, options: Options) -> RawSequences:
    """Read a table as one in long form, with the steps of all lists one after the other."""
    path, others = table.path, [name for name in table.names if name not in lists]
    sequence_id, guesses = request.id, []
    if sequence_id is None:
        sequence_id = guess("id", others)
        guesses.append("no ids" if sequence_id is None else f"sequence id in column {sequence_id!r}")
    rows = _Steps(table, lists, names_of(sequence_id))
    wanted = {name for each in fields(request) for name in names_of(getattr(request, each.name)) if each.name != "id"}
    wanted |= {name for name in others if request.label is None and _may_be_label(name)}
    row = next(name for name in ("row", *(f"row_{number}" for number in range(len(others)))) if name not in others)
    used = [name for name in others if name in wanted]
    left = [name for name in others if name not in {*wanted, *names_of(sequence_id)}]
    long = Table(
        path,
        [row, *used, *rows.names],
        lambda names: rows.batches(row, names),
        rows.estimate,
        typed=True,
        remarks=table.remarks,
        locate=rows.locate,
    )
    raw = read_table(long, replace(request, id=row), options)
    assert raw.columns is not None
    total = len(rows.starts)
    kept = [int(str(name)) for name in raw.ids]
    place = f"{path}: row {next((each + 1 for each, found in enumerate(kept) if each != found), len(kept) + 1)}"
    remarks = empty_sequences(total - len(kept), total, place, path, options.empty)
    if left and request.left_out is None:
        listed = ", ".join(map(shown, left[:20]))
        remarks += (f"{path}: with one value for each sequence, and so not read: {listed}",)
    guesses = [f"{path}: each row is a sequence, with lists of steps" + "".join(f", {text}" for text in guesses)]
    ids = kept if sequence_id is None else id_texts(rows.ids, names_of(sequence_id), path)
    return replace(
        raw,
        ids=[ids[index] for index in kept] if sequence_id is not None else kept,
        columns=replace(raw.columns, id=sequence_id),
        guesses=(*guesses, *raw.guesses),
        remarks=(*raw.remarks, *remarks),
    )


def _may_be_label(name: str) -> bool:
    return guess("label", [name]) is not None or name.strip().lower().startswith("label_")


class _Steps:
    """The steps of a table's lists, as a table in long form.

    Attributes:
        names: the columns with steps; a list of vectors has one for each of their components.
        ids: the id of each row, after all were read.
        starts: the number of steps before each row, after all were read.
    """

    def __init__(self, table: Table, lists: list[str], ids: tuple[str, ...]) -> None:
        self._table, self._id_columns = table, ids
        self._parts = {name: self._components(name) for name in lists}
        self._column_of = {part: name for name, parts in self._parts.items() for part in parts or [name]}
        self.names = list(self._column_of)
        self.ids: list[str] = []
        self.starts: list[int] = []
        self._codes = Codes()
        self._num_steps = 0

    def locate(self, row: int) -> tuple[Path, int]:
        """The row of the table with a step; both are counted from 1."""
        return self._table.path, bisect_right(self.starts, row - 1)

    def estimate(self, num_steps: int) -> int:
        """The total number of steps, given the number in the first batch."""
        return max(num_steps, num_steps * self._table.estimate(len(self.starts)) // max(len(self.starts), 1) * 51 // 50)

    def batches(self, row: str, names: list[str]) -> Iterator[pa.RecordBatch]:
        """Batches of steps with the named columns; `row` has the number of the row.

        Raises:
            DataError: lists of a row have different lengths, or an id is missing or repeated.
        """
        self.ids, self.starts, self._codes, self._num_steps = [], [], Codes(), 0
        steps = [name for name in names if name in self._column_of]
        others = [name for name in names if name not in self._column_of and name != row]
        wanted = dict.fromkeys([*(self._column_of[name] for name in steps), *others, *self._id_columns])
        for batch in self._table.batches(list(wanted)):
            if batch.num_rows == 0:
                continue
            lengths = self._lengths(batch, list(dict.fromkeys(self._column_of[name] for name in steps)))
            self._add_ids(batch)
            ends = np.cumsum(lengths)
            start = 0
            while start < len(lengths):
                before = int(ends[start - 1]) if start else 0
                stop = max(start + 1, int(np.searchsorted(ends, before + _STEPS, side="right")))
                part, rows = batch.slice(start, stop - start), np.repeat(np.arange(stop - start), lengths[start:stop])
                columns = {row: pa.array(rows + len(self.starts))}
                self.starts += (self._num_steps + ends[start:stop] - lengths[start:stop] - before).tolist()
                self._num_steps += len(rows)
                columns |= {name: plain(part[name]).take(pa.array(rows)) for name in others}
                columns |= {name: self._values(part, name) for name in steps}
                yield pa.record_batch([columns[name] for name in names], names)
                start = stop
        if self.starts and not self._num_steps:
            empty_sequences(
                len(self.starts), len(self.starts), f"{self._table.path}: row 1", self._table.path, "refuse"
            )

    def _lengths(self, batch: pa.RecordBatch, lists: list[str]) -> np.ndarray:
        """The number of steps of each row."""
        lengths = np.zeros(batch.num_rows, np.int64)
        for number, name in enumerate(lists):
            found = np.asarray(pc.list_value_length(batch[name]).fill_null(0), np.int64)
            if number == 0:
                lengths = found
            elif (wrong := first(found != lengths)) >= 0:
                place = Place(self._table.path, len(self.starts) + 1)
                expected = f"a list of {lengths[wrong]} steps, as in column {shown(lists[0])}"
                raise place.error(wrong, name, expected, f"{found[wrong]}")
        return lengths

    def _add_ids(self, batch: pa.RecordBatch) -> None:
        if not self._id_columns:
            return
        place = Place(self._table.path, len(self.starts) + 1)
        before = len(self._codes.texts)
        column = sequence_ids(batch, self._id_columns, place)
        twice = first(self._codes.encode(column) != np.arange(before, before + batch.num_rows))
        if twice >= 0:
            name = ", ".join(self._id_columns)
            got = f"{shown(str(plain(column)[twice].as_py()))} again"
            raise place.error(twice, name, "one row for each sequence", got)
        self.ids = self._codes.texts

    def _values(self, batch: pa.RecordBatch, name: str) -> pa.Array:
        """All steps of a column."""
        column = self._column_of[name]
        values = pc.list_flatten(batch[column])
        parts = self._parts[column]
        if parts is None:
            return values
        widths = np.asarray(pc.list_value_length(values).fill_null(0))
        if (wrong := first(widths != len(parts))) >= 0:
            _, row = self.locate(self._num_steps - len(values) + wrong + 1)
            expected = f"expected {len(parts)} numbers in each step, as in the first row, got {widths[wrong]}"
            raise DataError(f"{self._table.path}: row {row}, column {shown(column)}: {expected}")
        return pc.list_flatten(values).take(
            pa.array(np.arange(parts.index(name), len(values) * len(parts), len(parts)))
        )

    def _components(self, name: str) -> list[str] | None:
        """The names of the components of vectors, if steps are vectors."""
        if not is_list(self._table.lists[name]):
            return None
        for batch in self._table.batches([name]):
            if width := next((len(value) for value in pc.list_flatten(batch[name]) if value.as_py()), 0):
                return [f"{name}_{number}" for number in range(width)]
        raise DataError(f"{self._table.path}: column {shown(name)}: expected vectors, got none with numbers")
