"""NumPy archives with the arrays `inputs`, `targets`, `lengths`, `ids`, and perhaps one of groups."""

import lzma
import math
import zipfile
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Int64, Num

from seqlight.data.reading import memory
from seqlight.data.reading.buffer import Buffer
from seqlight.data.reading.codes import Codes
from seqlight.data.reading.empty import empty_sequences
from seqlight.data.reading.finite import finite_numbers
from seqlight.data.reading.inputs import Inputs, integers_guessed
from seqlight.data.reading.names import as_text, is_missing
from seqlight.data.reading.notation import numbers_as_tokens
from seqlight.data.reading.npz_member import Member, read_member
from seqlight.data.reading.options import Options
from seqlight.data.reading.place import reason, shown
from seqlight.data.reading.progress import progress
from seqlight.data.reading.raw import DataError, Label, RawSequences
from seqlight.data.reading.step_labels import labels_of_steps, numbers_of


def read_npz(path: Path, options: Options) -> RawSequences:
    """Read `inputs` (N, T) or (N, T, F), `targets` (N,) or (N, L), `lengths` (N,), `ids` (N,), and groups (N,).

    Types, shapes and sizes are checked before an array is read.

    Raises:
        DataError: the file can't be used; the message gives the reason.
    """
    wanted = ["inputs", "targets", "lengths", "ids"]
    if options.group in wanted:
        raise DataError(f"{path}: expected another array for the group of each sequence, got {shown(options.group)}")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {
                name: read_member(path, archive, name)
                for name in (*wanted, *([options.group] if options.group else []))
                if f"{name}.npy" in archive.namelist()
            }
            if "inputs" not in members:
                found = ", ".join(name.removesuffix(".npy") for name in archive.namelist()[:20]) or "none"
                raise DataError(f"{path}: expected an array 'inputs', got {found}")
            return _read(path, members, options)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected a whole .npz file, as numpy.savez writes it: {reason(error)}") from None


def _read(path: Path, members: dict[str, Member], options: Options) -> RawSequences:
    array = members["inputs"]
    if len(array.shape) not in (2, 3) or 0 in array.shape:
        raise array.error("shape (N, T) or (N, T, F) without zeros", array.shape)
    if array.dtype.kind not in "biufU":
        raise array.error("numbers or text", array.dtype)
    channels_first = options.layout == "channels_first" and len(array.shape) == 3
    num_sequences, num_steps, *num_features = array.shape
    if channels_first:
        num_steps, num_features = num_features[0], [num_steps]
    for name, member in members.items():
        if name != "inputs" and (member.shape[:1] != (num_sequences,) or len(member.shape) > 1 + (name == "targets")):
            raise member.error(f"shape ({num_sequences},), one for each sequence", member.shape)
    as_tokens, guesses = _are_tokens(array, options.inputs)
    if num_features and num_steps < num_features[0] and not channels_first:
        guesses += (
            f"{path}: inputs of shape {array.shape} are read as {num_steps} steps of {num_features[0]} features; "
            'if they are (N, channels, time): `layout="channels_first"`',
        )
    width = None if as_tokens else math.prod(num_features)
    size_of_step = 8 * width if width else 4
    # Before any allocation. The number of steps without padding is known only after `lengths` is read.
    size = num_sequences * (8 + (0 if "lengths" in members else num_steps * size_of_step))
    memory.require(size, path, in_memory=options.in_memory)
    ids: Sequence[str | int] = _ids(members["ids"]) if "ids" in members else range(num_sequences)
    lengths = _lengths(members.get("lengths"), ids, num_steps, options)
    groups = None if options.group not in members else _groups(members[options.group], ids)
    labels: list[Label] | None
    label_names = None
    if options.label_per == "step":
        labels = _step_labels(members.get("targets"), ids, lengths, num_steps, options, path)
    else:
        labels, label_names = _labels(members.get("targets"), ids, options, path, num_steps)
    if label_names is not None and len(label_names) == num_steps and not options.numbers:
        guesses += (f'{path}: targets are as many as time steps; if each step has one: `label_per="step"`',)
    total = int(lengths.sum())
    memory.require(total * size_of_step, path, in_memory=options.in_memory)
    with_steps = np.flatnonzero(lengths)
    remarks: tuple[str, ...] = ()
    if len(with_steps) < num_sequences:
        first_empty = f"{path}: lengths, sequence {ids[int(lengths.argmin())]!r}"
        number = num_sequences - len(with_steps)
        remarks = empty_sequences(number, num_sequences, first_empty, path, options.empty)
    values = Buffer(path, np.int32 if as_tokens else np.float64, width, total, in_memory=options.in_memory)
    codes = Codes()
    start = 0

    def error(index: tuple[int, ...], expected: str) -> DataError:
        sequence, step = np.argwhere(kept)[index[0]]
        where = f"inputs, sequence {ids[start + sequence]!r}, step {step + 1}, feature {index[1] + 1}"
        hint = "" if "lengths" in members else _padding(chunk[sequence], int(step))
        return DataError(f"{path}: {where}: expected {expected}, got {rows[index]}" + ("." if hint else ""), hint)

    with progress(path, num_sequences, unit=" sequences") as bar:
        for chunk in array.chunks():
            bar.update(len(chunk))
            if channels_first:
                chunk = chunk.transpose(0, 2, 1)
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
                values.append(finite_numbers(rows, error, options.missing))
            start += len(chunk)
    if remarks:
        lengths = lengths[with_steps]
        ids = [ids[row] for row in with_steps.tolist()]
        groups = None if groups is None else [groups[row] for row in with_steps]
        if labels is not None and options.label_per == "sequence":
            labels = [labels[row] for row in with_steps]
    if as_tokens and options.inputs == "auto" and array.dtype.kind == "U":
        guesses += numbers_as_tokens(codes.texts, path)
    return RawSequences(
        values=values.finish(),
        tokens=codes.texts if as_tokens else None,
        lengths=lengths,
        ids=ids,
        labels=labels,
        label_names=label_names,
        label_vectors=None if label_names is None else len(label_names),
        guesses=guesses,
        remarks=remarks,
        groups=groups,
        label_per=options.label_per,
        numbers=options.numbers,
    )


