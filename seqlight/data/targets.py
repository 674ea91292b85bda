"""Targets from labels."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqlight.data.classes import ClassIndex, names_of
from seqlight.data.reading.raw import DataError, RawSequences

if TYPE_CHECKING:
    from seqlight.data.encoding import SequenceEncoding


def encode_targets(
    encoding: "SequenceEncoding", raw: RawSequences, path: str
) -> Float[Tensor, "sequences *labels"] | Int[Tensor, "..."]:
    """The targets of sequences, in the form of a batch's.

    Args:
        encoding: the classes.
        raw: labelled sequences.
        path: the file, for messages.

    Raises:
        DataError: if a label is not one of the classes, or a sequence has several labels where one is expected.
    """
    assert raw.labels is not None
    classes = ClassIndex(encoding.class_names)
    rows: list[int] = []
    places: list[int] = []
    for row, label in enumerate(raw.labels):
        if isinstance(label, tuple) and len(label) != 1 and encoding.target != "multilabel":
            raise DataError(f"{path}, sequence {raw.ids[row]!r}: expected one label, got {list(label)}")
        for name in names_of(label):
            position = classes.get(name)
            if position is None:
                raise DataError(f"{path}, sequence {raw.ids[row]!r}: {classes.unknown(name)}")
            rows.append(row)
            places.append(position)
    if encoding.target == "multiclass":
        return torch.tensor(places, dtype=torch.int64)
    if encoding.target == "binary":
        return torch.tensor(places, dtype=torch.float32)
    from seqlight.data.reading import memory  # it imports psutil, which nothing else here needs

    memory.require(4 * len(raw.labels) * len(encoding.class_names), Path(path))
    targets = torch.zeros(len(raw.labels), len(encoding.class_names))
    targets[rows, places] = 1
    return targets


def unknown_targets(encoding: "SequenceEncoding", size: int) -> Tensor:
    """Targets of sequences without labels: -1 for multiclass, else NaN."""
    if encoding.target == "multiclass":
        return torch.full((size,), -1)
    return torch.full((size,) if encoding.target == "binary" else (size, encoding.num_outputs), torch.nan)
