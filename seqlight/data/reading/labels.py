"""The labels of a table: one per sequence, repeated in its rows, or one per row."""

from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int32, Int64

from seqlight.data.reading.arrow import is_list, is_text, plain
from seqlight.data.reading.codes import Codes
from seqlight.data.reading.label_vectors import LabelVectors, names_of
from seqlight.data.reading.names import TRUTH, class_name
from seqlight.data.reading.options import Options
from seqlight.data.reading.place import Place, first, shown
from seqlight.data.reading.raw import DataError, Label

_BETWEEN = "\x1f"  # ASCII's unit separator
_UNSEEN = -1


class Labels:
    """The labels of sequences or of their steps, read batch by batch.

    The label of a sequence must be the same in all its rows.

    Args:
        columns: one column of class names or of lists of label names, or several columns of 0 and 1.
        options: what the caller asks for.
        hint: a line for the message about a label that varies within a sequence: how to name another column.
    """

    def __init__(self, columns: str | tuple[str, ...], options: Options, hint: str) -> None:
        self._columns, self._required, self._hint = columns, options.labelled, hint
        self._options = options
        self._vectors = LabelVectors(options.label_vectors)
        self._texts = Codes()
        self._num_texts = 0
        self._label_of_text = np.full(1, _UNSEEN, np.int32)  # with room; the last entry is for empty cells
        self._labels: dict[Label, int] = {}
        self._label_of_sequence = np.full(0, _UNSEEN, np.int32)
        self._per_step = options.label_per == "step"
        self._labels_of_rows: list[Int32[np.ndarray, " rows"]] = []

    def append(
        self, batch: pa.RecordBatch, sequences: Int32[np.ndarray, " rows"], ids: dict[str, int], place: Place
    ) -> None:
        """Add rows that belong to the given sequences.

        Raises:
            DataError: a label is missing, invalid, or differs from an earlier row's.
        """
        name = self._columns if isinstance(self._columns, str) else ", ".join(self._columns)
        codes = self._texts.encode(self._column(batch, place))
        if self._required and (index := first(codes < 0)) >= 0:
            raise place.error(index, name, "a label", "an empty cell")
        labels = self._labels_of_texts(codes, batch, place)[codes]
        if self._per_step:
            self._labels_of_rows.append(labels)
            return
        self._label_of_sequence = _with_room(self._label_of_sequence, len(ids))
        rows = np.flatnonzero(labels != _UNSEEN)
        labels, sequences = labels[rows], sequences[rows]
        new = np.flatnonzero(self._label_of_sequence[sequences] == _UNSEEN)
        # Backwards, because the last assignment to a sequence wins.
        self._label_of_sequence[sequences[new[::-1]]] = labels[new[::-1]]
        wrong = first(self._label_of_sequence[sequences] != labels)
        if wrong >= 0:
            known = list(self._labels)
            before = known[self._label_of_sequence[sequences[wrong]]]
            raise place.error(
                int(rows[wrong]),
                name,
                f"the same label in all rows of sequence {list(ids)[sequences[wrong]]!r}",
                f"{shown(known[labels[wrong]])} after {shown(before)}",
                self._hint,
                'If each step has a label: `label_per="step"`',
            )

    def finish(
        self, num_sequences: int, order: Int64[np.ndarray, " rows"] | None = None
    ) -> tuple[list[Label] | None, int | None]:
        """The label of each sequence or row, or None if none has one; and `RawSequences.label_vectors`.

        Args:
            num_sequences: the number of sequences.
            order: the rows in the order of sequences and steps; None if they are in this order.

        Raises:
            DataError: lists of labels contradict each other.
        """
        width = self._vectors.width()
        known: list[Label] = [
            names_of(label) if width and isinstance(label, tuple) else label for label in self._labels
        ]
        known.append(None)
        if not self._labels:
            return None, width
        codes = self._label_of_sequence[:num_sequences]
        if self._per_step:
            codes = np.concatenate(self._labels_of_rows)
            codes = codes if order is None else codes[order]
        return [known[code] for code in codes.tolist()], width

    def _column(self, batch: pa.RecordBatch, place: Place) -> pa.Array:
        """One value per row: a class, or several labels joined."""
        if isinstance(self._columns, str):
            column = plain(batch[self._columns])
            if not pa.types.is_nested(column.type):
                return column
            if not is_list(column.type):
                raise DataError(f"{place.path}: column {self._columns!r}: expected labels, got {column.type}")
            joined = pc.binary_join(column.cast(pa.list_(pa.string())), _BETWEEN)
            return pc.binary_join_element_wise("", joined, _BETWEEN)  # an empty list must differ from an empty cell
        parts = [plain(batch[name]) for name in self._columns]
        parts = [pc.if_else(pc.equal(part, ""), None, part) if is_text(part.type) else part for part in parts]
        return pc.binary_join_element_wise(*(part.cast(pa.string()) for part in parts), _BETWEEN)

    def _labels_of_texts(
        self, codes: Int32[np.ndarray, " rows"], batch: pa.RecordBatch, place: Place
    ) -> Int32[np.ndarray, " texts"]:
        """The label of each text; the last entry is for an empty cell."""
        known, texts = self._num_texts, self._texts.texts
        if len(texts) > known:
            kind = plain(batch[self._columns]).type if isinstance(self._columns, str) else None
            labels = []
            for code, text in enumerate(texts[known:], known):
                try:
                    label = self._decode(text, kind)
                except _NotALabelError as error:
                    raise place.error(first(codes == code), error.column, error.expected, error.shown) from None
                is_new = label not in self._labels and not self._options.numbers
                if is_new and isinstance(label, tuple) and isinstance(self._columns, str):
                    self._vectors.add(label, partial(_place, place, codes, code, self._columns))
                labels.append(_UNSEEN if label is None else self._labels.setdefault(label, len(self._labels)))
            self._label_of_text = _with_room(self._label_of_text, len(texts) + 1)
            self._label_of_text[known : len(texts)] = labels
            self._num_texts = len(texts)
        return self._label_of_text

    def _decode(self, text: str, kind: pa.DataType | None) -> Label:
        read = self._options.read_label
        if isinstance(self._columns, str):
            error = partial(_NotALabelError, self._columns)
            if is_list(kind):
                floating = pa.types.is_floating(kind.value_type)  # type: ignore[union-attr]
                names = text.split(_BETWEEN)[1:] if text != _BETWEEN else []
                return tuple(read(float(name) if floating else name, True, error) or "" for name in names)
            return read(float(text) if pa.types.is_floating(kind) else text, self._required, error)
        parts = dict(zip(self._columns, text.split(_BETWEEN), strict=True))
        if self._options.numbers:
            return tuple(read(part, True, partial(_NotALabelError, name)) or "" for name, part in parts.items())
        for name, part in parts.items():
            if class_name(part).lower() not in TRUTH:
                raise _NotALabelError(name, "0 or 1", part)
        return tuple(name for name, part in parts.items() if TRUTH[class_name(part).lower()])


def _with_room(codes: Int32[np.ndarray, " codes"], size: int) -> Int32[np.ndarray, " room"]:
    """The array, with room for `size` codes. If it grows, it doubles, so that growing often takes linear time."""
    if size <= len(codes):
        return codes
    return np.append(codes, np.full(max(size, 2 * len(codes)) - len(codes), _UNSEEN, np.int32))


class _NotALabelError(ValueError):
    def __init__(self, column: str, expected: str, got: object) -> None:
        self.column, self.expected = column, expected
        self.shown = "none" if got == "none" else shown(got)


def _place(place: Place, codes: Int32[np.ndarray, " rows"], code: int, column: str) -> str:
    return place.of(first(codes == code), column)