def _are_tokens(array: Member, inputs: Inputs) -> tuple[bool, tuple[str, ...]]:
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


def _lengths(
    member: Member | None, ids: Sequence[str | int], num_steps: int, options: Options
) -> Int64[np.ndarray, " sequences"]:
    if member is None:
        return np.full(len(ids), num_steps, np.int64)
    if member.dtype.kind not in "iu":
        raise member.error("integers", member.dtype)
    lengths = member.read()
    wrong = np.flatnonzero((lengths < 0) | (lengths > num_steps))
    if len(wrong):
        expected, got = f"1 to {num_steps} time steps", f"{lengths[wrong[0]]} for sequence {ids[wrong[0]]!r}"
        hint = options.layout != "channels_first" and 'If the inputs are (N, channels, time): `layout="channels_first"`'
        raise member.error(expected, got + ("." if hint else ""), hint or "")
    return lengths.astype(np.int64)


def _padding(sequence: Num[np.ndarray, "steps *features"], step: int) -> str:
    """A hint if the sequence is padded with NaN from `step` on, or up to it."""
    missing = np.isnan(sequence.reshape(len(sequence), -1)).all(1)
    if missing[step:].all():
        return "If shorter sequences are padded with NaN: add an array 'lengths' with the number of steps of each"
    if missing[: step + 1].all():
        return "If NaN pads the start: move each sequence to the start, and add an array 'lengths' with their steps"
    return ""


def _ids(member: Member) -> list[str]:
    if member.dtype.kind not in "iuU":
        raise member.error("text or integers", member.dtype)
    ids = [as_text(value) for value in member.read().tolist()]
    seen: dict[str, int] = {}
    for number, name in enumerate(ids):
        if seen.setdefault(name, number) != number:
            raise member.error("distinct ids", f"{name!r} for sequences {seen[name]} and {number}")
    return ids


def _groups(member: Member, ids: Sequence[str | int]) -> list[str]:
    if member.dtype.kind not in "biufU":
        raise member.error("text or integers", member.dtype)
    values = member.read().tolist()
    for name, value in zip(ids, values, strict=True):
        if is_missing(value):
            raise member.error("the group of each sequence", f"none for sequence {name!r}")
    return [as_text(value) for value in values]


def _labels(
    member: Member | None, ids: Sequence[str | int], options: Options, path: Path, num_steps: int
) -> tuple[list[Label] | None, tuple[str, ...] | None]:
    if member is None:
        if options.labelled:
            raise DataError(f"{path}: expected an array 'targets' with a label for each sequence, got none")
        return None, None
    if member.dtype.kind not in "biufU":
        raise member.error("classes: integers or text", member.dtype)
    targets = member.read()
    if len(member.shape) == 2 and member.shape[1] > 1 and options.numbers:
        names = tuple(map(str, range(member.shape[1])))
        errors = (partial(_wrong, member, name) for name in ids)
        return [numbers_of(row, options, error) for row, error in zip(targets.tolist(), errors, strict=True)], names
    if len(member.shape) == 2 and member.shape[1] > 1:
        wrong = np.argwhere((targets != 0) & (targets != 1)) if member.dtype.kind != "U" else np.zeros((1, 2), int)
        if len(wrong):
            sequence, column = wrong[0]
            hint = 'If each step has a label: `label_per="step"`' if member.shape[1] == num_steps else ""
            got = f"{targets[sequence, column]} for sequence {ids[sequence]!r}" + ("." if hint else "")
            raise member.error("0 or 1 for each label", got, hint)
        names = tuple(map(str, range(member.shape[1])))
        return [tuple(names[index] for index in np.flatnonzero(row)) for row in targets], names
    known: dict[Label, Label] = {}  # one object for equal labels saves memory
    labels: list[Label] = []
    for name, value in zip(ids, targets.reshape(-1).tolist(), strict=True):
        label = options.read_label(value, options.labelled, partial(_wrong, member, name))
        labels.append(known.setdefault(label, label))
    return labels if known.keys() - {None} else None, None


def _step_labels(
    member: Member | None,
    ids: Sequence[str | int],
    lengths: Int64[np.ndarray, " sequences"],
    num_steps: int,
    options: Options,
    path: Path,
) -> list[Label] | None:
    """The labels of all steps without padding, from `targets` (N, T)."""
    if member is None:
        if options.labelled:
            raise DataError(f"{path}: expected an array 'targets' with a label for each step, got none")
        return None
    if member.dtype.kind not in "biufU":
        raise member.error("classes: integers or text", member.dtype)
    if member.shape != (len(ids), num_steps):
        raise member.error(f'shape {(len(ids), num_steps)}, a label for each step (`label_per="step"`)', member.shape)
    kept = np.arange(num_steps) < lengths[:, None]

    def error(row: int, expected: str, got: object) -> DataError:
        sequence, step = np.argwhere(kept)[row].tolist()
        return member.error(expected, f"{got} for sequence {ids[sequence]!r}, step {step + 1}")

    return labels_of_steps(member.read()[kept], options, error)


def _wrong(member: Member, sequence: str | int, expected: str, got: object) -> DataError:
    return member.error(expected, f"{got} for sequence {sequence!r}")
