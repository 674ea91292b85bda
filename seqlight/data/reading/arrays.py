"""Arrays, tensors and lists in memory."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from seqlight.common.label_per import LabelPer
from seqlight.data.reading.array_labels import read_labels
from seqlight.data.reading.array_names import ids_of, names_for, on_host
from seqlight.data.reading.collect import Collector
from seqlight.data.reading.elapsed import add_times
from seqlight.data.reading.inputs import Inputs
from seqlight.data.reading.missing import without_objects
from seqlight.data.reading.options import Missing, Options
from seqlight.data.reading.place import reason, shown
from seqlight.data.reading.raw import DataError, RawSequences
from seqlight.data.reading.step_labels import read_step_labels

_NUMBERS = "biuf"  # the kinds of NumPy's types


@dataclass(frozen=True)
class Arrays:
    """Sequences in memory, as the user gives them.

    Attributes:
        inputs: arrays, tensors or lists: one of shape (T, F) or (T,) for each sequence, or one of shape (N, T, F) or
            (N, T) for all.
        labels: N classes, or (N, L) values of 0 and 1, or N lists of label names; or the labels of each step, N arrays
            or lists (T,), or an array (N, T); None if they are unknown.
        lengths: the number of time steps of each sequence, (N,), if sequences are padded at their end.
        ids: N distinct names; None for the indices.
        groups: the group of each sequence, N names.
        times: the times of each sequence's steps, as in `add_times`.
    """

    inputs: Any
    labels: Any = None
    lengths: Any = None
    ids: Any = None
    groups: Any = None
    times: Any = None

    @classmethod
    def given(cls, value: Any, source: str, expected: str) -> "Arrays":
        """The sequences that an argument gives: a pair of inputs and labels, or a dict with the attributes' names.

        Args:
            value: the argument.
            source: its name, for the message.
            expected: what it can be, besides a dict.

        Raises:
            TypeError: if it is neither.
            ValueError: if the dict has a wrong key, or no inputs.
        """
        if isinstance(value, Mapping):
            names = [field.name for field in fields(cls) if field.name != "groups"]  # they are for a split by fraction
            if wrong := [key for key in value if key not in names]:
                raise ValueError(f"{source}: expected a dict with {', '.join(names)}, got the key {wrong[0]!r}")
            if value.get("inputs") is None:
                raise ValueError(f"{source}: expected a dict with inputs, got {', '.join(map(repr, value)) or 'none'}")
            return cls(**value)
        if isinstance(value, tuple) and len(value) == 2:
            return cls(*value)
        got = f"{len(value)} values" if isinstance(value, tuple) else f"a {type(value).__name__}"
        raise TypeError(f"{source}: expected {expected}, or a dict with inputs and labels, got {got}")


def read_arrays(
    arrays: Arrays,
    source: str,
    inputs: Inputs = "auto",
    labelled: bool = True,
    missing: Missing = "refuse",
    label_per: LabelPer = "sequence",
    numbers: bool = False,
) -> RawSequences:
    """Read sequences from memory. Their values are copied.

    Args:
        arrays: the sequences.
        source: their name, for messages.
        inputs: "features" reads integers as numbers, "tokens" as tokens. "auto" reads text as tokens, and integers (T,)
            as tokens, which is noted in `guesses`.
        labelled: whether each sequence must have a label.
        missing: as in `Options`.
        label_per: as in `Options`.
        numbers: as in `Options`.

    Raises:
        DataError: they can't be used; the message gives the reason.
    """
    sequences = _listed(arrays.inputs, source)
    ids = ids_of(arrays.ids, len(sequences), source)
    found = [as_array(sequence, _place(source, ids[row])) for row, sequence in enumerate(sequences)]
    if arrays.lengths is not None:
        lengths = _lengths(arrays.lengths, found, ids, source)
        found = [sequence[:length] for sequence, length in zip(found, lengths, strict=True)]
    as_tokens, guesses = _are_tokens(found, ids, inputs, source)
    shape: tuple[int, ...] = tuple(getattr(arrays.inputs, "shape", ()))
    if len(shape) == 3 and shape[1] < shape[2]:
        guesses += (
            f"{source}: inputs of shape {shape} are read as {shape[1]} steps of {shape[2]} features; if they are (N, "
            "channels, time), give `inputs.transpose(0, 2, 1)`",
        )
    collector = Collector(Path(source), 0, Options(labelled=False, missing=missing))
    for row, sequence in enumerate(found):
        place = _place(source, ids[row])
        if len(sequence) == 0:
            raise DataError(f"{place}: expected at least one time step, got a sequence of length 0")
        if as_tokens:
            collector.add_tokens(_tokens(sequence, place, has_lengths=arrays.lengths is not None))
        else:
            _add_features(collector, sequence, place, has_lengths=arrays.lengths is not None)
    raw = collector.finish(guesses)
    raw.ids = ids
    if arrays.groups is not None:
        raw.groups = names_for(arrays.groups, len(ids), "groups", source)
    if arrays.times is not None:
        add_times(raw, arrays.times, arrays.lengths, source)
    if arrays.labels is None and labelled:
        raise DataError(f"{source}: expected a label for each sequence, got none")
    raw.label_per, raw.numbers = label_per, numbers
    options = Options(labelled=labelled, label_per=label_per, numbers=numbers)
    if arrays.labels is not None and label_per == "step":
        padded = arrays.lengths is not None
        raw.labels = read_step_labels(arrays.labels, raw.lengths.tolist(), ids, options, source, padded=padded)
    elif arrays.labels is not None:
        raw.labels, raw.label_names = read_labels(arrays.labels, ids, options, source)
    return raw


def as_array(sequence: Any, place: str) -> Shaped[np.ndarray, "..."]:
    """One sequence as an array (T, F) or (T,) of numbers or text.

    Raises:
        DataError: it is neither.
    """
    if isinstance(sequence, str | bytes):
        raise DataError(
            f"{place}: expected time steps, got text {shown(sequence)}.",
            "If each character is a token, give a list of them: `list(text)`",
        )
    if isinstance(sequence, list | tuple) and any(isinstance(step, str) for step in sequence):
        other = [step for step in sequence if not isinstance(step, str)]
        if other:  # numpy would turn them into text
            raise DataError(f"{place}: expected time steps of one kind, got text and {shown(other[0])}")
    try:
        array = np.asarray(on_host(sequence))
    except (TypeError, ValueError) as error:
        raise DataError(f"{place}: expected an array of shape (T,) or (T, F): {reason(error)}") from None
    if array.dtype.kind == "O":
        array = without_objects(array, place)
    if array.ndim not in (1, 2) or array.dtype.kind not in _NUMBERS + "U":
        raise DataError(f"{place}: expected numbers or text of shape (T,) or (T, F), got {array.dtype} {array.shape}")
    if array.ndim == 2 and array.shape[1] == 0:
        raise DataError(f"{place}: expected at least one feature in each step, got an array of shape {array.shape}")
    return array


def _listed(inputs: Any, source: str) -> Sequence[Any]:
    """The sequences of inputs."""
    if hasattr(inputs, "columns") or hasattr(inputs, "__dataframe__"):
        raise DataError(
            f"{source}: expected arrays, got a frame.",
            "If each row is a time step: SequenceFrames(train=frame); if each row is a sequence: `frame.to_numpy()`",
        )
    if hasattr(inputs, "batch_sizes"):
        raise DataError(
            f"{source}: expected arrays, got a PackedSequence.",
            "torch.nn.utils.rnn.pad_packed_sequence(inputs, batch_first=True) gives inputs and lengths",
        )
    if np.ma.is_masked(inputs):
        raise DataError(
            f"{source}: expected an array without masked values.",
            'If they are padding, give `lengths`; if they are missing: `inputs.filled(nan)` and `missing="mask"`',
        )
    try:
        inputs = on_host(inputs)
    except (RuntimeError, TypeError) as error:
        raise DataError(f"{source}: expected a dense tensor, or a list of tensors: {reason(error)}") from None
    if isinstance(inputs, str | bytes | Mapping) or not isinstance(inputs, Iterable):
        hint = "; for a file, use SequenceFiles" if isinstance(inputs, str | os.PathLike) else ""
        raise DataError(f"{source}: expected a list of sequences, or an array, got {shown(inputs)}{hint}")
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind != "O" and inputs.ndim not in (2, 3):
        raise DataError(
            f"{source}: expected inputs of shape (N, T) or (N, T, F), or a list of sequences, got {inputs.shape}"
        )
    sequences = list(inputs)
    if not sequences:
        raise DataError(f"{source}: expected sequences, got none")
    return sequences


def _place(source: str, name: str | int) -> str:
    return f"{source}: sequence {name!r}"


def _lengths(lengths: Any, found: list[np.ndarray], ids: Sequence[str | int], source: str) -> list[int]:
    array = np.asarray(on_host(lengths))
    if array.dtype.kind not in "iu" or array.shape != (len(found),):
        raise DataError(
            f"{source}: lengths: expected {len(found)} integers, one for each sequence, got {array.dtype} {array.shape}"
        )
    values: list[int] = array.tolist()
    for row, (length, sequence) in enumerate(zip(values, found, strict=True)):
        if not 1 <= length <= len(sequence):
            raise DataError(
                f"{source}: lengths: expected 1 to {len(sequence)} time steps, got {length} for sequence {ids[row]!r}"
            )
    return values


def _are_tokens(
    found: list[np.ndarray], ids: Sequence[str | int], inputs: Inputs, source: str
) -> tuple[bool, tuple[str, ...]]:
    """Whether the sequences are tokens, and a line about it if this is a guess."""
    kinds = [_kind(sequence) for sequence in found]
    text = kinds[0] == "text"
    other = next((row for row, kind in enumerate(kinds) if (kind == "text") != text), None)
    if other is not None:
        expected = "text" if text else "numbers"
        raise DataError(
            f"{_place(source, ids[other])}: expected {expected}, as in earlier sequences, got {kinds[other]}"
        )
    if text:
        if inputs == "features":
            raise DataError(f'{_place(source, ids[0])}: expected numbers (`kind="features"`), got text')
        if wide := [row for row, sequence in enumerate(found) if sequence.ndim == 2]:
            shape = found[wide[0]].shape
            raise DataError(f"{_place(source, ids[wide[0]])}: expected tokens of shape (T,), got {shape}")
        return True, ()
    numbers = next((row for row, kind in enumerate(kinds) if kind == "numbers"), None)
    if inputs == "tokens" and numbers is not None:
        sequence = found[numbers]
        raise DataError(
            f'{_place(source, ids[numbers])}: expected text or integers of shape (T,) (`kind="tokens"`), '
            f"got {sequence.dtype} {sequence.shape}"
        )
    if inputs == "auto" and numbers is None:
        return True, (f'{source}: integers are read as tokens; as a feature with `kind="features"`',)
    return inputs == "tokens", ()


def _kind(sequence: np.ndarray) -> str:
    if sequence.dtype.kind == "U":
        return "text"
    return "integers" if sequence.dtype.kind in "iu" and sequence.ndim == 1 else "numbers"


def _tokens(sequence: np.ndarray, place: str, has_lengths: bool) -> list[str | int]:
    tokens: list[str | int] = sequence.tolist()
    if "" in tokens:
        hint = "" if has_lengths else "; if this is padding, give `lengths`"
        raise DataError(f"{place}, step {tokens.index('') + 1}: expected a token, got empty text{hint}")
    return tokens


def _add_features(collector: Collector, sequence: np.ndarray, place: str, has_lengths: bool) -> None:
    values = sequence.astype(np.float64)
    values = values if values.ndim == 2 else values[:, None]
    try:
        collector.add_features(values, place)
    except DataError as error:
        if has_lengths or np.isnan(values[0]).all() or not np.isnan(values[-1]).all():
            raise
        raise DataError(error.args[0], "If NaN is padding, give `lengths`", *error.args[1:]) from None
