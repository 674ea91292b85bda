"""The format of the UCR/UEA archive: a header, then one sequence per line.

Dimensions are separated by ':' and their values by ','; the class comes last. Every library that reads this format
requires pandas, scikit-learn and older NumPy. Specification: https://www.aeon-toolkit.org, "ts file format".
"""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float64

from seqlight.data.reading.collect import Collector
from seqlight.data.reading.inputs import Inputs
from seqlight.data.reading.names import class_name
from seqlight.data.reading.numbers import is_number
from seqlight.data.reading.place import not_utf8, shown
from seqlight.data.reading.progress import progress
from seqlight.data.reading.raw import DataError, RawSequences


def read_ts(path: Path, inputs: Inputs, labelled: bool) -> RawSequences:
    """Read series of equal or unequal length, with one or several dimensions.

    Raises:
        DataError: the file can't be used; the message gives the reason.
    """
    if inputs == "tokens":
        raise DataError(f'{path}: expected text or integers (`inputs="tokens"`), got a .ts file, which has numbers')
    size = os.path.getsize(path)
    sequences = Collector(path, size, labelled)
    header: dict[str, list[str]] = {}
    classes: dict[str, None] | None = None
    num_sequences = num_bytes = 0
    with open(path, "rb") as file, progress(path, size) as bar:
        for number, raw in enumerate(file, 1):
            num_bytes += len(raw)
            bar.update(len(raw))
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise not_utf8(f"{path}: line {number}", error) from None
            if not line or line.startswith("#"):
                continue
            if "data" not in header:
                if not line.startswith("@"):
                    raise DataError(
                        f"{path}: line {number}: expected @data before the first sequence, got {shown(line)}"
                    )
                tag, *values = line[1:].split()
                header[tag.lower()] = values
                if tag.lower() == "data":
                    classes = _classes(path, header)
                continue
            place = f"{path}: sequence {num_sequences} (line {number})"
            dimensions = line.split(":")
            label = None if classes is None else dimensions.pop()
            if not dimensions:
                raise DataError(f"{place}: expected values, ':' and a class, got {shown(line)}")
            sequences.add_features(_series(dimensions, place), place)
            name = sequences.add_label(label and label.strip(), place)
            if name is not None and classes and name not in classes:
                raise DataError(
                    f"{place}: expected a class of @classLabel, {', '.join([*classes][:20])}, got {shown(name)}"
                )
            num_sequences += 1
            sequences.done(num_bytes)
    if "data" not in header:
        raise DataError(f"{path}: expected a line @data with sequences after it, got none")
    return sequences.finish()


def _classes(path: Path, header: dict[str, list[str]]) -> dict[str, None] | None:
    """The names of the classes, as keys for quick searches; None if there are no labels."""

    def is_true(tag: str) -> bool:
        return [value.lower() for value in header.get(tag, [])[:1]] == ["true"]

    if is_true("timestamps"):
        raise DataError(f"{path}: expected @timestamps false (values at equal intervals), got @timestamps true")
    if is_true("targetlabel"):
        raise DataError(f"{path}: expected classes (@classLabel), got regression targets (@targetLabel true)")
    return dict.fromkeys(map(class_name, header["classlabel"][1:])) if is_true("classlabel") else None


def _series(dimensions: list[str], place: str) -> Float64[np.ndarray, "steps dimensions"]:
    split = pc.split_pattern(pa.array(dimensions, pa.string()), ",")
    lengths = np.diff(split.offsets)
    for number, (text, length) in enumerate(zip(dimensions, lengths, strict=True), 1):
        if not text.strip():
            raise DataError(f"{place}, dimension {number}: expected at least one value, got a sequence of length 0")
        if length != lengths[0]:
            raise DataError(
                f"{place}, dimension {number}: expected {lengths[0]} values, as in dimension 1, got {length}"
            )
    cells = pc.utf8_trim_whitespace(split.values)
    try:
        return np.asarray(pc.cast(cells, pa.float64())).reshape(len(dimensions), -1).T
    except pa.ArrowInvalid:
        index = next(index for index, cell in enumerate(cells) if not is_number(cell))
        dimension, step = divmod(index, int(lengths[0]))
        got = "a missing value, '?'" if cells[index].as_py() == "?" else shown(cells[index].as_py())
        raise DataError(f"{place}, dimension {dimension + 1}, step {step + 1}: expected a number, got {got}") from None
