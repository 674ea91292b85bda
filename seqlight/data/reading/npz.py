"""NumPy archives with the arrays `inputs`, `targets`, `lengths` and `ids`."""

import lzma
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from seqlight.data.reading import memory
from seqlight.data.reading.buffer import Buffer
from seqlight.data.reading.codes import Codes
from seqlight.data.reading.finite import finite_numbers
from seqlight.data.reading.inputs import Inputs, integers_guessed
from seqlight.data.reading.names import as_text, to_label
from seqlight.data.reading.place import reason
from seqlight.data.reading.progress import progress
from seqlight.data.reading.raw import DataError, Label, RawSequences

_CHUNK = 1 << 22  # bytes of an array read at a time
_LONGEST_HEADER = 10_000  # bytes; NumPy's own limit


@dataclass
class _Member:
    """An array in the archive. Only its header has been read."""

    path: Path
    name: str
    archive: zipfile.ZipFile
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool

    def error(self, expected: str, got: object) -> DataError:
        return DataError(f"{self.path}: {self.name}: expected {expected}, got {got}")

    def read(self) -> np.ndarray:
        """The whole array."""
        memory.require(math.prod(self.shape) * self.dtype.itemsize, self.path)
        with self.archive.open(f"{self.name}.npy") as file:
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))

    def chunks(self) -> Iterator[np.ndarray]:
        """The array in chunks of rows; in one chunk if it is stored in Fortran order."""
        if self.fortran:
            yield self.read()
            return
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        num_rows = max(_CHUNK // size, 1)
        if num_rows == 1:
            memory.require(2 * size, self.path)  # a whole row is read, with its padding
        with self.archive.open(f"{self.name}.npy") as file:
            _header(file)
            for start in range(0, self.shape[0], num_rows):
                num_rows = min(num_rows, self.shape[0] - start)
                data = file.read(num_rows * size)
                if len(data) < num_rows * size:
                    raise EOFError("an array ends early")
                yield np.frombuffer(data, self.dtype).reshape(num_rows, *self.shape[1:])


def read_npz(path: Path, inputs: Inputs, labelled: bool) -> RawSequences:
    """Read `inputs` (N, T) or (N, T, F), `targets` (N,) or (N, L), `lengths` (N,) and `ids` (N,).

    Types, shapes and sizes are checked before an array is read.

    Raises:
        DataError: the file can't be used; the message gives the reason.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {
                name: _member(path, archive, name)
                for name in ("inputs", "targets", "lengths", "ids")
                if f"{name}.npy" in archive.namelist()
            }
            if "inputs" not in members:
                found = ", ".join(name.removesuffix(".npy") for name in archive.namelist()[:20]) or "none"
                raise DataError(f"{path}: expected an array 'inputs', got {found}")
            return _read(path, members, inputs, labelled)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected a whole .npz file, as numpy.savez writes it: {reason(error)}") from None


def _read(path: Path, members: dict[str, _Member], inputs: Inputs, labelled: bool) -> RawSequences:
    array = members["inputs"]
    if len(array.shape) not in (2, 3) or 0 in array.shape:
        raise array.error("shape (N, T) or (N, T, F) without zeros", array.shape)
    if array.dtype.kind not in "biufU":
        raise array.error("numbers or text", array.dtype)
    num_sequences, num_steps = array.shape[:2]
    for name, member in members.items():
        if name != "inputs" and (member.shape[:1] != (num_sequences,) or len(member.shape) > 1 + (name == "targets")):
            raise member.error(f"shape ({num_sequences},), one for each sequence", member.shape)
    as_tokens, guesses = _are_tokens(array, inputs)
    width = None if as_tokens else math.prod(array.shape[2:])
    size_of_step = 8 * width if width else 4
    # Before any allocation. The number of steps without padding is known only after `lengths` is read.
    memory.require(num_sequences * (8 + (0 if "lengths" in members else num_steps * size_of_step)), path)
    ids = _ids(members["ids"]) if "ids" in members else range(num_sequences)
    lengths = _lengths(members.get("lengths"), ids, num_steps)
    labels, label_names = _labels(members.get("targets"), ids, labelled, path)
    total = int(lengths.sum())
    memory.require(total * size_of_step, path)
    values = Buffer(path, np.int32 if as_tokens else np.float64, width, total)
    codes = Codes()
    start = 0

    def error(index: tuple[int, ...], expected: str) -> DataError:
        sequence, step = np.argwhere(kept)[index[0]]
        where = f"inputs, sequence {ids[start + sequence]!r}, step {step + 1}, feature {index[1] + 1}"
        return DataError(f"{path}: {where}: expected {expected}, got {rows[index]}")

    with progress(path, num_sequences, unit=" sequences") as bar:
        for chunk in array.chunks():
            bar.update(len(chunk))
            kept = np.arange(num_steps) < lengths[start : start + len(chunk), None]
            steps = chunk[kept]  # in order, without padding
            if as_tokens:
                found = codes.encode(pa.array(steps.astype(steps.dtype.newbyteorder("="))))
                if (found < 0).any():
                    sequence, step = np.argwhere(kept)[int((found < 0).argmax())]
                    raise DataError(
                        f"{path}: inputs, sequence {start + sequence}, step {step + 1}: expected a token, "
                        "got empty text; for shorter sequences add an array 'lengths'"
                    )
                values.append(found)
            else:
                rows = steps.reshape(len(steps), -1)
                values.append(finite_numbers(rows, error))
            start += len(chunk)
    return RawSequences(
        values=values.finish(),
        tokens=codes.texts if as_tokens else None,
        lengths=lengths,
        ids=ids,
        labels=labels,
        label_names=label_names,
        guesses=guesses,
    )


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> _Member:
    size = archive.getinfo(f"{name}.npy").file_size
    with archive.open(f"{name}.npy") as file:
        try:
            shape, fortran, dtype = _header(file)
        except (ValueError, tokenize.TokenError) as error:
            raise DataError(f"{path}: {name}: expected a NumPy array: {reason(error)}") from None
        if dtype.hasobject:
            raise DataError(f"{path}: {name}: expected numbers or text, got pickled objects, which are not opened")
        declared = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or declared != size - file.tell():
            raise DataError(
                f"{path}: {name}: expected an array as large as its header says, {shape} of {dtype}, {declared} bytes, "
                f"got {size - file.tell()} bytes"
            )
    return _Member(path, name, archive, dtype, shape, fortran)


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    # NumPy would read the whole header before it checks the length.
    if version != (1, 0) and int.from_bytes(file.peek(4)[:4], "little") > _LONGEST_HEADER:
        raise ValueError("its header is too long")
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = reader(file)
    return tuple(shape), bool(fortran), dtype


def _are_tokens(array: _Member, inputs: Inputs) -> tuple[bool, tuple[str, ...]]:
    kind, dimensions = array.dtype.kind, len(array.shape)
    if kind == "U":
        if dimensions == 3 or inputs == "features":
            raise array.error("numbers" if inputs == "features" else "tokens of shape (N, T)", f"text {array.shape}")
        return True, ()
    if inputs == "tokens":
        if kind not in "iu" or dimensions == 3:
            raise array.error("tokens, integers or text (N, T)", f"{array.dtype} {array.shape}")
        return True, ()
    if inputs == "auto" and kind in "iu" and dimensions == 2:
        return True, (integers_guessed(array.path, as_tokens=True),)
    return False, ()


def _lengths(member: _Member | None, ids: Sequence[str | int], num_steps: int) -> Int64[np.ndarray, " sequences"]:
    if member is None:
        return np.full(len(ids), num_steps, np.int64)
    if member.dtype.kind not in "iu":
        raise member.error("integers", member.dtype)
    lengths = member.read()
    wrong = np.flatnonzero((lengths < 1) | (lengths > num_steps))
    if len(wrong):
        raise member.error(f"1 to {num_steps} time steps", f"{lengths[wrong[0]]} for sequence {ids[wrong[0]]!r}")
    return lengths.astype(np.int64)


def _ids(member: _Member) -> list[str]:
    if member.dtype.kind not in "iuU":
        raise member.error("text or integers", member.dtype)
    ids = [as_text(value) for value in member.read().tolist()]
    seen: dict[str, int] = {}
    for number, name in enumerate(ids):
        if seen.setdefault(name, number) != number:
            raise member.error("distinct ids", f"{name!r} for sequences {seen[name]} and {number}")
    return ids


def _labels(
    member: _Member | None, ids: Sequence[str | int], labelled: bool, path: Path
) -> tuple[list[Label] | None, tuple[str, ...] | None]:
    if member is None:
        if labelled:
            raise DataError(f"{path}: expected an array 'targets' with a label for each sequence, got none")
        return None, None
    if member.dtype.kind not in "biufU":
        raise member.error("classes: integers or text", member.dtype)
    targets = member.read()
    if len(member.shape) == 2 and member.shape[1] > 1:
        wrong = np.argwhere((targets != 0) & (targets != 1)) if member.dtype.kind != "U" else np.zeros((1, 2), int)
        if len(wrong):
            sequence, column = wrong[0]
            raise member.error("0 or 1 for each label", f"{targets[sequence, column]} for sequence {ids[sequence]!r}")
        names = tuple(map(str, range(member.shape[1])))
        return [tuple(names[index] for index in np.flatnonzero(row)) for row in targets], names
    known: dict[Label, Label] = {}  # one object for equal labels saves memory
    labels: list[Label] = []
    for name, value in zip(ids, targets.reshape(-1).tolist(), strict=True):
        label = to_label(value, labelled, partial(_wrong, member, name))
        labels.append(known.setdefault(label, label))
    return labels if known.keys() - {None} else None, None


def _wrong(member: _Member, sequence: str | int, expected: str, got: object) -> DataError:
    return member.error(expected, f"{got} for sequence {sequence!r}")
