"""JSON Lines: one sequence per line."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from seqlight.data.reading.collect import Collector
from seqlight.data.reading.inputs import Inputs, integers_guessed
from seqlight.data.reading.missing import HINT
from seqlight.data.reading.names import as_text, is_missing
from seqlight.data.reading.options import Options
from seqlight.data.reading.place import not_utf8, shown
from seqlight.data.reading.progress import progress
from seqlight.data.reading.raw import DataError, RawSequences

Step = list[float | None] | float | int | str | None

_KIND_NAMES = {
    "steps": "steps with lists of numbers",
    "numbers": "numbers",
    "integers": "integer tokens",
    "text": "text tokens",
}
_NONE = type(None)  # a missing number
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class _Line(msgspec.Struct):
    inputs: list[Step]
    label: bool | int | float | str | list[bool | int | float | str | None] | None = None
    id: str | int | None = None


def read_jsonl(path: Path, options: Options) -> RawSequences:
    """Read lines such as {"inputs": [[0.1, 2], [0.3, 4]], "label": "a"}.

    Raises:
        DataError: the file can't be used; the message gives the reason.
    """
    decode = partial(_decode, msgspec.json.Decoder(_line_type(path, options.group)), options)
    size = os.path.getsize(path)
    sequences = Collector(path, size, options)
    inputs = options.inputs
    kind = None
    guesses = []
    num_bytes = 0
    with open(path, "rb") as file, progress(path, size) as bar:
        for number, text in enumerate(file, 1):
            num_bytes += len(text)
            bar.update(len(text))
            if number == 1:
                text = text.removeprefix(_BYTE_ORDER_MARK)
            if not text.strip():
                continue
            place = f"{path}: line {number}"
            try:
                line = decode(text)
            except UnicodeDecodeError as error:
                raise not_utf8(place, error) from None
            except (msgspec.MsgspecError, RecursionError) as error:
                raise DataError(f"{place}: {_reason(error, text)}") from None
            if not line.inputs:
                sequences.add_empty(place)
                continue
            found = _kind(line.inputs, place)
            if kind is None:
                kind = _chosen(found, inputs, place)
                if found == "integers" and inputs == "auto":
                    guesses.append(integers_guessed(path, as_tokens=True))
            if found != kind and (found, kind) != ("integers", "numbers"):
                both_numbers = {found, kind} == {"integers", "numbers"}
                hint = 'If all are numbers: `inputs="features"`' if both_numbers else ""
                got = _KIND_NAMES[found] + ("." if hint else "")
                raise DataError(f"{place}: expected {_KIND_NAMES[kind]}, as in earlier lines, got {got}", hint)
            if kind in ("text", "integers"):
                sequences.add_tokens(line.inputs)
            else:
                sequences.add_features(_features(line.inputs, place), place)
            sequences.add_label(line.label, place)
            sequences.add_id(None if line.id is None else str(line.id), place)
            if options.group is not None:
                sequences.add_group(None if is_missing(line.group) else as_text(line.group), place)
            sequences.done(num_bytes)
    return sequences.finish(guesses)


def _line_type(path: Path, group: str | None) -> type[Any]:
    """The type of a line that has a key of this name with its group."""
    if group is None:
        return _Line
    if group in _Line.__struct_fields__:
        raise DataError(f"{path}: expected another key for the group of each sequence, got {shown(group)}")
    field = msgspec.field(name=group, default=None)
    return msgspec.defstruct("_Line", [("group", str | int | bool | None, field)], bases=(_Line,))


def _decode(decoder: "msgspec.json.Decoder[Any]", options: Options, text: bytes) -> Any:
    """The sequence of a line. NaN, which Python writes but JSON does not have, can stand for a missing value."""
    try:
        return decoder.decode(text)
    except msgspec.DecodeError:
        if options.missing == "refuse" or b"NaN" not in text:
            raise
    try:
        return msgspec.convert(json.loads(text), decoder.type)
    except ValueError as error:
        if isinstance(error, msgspec.MsgspecError):
            raise
        raise msgspec.DecodeError(str(error)) from None


def _kind(steps: list[Step], place: str) -> str:
    kinds = set(map(type, steps))
    if kinds <= {int, float, _NONE}:
        return "integers" if kinds == {int} else "numbers"
    if len(kinds) > 1:
        other = next(step for step in steps if type(step) is not type(steps[0]))
        got = " and ".join("null" if step is None else shown(step) for step in (steps[0], other))
        raise DataError(f"{place}: expected time steps of one kind, got {got}")
    return "steps" if kinds == {list} else "text"


def _chosen(found: str, inputs: Inputs, place: str) -> str:
    """The kind of the whole file, chosen by its first line."""
    if inputs == "features" and found == "text":
        raise DataError(f'{place}: expected numbers (`inputs="features"`), got {_KIND_NAMES[found]}')
    if inputs == "tokens" and found in ("steps", "numbers"):
        raise DataError(f'{place}: expected text or integers (`inputs="tokens"`), got {_KIND_NAMES[found]}')
    return "numbers" if inputs == "features" and found == "integers" else found


def _features(steps: list[Step], place: str) -> np.ndarray:
    if not isinstance(steps[0], list):
        return np.asarray(steps, np.float64)[:, None]
    width = len(steps[0])
    if width == 0:
        raise DataError(f"{place}: expected at least one feature in each step, got an empty list")
    for number, step in enumerate(steps, 1):
        if len(step) != width:  # type: ignore[arg-type]
            raise DataError(f"{place}, step {number}: expected {width} features, as in step 1, got {len(step)}")  # type: ignore[arg-type]
    return np.asarray(steps, np.float64)


def _reason(error: Exception, text: bytes) -> str:
    if isinstance(error, RecursionError):
        return "expected JSON of a sequence, got nesting that is too deep"
    if isinstance(error, msgspec.ValidationError):
        return 'expected a sequence like {"inputs": [[0.1, 2.0], [0.3, 4.0]], "label": "a"}: ' + str(error)
    if b"NaN" in text or b"Infinity" in text:
        return "expected JSON with finite numbers, got NaN or Infinity" + (f". {HINT}" if b"NaN" in text else "")
    return f"expected JSON: {error}"
