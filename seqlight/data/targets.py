"""Targets from labels."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqlight.data.classes import ClassIndex, names_of
from seqlight.data.numbers import standardised
from seqlight.data.reading.raw import DataError, Label, RawSequences

if TYPE_CHECKING:
    from seqlight.data.encoding import SequenceEncoding


def encode_targets(
    encoding: "SequenceEncoding", raw: RawSequences, path: str
) -> Float[Tensor, "sequences *labels"] | Int[Tensor, "..."]:
    """The targets of sequences, in the form of a batch's; if each step has a label, those of all steps (S, ...).

    Args:
        encoding: the classes.
        raw: labelled sequences.
        path: the file, for messages.

    Raises:
        DataError: if a label is not one of the classes, or a sequence has several labels where one is expected.
    """
    assert raw.labels is not None
    if encoding.target_mean is not None and encoding.target_scale is not None:
        return standardised(raw, encoding.target_mean, encoding.target_scale, path)
    classes = ClassIndex(encoding.class_names)
    rows: list[int] = []
    places: list[int] = []
    known: dict[Label, list[int]] = {}
    for row, label in enumerate(raw.labels):
        positions = known.get(label)
        if positions is None:
            positions = known[label] = _positions(label, encoding, classes, f"{path}, {raw.place_of_label(row)}")
        places += positions
        rows += [row] * len(positions)
    if encoding.target == "multiclass":
        return torch.tensor(places, dtype=torch.int64)
    if encoding.target == "binary":
        return torch.tensor(places, dtype=torch.float32)
    from seqlight.data.reading import memory  # it imports psutil, which nothing else here needs

    memory.require(4 * len(raw.labels) * len(encoding.class_names), Path(path))
    targets = torch.zeros(len(raw.labels), len(encoding.class_names))
    targets[rows, places] = 1
    return targets


def _positions(label: Label, encoding: "SequenceEncoding", classes: ClassIndex, place: str) -> list[int]:
    """The positions of a label's classes."""
    if isinstance(label, tuple) and len(label) != 1 and encoding.target != "multilabel":
        raise DataError(f"{place}: expected one label, got {list(label)}")
    names = names_of(label)
    positions = [classes.get(name) for name in names]
    for name, position in zip(names, positions, strict=True):
        if position is None:
            raise DataError(f"{place}: {classes.unknown(name)}")
    return [position for position in positions if position is not None]


def unknown_targets(encoding: "SequenceEncoding", size: int) -> Tensor:
    """Targets of sequences or steps without labels: -1 for multiclass, else NaN."""
    if encoding.target == "multiclass":
        return torch.full((size,), -1)
    return torch.full((size,) if encoding.target == "binary" else (size, encoding.num_outputs), torch.nan)
