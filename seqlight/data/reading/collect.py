"""Arrays from sequences that are read one by one."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from seqlight.data.reading import memory
from seqlight.data.reading.buffer import Buffer
from seqlight.data.reading.elapsed import Times, elapsed
from seqlight.data.reading.empty import empty_sequences
from seqlight.data.reading.finite import finite_numbers
from seqlight.data.reading.label_vectors import LabelVectors, names_of, vector_names, vectors_guessed
from seqlight.data.reading.notation import numbers_as_tokens
from seqlight.data.reading.options import Missing, Options
from seqlight.data.reading.place import shown
from seqlight.data.reading.raw import DataError, Label, RawSequences

_PROBE = 1 << 22  # bytes read before the memory for the whole file is estimated


class Collector:
    """Collects sequences into one array, one after the other.

    In all methods `place` is the position of the sequence, with its file, for messages.

    Args:
        path: the file.
        size: the file's size in bytes.
        options: what the caller asks for.
    """

    def __init__(self, path: Path, size: int, options: Options) -> None:
        self._path, self._size, self._options = path, size, options
        self._values: Buffer | None = None
        self._width: int | None = None
        self._tokens: dict[str, int] | None = None
        self._lengths: list[int] = []
        self._ids: list[str | int] = []
        self._places: dict[str, str] = {}
        self._labels: list[Label] = []
        self._names: dict[Label, Label] = {}
        self._groups: list[str | None] = []
        self._vectors = LabelVectors(options.label_vectors)
        self._empty: list[int] = []
        self._first_empty = ""
        self._longer = self._repeats = False  # whether lists of labels differ in length from inputs; repeat a label
        self._probed = False
        self._elapsed: list[np.ndarray] = []
        self._time_unit: str | None = None

    def add_features(
        self, values: Float64[np.ndarray, "steps features"], place: str, times: Times | None = None
    ) -> None:
        """Add a sequence of numbers, and perhaps the times of its steps.

        Raises:
            DataError: the number of features differs from before, or a value is not finite in float32.
        """
        if self._values is None:
            self._width = values.shape[1]
            self._values = Buffer(self._path, np.float64, self._width, in_memory=self._options.in_memory)
        if values.shape[1] != self._width:
            raise DataError(f"{place}: expected {self._width} features, as in earlier sequences, got {values.shape[1]}")

        def error(index: tuple[int, ...], expected: str) -> DataError:
            step, feature = index
            where = f"{place}, step {step + 1}, feature {feature + 1}"
            return DataError(f"{where}: expected {expected}, got {values[index]}")

        self._values.append(finite_numbers(values, error, self._options.missing))
        self._lengths.append(len(values))
        if times is not None and self._options.elapsed:
            if self._elapsed and times.unit != self._time_unit:
                raise DataError(f"{place}: expected times of the same kind as before, numbers or dates")
            self._time_unit = times.unit
            self._elapsed.append(elapsed(times.values, np.array([len(values)]), times.unit))

    def add_tokens(self, tokens: list[str | int]) -> None:
        """Add a sequence of tokens."""
        if self._values is None or self._tokens is None:
            self._values, self._tokens = Buffer(self._path, np.int32, in_memory=self._options.in_memory), {}
        codes = self._tokens
        # As text, whose hashes can't be chosen: many large integers share a hash, and each would be compared with all.
        texts = map(str, tokens)
        self._values.append(np.fromiter((codes.setdefault(text, len(codes)) for text in texts), np.int32, len(tokens)))
        self._lengths.append(len(tokens))

    def add_label(self, value: object, place: str) -> Label:
        """Add the label of the latest sequence and return it: a class, or a tuple of label names.

        Raises:
            DataError: it is missing, not a class, or of another kind than earlier labels.
        """
        label: Label
        if self._options.label_per == "step":
            self._add_step_labels(value, place)
            return None
        if isinstance(value, list):
            self._longer |= len(value) != self._lengths[-1]
            self._repeats |= len(set(value)) < len(value)
            label = tuple(self._options.read_label(part, True, partial(_error, place)) or "" for part in value)
            if label not in self._names and not self._options.numbers:
                self._vectors.add(label, partial(str, place))
        else:
            label = self._options.read_label(value, self._options.labelled, partial(_error, place))
        before = next(iter(self._names), None)
        if label is not None and before is not None and isinstance(label, tuple) != isinstance(before, tuple):
            kinds = {False: "one class", True: "a list of labels"}
            raise DataError(
                f"{place}: expected {kinds[isinstance(before, tuple)]} as label, as in earlier sequences, "
                f"got {kinds[isinstance(label, tuple)]}"
            )
        # One object for equal labels saves memory.
        self._labels.append(label if label is None else self._names.setdefault(label, label))
        return label

    def add_group(self, name: str | None, place: str) -> None:
        """Add the group of the latest sequence; None if it has none.

        Raises:
            DataError: earlier sequences have groups and this one has none, or the other way round.
        """
        if self._groups and (self._groups[0] is None) != (name is None):
            expected = f"{'no' if self._groups[0] is None else 'a'} group {shown(self._options.group)}"
            got = "none" if name is None else shown(name)
            raise DataError(f"{place}: expected {expected}, as in earlier sequences, got {got}")
        self._groups.append(name)

    def _add_step_labels(self, value: object, place: str) -> None:
        num_steps = self._lengths[-1]
        if value is None and not self._options.labelled:
            value = [None] * num_steps
        if not isinstance(value, list) or len(value) != num_steps:
            got = f"{len(value)} labels" if isinstance(value, list) else shown(value)
            raise DataError(
                f'{place}: expected a list of {num_steps} labels, one for each step (`label_per="step"`), got {got}'
            )
        for step, part in enumerate(value, 1):
            error = partial(_error, f"{place}, label of step {step}")
            label = self._options.read_label(part, self._options.labelled, error)
            self._labels.append(label if label is None else self._names.setdefault(label, label))

    def add_empty(self, place: str) -> None:
        """Count a sequence without time steps, which is left out."""
        self._first_empty = self._first_empty or place
        self._empty.append(len(self._lengths) + len(self._empty))

    def add_id(self, name: str | None, place: str) -> None:
        """Add the id of the latest sequence: its name, or its index in the file if it has no name.

        Raises:
            DataError: an earlier sequence has the same id.
        """
        key = len(self._lengths) + len(self._empty) - 1 if name is None else name
        if str(key) in self._places:
            raise DataError(f"{place}: expected distinct ids, got {shown(str(key))} as in {self._places[str(key)]}")
        self._places[str(key)] = place
        self._ids.append(key)

    def done(self, num_bytes: int) -> None:
        """Report the bytes read so far. After the first part the memory for the whole file is estimated.

        Raises:
            DataError: there is not enough memory.
        """
        if not self._probed and num_bytes >= _PROBE and self._values is not None:
            self._probed = True
            num_steps = len(self._values) * self._size // num_bytes * 51 // 50
            size = num_steps * (8 * self._width if self._width else 4)
            memory.require(size, self._path, in_memory=self._options.in_memory)
            self._values.reserve(num_steps)

    def finish(self, guesses: Iterable[str] = ()) -> RawSequences:
        """All sequences.

        Raises:
            DataError: there are none, or some have no time steps, or lists of labels contradict each other.
        """
        total = len(self._lengths) + len(self._empty)
        remarks = empty_sequences(len(self._empty), total, self._first_empty, self._path, self._options.empty)
        if self._values is None:
            raise DataError(f"{self._path}: expected sequences, got none")
        labels = self._labels if self._names else None
        width = self._vectors.width()
        if width and labels is not None:
            names = {label: names_of(label) for label in self._names if isinstance(label, tuple)}
            labels = [names[label] if isinstance(label, tuple) else label for label in labels]
        guesses = (*guesses, *vectors_guessed(self._path, width))
        if width is not None and self._repeats and not self._longer:
            guesses += (f'{self._path}: labels are as many as time steps; if each step has one: `label_per="step"`',)
        if self._tokens is not None and self._options.inputs == "auto":
            guesses += numbers_as_tokens(list(self._tokens), self._path)
        ids: Sequence[int] = range(total)
        if self._empty:
            left_out = set(self._empty)
            ids = [index for index in ids if index not in left_out]
        return RawSequences(
            values=self._values.finish(),
            tokens=None if self._tokens is None else list(self._tokens),
            lengths=np.asarray(self._lengths, np.int64),
            ids=self._ids if self._ids else ids,
            labels=labels,
            label_names=vector_names(width),
            label_vectors=width,
            guesses=guesses,
            remarks=remarks,
            groups=[group for group in self._groups if group is not None] or None,
            time_unit=self._time_unit,
            elapsed=np.concatenate(self._elapsed) if self._elapsed else None,
            label_per=self._options.label_per,
            numbers=self._options.numbers,
        )


def collect(sequences: Iterable[Any], as_tokens: bool, missing: Missing = "refuse") -> RawSequences:
    """Sequences in memory, without labels.

    Args:
        sequences: the time steps of each sequence: numbers (T, F) or (T,), or tokens (T,).
        as_tokens: whether they are tokens.
        missing: as in `Options`.

    Raises:
        DataError: one is empty, or does not fit the others.
    """
    collector = Collector(Path("sequences"), 0, Options(labelled=False, missing=missing))
    for number, sequence in enumerate(sequences):
        place = f"sequence {number}"
        if len(sequence) == 0:
            raise DataError(f"{place}: expected at least one time step")
        if as_tokens:
            tokens = sequence.tolist() if hasattr(sequence, "tolist") else list(sequence)
            if other := [token for token in tokens if not isinstance(token, str | int)]:
                raise DataError(f"{place}: expected tokens, text or integers, got {other[0]!r}")
            collector.add_tokens(tokens)
        else:
            values = np.asarray(sequence, dtype=np.float64)  # with NaN for None
            collector.add_features(values if values.ndim == 2 else values[:, None], place)
    return collector.finish()


def _error(place: str, expected: str, got: object) -> DataError:
    return DataError(f"{place}: expected {expected}, got {got}")
