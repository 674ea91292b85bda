"""Frames of pandas, polars and other libraries, in long form: one row per time step."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from seqlight.common.label_per import LabelPer
from seqlight.data.reading.arrow import lists_of
from seqlight.data.reading.inputs import Inputs
from seqlight.data.reading.lists import read_typed
from seqlight.data.reading.options import Missing, Options
from seqlight.data.reading.place import reason, shown
from seqlight.data.reading.raw import Columns, DataError, RawSequences
from seqlight.data.reading.table import Table

_ROWS = 1 << 16  # read at a time


def read_frame(
    frame: Any,
    source: str,
    columns: Columns,
    inputs: Inputs = "auto",
    labelled: bool = True,
    missing: Missing = "refuse",
    elapsed: bool = False,
    label_per: LabelPer = "sequence",
    numbers: bool = False,
) -> RawSequences:
    """Read a frame as a table.

    Args:
        frame: any object that gives its columns as an Arrow stream (`__arrow_c_stream__`), or through the dataframe
            interchange (`__dataframe__`).
        source: its name, for messages, which count rows from 1.
        columns: names of columns. A column that is None is guessed.
        inputs: the kind of the inputs, as in `read_table`.
        labelled: whether each sequence must have a label.
        missing: as in `Options`.
        elapsed: as in `Options`.
        label_per: as in `Options`.
        numbers: as in `Options`.

    Raises:
        DataError: the frame can't be used; the message gives the reason.
    """
    try:
        if isinstance(frame, pa.RecordBatchReader):
            frame = frame.read_all()
        streams = [_stream(frame, source)]
        schema = streams[0].schema

        def batches(wanted: list[str]) -> Iterator[pa.RecordBatch]:
            for batch in streams.pop() if streams else _stream(frame, source):
                chosen = batch.select(wanted)
                for start in range(0, chosen.num_rows, _ROWS):
                    yield chosen.slice(start, _ROWS)

        num_rows = len(frame) if hasattr(frame, "__len__") else 0
        table = Table(
            Path(source), schema.names, batches, lambda rows: max(rows, num_rows), typed=True, lists=lists_of(schema)
        )
        options = Options(inputs, labelled, missing=missing, elapsed=elapsed, label_per=label_per, numbers=numbers)
        return read_typed(table, columns, options)
    except pa.ArrowException as error:
        cause = " ".join(str(argument) for argument in reversed(error.args)) or reason(error)
        raise DataError(f"{source}: can't be read as a table: {cause}") from None


def _stream(frame: Any, source: str) -> pa.RecordBatchReader:
    if hasattr(frame, "__arrow_c_stream__") and not isinstance(frame, pa.ChunkedArray):
        return pa.RecordBatchReader.from_stream(frame)
    if hasattr(frame, "__dataframe__"):
        from pyarrow.interchange import from_dataframe

        return from_dataframe(frame).to_reader()
    raise _error(frame, source)


def _error(frame: Any, source: str) -> DataError:
    other = {"collect": "`frame.collect()` gives one"} if hasattr(frame, "collect") else {}
    if isinstance(frame, str | os.PathLike):
        other = {"file": "for a file, use SequenceFiles"}
    got = shown(frame) if isinstance(frame, str) else f"a {type(frame).__name__}"
    hint = f"; {next(iter(other.values()))}" if other else ""
    return DataError(f"{source}: expected a frame of pandas, polars or Arrow, got {got}{hint}")
